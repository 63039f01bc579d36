/* When a pinhole is asked for. */
#include "hazard.h"

#include <netinet/tcp.h>
#include <sys/un.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

/* accept without, with, and with too small a room for the address. */
HAZARD(accept) {
	(void)count, (void)arguments;
	struct any_address any = {.length = sizeof any.storage};
	int listener = listening(HOST, CONTROL_PORT);
	connected("10.77.0.2", HOST, CONTROL_PORT);
	connected("10.77.0.3", HOST, CONTROL_PORT);
	connected("10.77.0.4", HOST, CONTROL_PORT);
	show("accept", accept(listener, NULL, NULL));
	auxiliary("first", 3040);
	show("accept4", accept4(listener, &any.address, &any.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
	printf("%s %u\n", inet_ntoa(any.in.sin_addr), any.length);
	auxiliary("second", 3041);
	any.length = 2;
	show("short", accept(listener, &any.address, &any.length));
	show("length", any.length);
	auxiliary("third", 3042);
	must("O_NONBLOCK", fcntl(listener, F_SETFL, O_NONBLOCK));
	show("nobody", accept(listener, NULL, NULL));
	show("bad", accept(777, NULL, NULL));
	return 0;
}

/* Nothing of this is for the outside. */
HAZARD(local) {
	(void)count, (void)arguments;
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "\0diaper-hazard"};
	control_from("10.77.0.2", NULL, NULL);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	show("unix", bind(fd, (struct sockaddr *)&un, sizeof un));
	show("unix listen", listen(fd, 1));
	show("loopback", bound(SOCK_STREAM, "127.0.0.1", 3050));
	show("loopback 2", bound(SOCK_STREAM, "127.1.2.3", 3050));
	show("loopback 6", bound(SOCK_STREAM, "::1", 3050));
	show("loopback mapped", bound(SOCK_STREAM, "::ffff:127.0.0.1", 3051));
	show("loopback udp", bound(SOCK_DGRAM, "127.0.0.1", 3050));
	show("loopback listen", listening("127.0.0.1", 0));
	struct any_address any = address_of(HOST, CONTROL_PORT);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	show("in use", bind(fd, &any.address, any.length));
	any = address_of("10.9.9.9", 3052);
	show("foreign", bind(fd, &any.address, any.length));
	show("short", bind(fd, &any.address, 4));
	show("bad", bind(777, &any.address, any.length));
	show("null", bind(fd, NULL, any.length));
	show("raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	any = address_of(HOST, 0);
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	show("raw bind", bind(fd, &any.address, any.length));
	return 0;
}

static long port_is_known(int fd) {
	struct any_address any = {.length = sizeof any.storage};
	must("getsockname", getsockname(fd, &any.address, &any.length));
	return any.in.sin_port != 0;
}

HAZARD(no_port) {
	(void)count, (void)arguments;
	int on = 1;
	control_from("10.77.0.2", NULL, NULL);
	struct any_address any = address_of(HOST, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	must("option", setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on));
	show("bind", bind(fd, &any.address, any.length));
	show("port known", port_is_known(fd));
	show("listen", listen(fd, 1));
	show("port known", port_is_known(fd));
	show("listen again", listen(fd, 2));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	show("listen without bind", listen(fd, 1));
	show("port known", port_is_known(fd));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	show("bind of port 0", bind(fd, &any.address, any.length));
	show("port known", port_is_known(fd));
	return 0;
}

/* Bound before anybody came, asked for when somebody does, and several accepts on it. */
HAZARD(early) {
	(void)count, (void)arguments;
	int listener = listening(HOST, CONTROL_PORT);
	int early = listening(HOST, 3060);
	connected("10.77.0.2", HOST, CONTROL_PORT);
	show("accept", accept(listener, NULL, NULL));
	connected("10.77.0.2", HOST, 3060);
	connected("10.77.0.2", HOST, 3060);
	show("first", accept(early, NULL, NULL));
	show("second", accept(early, NULL, NULL));
	/* An accept on the auxiliary port does not make another peer. */
	connected("10.77.0.9", HOST, 3060);
	show("third", accept(early, NULL, NULL));
	auxiliary("aux", 3061);
	return 0;
}

HAZARD(dual_stack) {
	(void)count, (void)arguments;
	int listener = listening("::", CONTROL_PORT);
	connected("10.77.0.2", HOST, CONTROL_PORT);
	show("accept", accept(listener, NULL, NULL));
	show("aux mapped", listening("::", 3070));
	connected("fd77::2", "fd77::1", CONTROL_PORT);
	show("accept 6", accept(listener, NULL, NULL));
	show("aux 6", listening("fd77::1", 3071));
	return 0;
}

/* Control ports of both families have one number. */
HAZARD(two_families) {
	(void)count, (void)arguments;
	int four = listening("0.0.0.0", CONTROL_PORT);
	int on = 1;
	struct any_address any = address_of("::", CONTROL_PORT);
	int six = must("socket", socket(AF_INET6, SOCK_STREAM, 0));
	must("option", setsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
	show("bind", bind(six, &any.address, any.length));
	show("listen", listen(six, 1));
	connected("fd77::2", "fd77::1", CONTROL_PORT);
	show("accept", accept(six, NULL, NULL));
	show("aux", listening("fd77::1", 3072));
	close(four);
	return 0;
}

/* An active-mode client: control connection, then a port for the server to come to. */
HAZARD(client) {
	const char *how = count > 0 ? arguments[0] : "bind";
	int server = -1;
	pid_t child;
	int ready[2];
	char byte;
	must("pipe", pipe(ready));
	child = fork();
	if (child == 0) {
		/* The other host: listens by itself, and waits for the end. */
		unsetenv("LD_PRELOAD");
		close(ready[0]);
		dup2(ready[1], 1);
		execl(own_path, own_path, "remote", (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	must("remote", read(ready[0], &byte, 1) == 1 ? 0 : -1);
	struct any_address remote = address_of("10.77.0.5", 21);
	int early = -1;
	if (strcmp(how, "early") == 0)
		early = listening(HOST, 0);
	server = must("socket", socket(AF_INET, SOCK_STREAM, 0));
	if (strcmp(how, "own_port") == 0) {
		struct any_address any = address_of(HOST, 0);
		show("bind", bind(server, &any.address, any.length));
	} else if (strcmp(how, "chosen_port") == 0) {
		struct any_address any = address_of(HOST, 3080);
		show("bind", bind(server, &any.address, any.length));
	} else if (strcmp(how, "nonblocking") == 0) {
		must("O_NONBLOCK", fcntl(server, F_SETFL, O_NONBLOCK));
	}
	show("connect", connect(server, &remote.address, remote.length));
	if (early < 0)
		auxiliary("aux", 3081);
	kill(child, SIGTERM);
	reap("remote", child);
	return 0;
}

HAZARD(remote) {
	(void)count, (void)arguments;
	listening("10.77.0.5", 21);
	return write(1, "x", 1) == 1 ? pause() : 1;
}

/* Options, flags and registrations of a socket that bind is refused for. */
HAZARD(refused) {
	(void)count, (void)arguments;
	int on = 1;
	socklen_t length = sizeof on;
	control_from("10.77.0.2", NULL, NULL);
	struct any_address any = address_of(HOST, 3090);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	show("bind", bind(fd, &any.address, any.length));
	show("port known", port_is_known(fd));
	show("bind again", bind(fd, &any.address, any.length));
	on = 0;
	getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &length);
	show("SO_REUSEADDR", on);
	getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &length);
	show("TCP_NODELAY", on);
	show("O_NONBLOCK", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	show("FD_CLOEXEC", fcntl(fd, F_GETFD));
	show("listen", listen(fd, 1));
	/* The port is free again. */
	int other = socket(AF_INET, SOCK_STREAM, 0);
	show("other bind", bind(other, &any.address, any.length));
	show("loopback", bound(SOCK_STREAM, "127.0.0.1", 3090));
	return 0;
}

/* By syscall(), as libuv closes and others bind. */
HAZARD(raw) {
	(void)count, (void)arguments;
	struct any_address any = address_of(HOST, CONTROL_PORT);
	int on = 1;
	int listener = (int)show("socket", syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	show("bind", syscall(SYS_bind, listener, &any.address, any.length));
	show("listen", syscall(SYS_listen, listener, 5));
	connected("10.77.0.2", HOST, CONTROL_PORT);
	show("accept", syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC));
	any = address_of(HOST, 3095);
	int fd = (int)show("socket", syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
	show("bind", syscall(SYS_bind, fd, &any.address, any.length));
	show("dup", syscall(SYS_dup, fd));
	show("fcntl", syscall(SYS_fcntl, fd, F_DUPFD, 60));
	show("close", syscall(SYS_close, fd));
	show("close again", syscall(SYS_close, fd));
	show("own pid", syscall(SYS_getpid) == getpid());
	show("no such call", syscall(9999, 1, 2, 3, 4, 5, 6));
	return 0;
}
