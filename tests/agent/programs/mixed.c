/* Programs that are client and server, and all the ways to read and to send. */
#include "hazard.h"

#include <sys/uio.h>

/* Starts the other host: it listens at 10.77.0.5:21, without an agent, until it is killed. */
static pid_t start_remote(void) {
	int ready[2];
	char byte;
	must("pipe", pipe(ready));
	pid_t child = fork();
	if (child == 0) {
		unsetenv("LD_PRELOAD");
		dup2(ready[1], 1);
		execl(own_path, own_path, "remote", (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	must("remote", read(ready[0], &byte, 1) == 1 ? 0 : -1);
	close(ready[0]);
	return child;
}

static int call_remote(void) {
	struct any_address remote = address_of("10.77.0.5", 21);
	int fd = must("socket", socket(AF_INET, SOCK_STREAM, 0));
	show("connect", connect(fd, &remote.address, remote.length));
	return fd;
}

/* iperf -d: listens at a port of its choice, then calls a host, and that one calls back. */
HAZARD(mixed) {
	(void)count, (void)arguments;
	pid_t remote = start_remote();
	int own = listening(HOST, 3350);
	call_remote();
	connected("10.77.0.5", HOST, 3350);
	show("called back", accept(own, NULL, NULL));
	auxiliary("aux", 3351);
	kill(remote, SIGTERM);
	reap("remote", remote);
	return 0;
}

/* A server that calls somebody (a directory, a database) goes on working for its client. */
HAZARD(server_calls) {
	(void)count, (void)arguments;
	pid_t remote = start_remote();
	control_from("10.77.0.2", NULL, NULL);
	int fd = call_remote();
	auxiliary("aux", 3352);
	close(fd);
	kill(remote, SIGTERM);
	reap("remote", remote);
	return 0;
}

/* Two control connections are inherited over exec, at 0 and at 5. */
HAZARD(two_connections) {
	(void)count, (void)arguments;
	char byte = 'x';
	int listener;
	int first = control_from("10.77.0.2", NULL, &listener);
	int client = connected("10.77.0.3", HOST, CONTROL_PORT);
	int second = must("accept", accept(listener, NULL, NULL));
	must("write", (int)write(client, &byte, 1));
	must("dup2", dup2(first, 0));
	must("dup2", dup2(second, 25));
	execl(own_path, own_path, "two_connections_server", (char *)NULL);
	return 127;
}

HAZARD(two_connections_server) {
	(void)count, (void)arguments;
	char byte;
	auxiliary("first", 3353);
	show("read", read(25, &byte, 1));
	auxiliary("second", 3354);
	return 0;
}

static long port_of(int fd) {
	struct any_address any = {.length = sizeof any.storage};
	must("getsockname", getsockname(fd, &any.address, &any.length));
	return any.in.sin_port;
}

/* A datagram socket that nobody binds has its port by the first datagram, or by connect. */
HAZARD(udp_autobind) {
	(void)count, (void)arguments;
	int on = 1;
	struct any_address to = address_of("10.77.0.5", 6969);
	struct any_address any = address_of("10.77.0.3", 0);
	int fd = must("socket", socket(AF_INET, SOCK_DGRAM, 0));
	show("port known", port_of(fd) != 0);
	show("sendto", sendto(fd, "x", 1, 0, &to.address, to.length));
	long port = port_of(fd);
	show("port known", port != 0);
	show("sendto", sendto(fd, "x", 1, 0, &to.address, to.length));
	show("port kept", port_of(fd) == port);
	fd = must("socket", socket(AF_INET, SOCK_DGRAM, 0));
	show("connect", connect(fd, &to.address, to.length));
	show("port known", port_of(fd) != 0);
	show("write", write(fd, "x", 1));
	/* The address is chosen, the port is not. */
	fd = must("socket", socket(AF_INET, SOCK_DGRAM, 0));
	must("option", setsockopt(fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &on, sizeof on));
	show("bind", bind(fd, &any.address, any.length));
	show("sendto", sendto(fd, "x", 1, 0, &to.address, to.length));
	show("port known", port_of(fd) != 0);
	/* Name servers answer at the same port; they are no peers. */
	to = address_of("10.77.0.4", 53);
	fd = must("socket", socket(AF_INET, SOCK_DGRAM, 0));
	show("sendto", sendto(fd, "x", 1, 0, &to.address, to.length));
	/* Errors are sendto's own. */
	fd = must("socket", socket(AF_INET, SOCK_DGRAM, 0));
	show("short", sendto(fd, "x", 1, 0, &to.address, 4));
	show("too long", sendto(fd, own_path, 70000, 0, &to.address, to.length));
	show("bad", sendto(777, "x", 1, 0, &to.address, to.length));
	return 0;
}

/* One socket, and servers in turn: each is asked for once. */
HAZARD(udp_two_servers) {
	(void)count, (void)arguments;
	int fd = must("socket", socket(AF_INET, SOCK_DGRAM, 0));
	for (int i = 0; i < 6; i++) {
		struct any_address to = address_of(i % 2 == 0 ? "10.77.0.4" : "10.77.0.5", 6969);
		show("sendto", sendto(fd, "x", 1, 0, &to.address, to.length));
	}
	return 0;
}

/* Several datagrams in one call. */
HAZARD(udp_many) {
	(void)count, (void)arguments;
	char bytes[2][8];
	struct any_address from[2];
	struct iovec data[2];
	struct mmsghdr messages[2];
	int fd = bound(SOCK_DGRAM, HOST, 6969);
	datagram_from("10.77.0.2", HOST, 6969);
	datagram_from("10.77.0.3", HOST, 6969);
	for (int done = 0; done < 2;) {
		memset(messages, 0, sizeof messages);
		for (int i = 0; i < 2; i++) {
			data[i] = (struct iovec){.iov_base = bytes[i], .iov_len = sizeof bytes[i]};
			messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i].storage,
			                                      .msg_namelen = sizeof from[i].storage,
			                                      .msg_iov = &data[i], .msg_iovlen = 1};
		}
		struct timespec second = {.tv_sec = 1};
		int got = must("recvmmsg",
		               recvmmsg(fd, messages, 2, MSG_DONTWAIT, done == 0 ? &second : NULL));
		for (int i = 0; i < got; i++, done++) {
			printf("%s: %u bytes\n", inet_ntoa(from[i].in.sin_addr), messages[i].msg_len);
			show("aux", bound(SOCK_DGRAM, HOST, 3370 + done));
		}
	}
	show("nothing", recvmmsg(fd, messages, 2, MSG_DONTWAIT, NULL));
#ifdef __GLIBC__ /* musl writes into it itself */
	show("null", recvmmsg(fd, NULL, 2, MSG_DONTWAIT, NULL));
#endif
	return 0;
}

/* Ports below 1024, which libc binds inside. */
HAZARD(reserved) {
	(void)count, (void)arguments;
#ifdef __GLIBC__
	int bindresvport(int, struct sockaddr_in *);
	int rresvport(int *);
	int port = 1023;
	struct any_address any = address_of(HOST, 0);
	control_from("10.77.0.2", NULL, NULL);
	int fd = must("socket", socket(AF_INET, SOCK_STREAM, 0));
	show("bindresvport", bindresvport(fd, &any.in));
	show("again", bindresvport(fd, &any.in));
	show("rresvport", rresvport(&port));
#endif
	return 0;
}

static ssize_t read_by(int way, int fd, char *byte) {
	struct iovec data = {.iov_base = byte, .iov_len = 1};
	struct mmsghdr message = {.msg_hdr = {.msg_iov = &data, .msg_iovlen = 1}};
	switch (way) {
	case 0:
		return read(fd, byte, 1);
	case 1:
		return readv(fd, &data, 1);
	case 2:
		return recv(fd, byte, 1, 0);
	case 3:
		return recvfrom(fd, byte, 1, 0, NULL, NULL);
	case 4:
		return recvmsg(fd, &message.msg_hdr, 0);
	case 5:
		return recvmmsg(fd, &message, 1, 0, NULL);
	case 6:
		return syscall(SYS_read, fd, byte, 1);
	case 7:
		return syscall(SYS_recvfrom, fd, byte, 1, 0, NULL, NULL);
	}
#ifdef __GLIBC__
	ssize_t __read_chk(int, void *, size_t, size_t);
	ssize_t __recv_chk(int, void *, size_t, size_t, int);
	return way == 8 ? __read_chk(fd, byte, 1, 1) : __recv_chk(fd, byte, 1, 1, 0);
#else
	return read(fd, byte, 1);
#endif
}

/* Whoever was read from last is the peer, whatever the call. */
HAZARD(readers) {
	(void)count, (void)arguments;
	enum { WAYS = 10 };
	int fds[WAYS];
	int listener = listening(HOST, CONTROL_PORT);
	for (int i = 0; i < WAYS; i++) {
		char source[32];
		snprintf(source, sizeof source, "10.77.0.%d", i + 10);
		int client = connected(source, HOST, CONTROL_PORT);
		fds[i] = must("accept", accept(listener, NULL, NULL));
		must("send", (int)send(client, "x", 1, 0));
	}
	for (int i = 0; i < WAYS; i++) {
		char byte = 0;
		show("read", read_by(i, fds[i], &byte));
		show("byte", byte);
		auxiliary("aux", 3380 + i);
	}
	return 0;
}
