#include "hazard.h"

#include <sched.h>

char *own_path;

long show(const char *what, long result) {
	int error = errno;
	if (result == -1)
		printf("%s: -1 %s\n", what, strerror(error));
	else
		printf("%s: %ld\n", what, result);
	fflush(stdout);
	return result;
}

int must(const char *what, int result) {
	if (result < 0) {
		printf("set-up: %s: %s\n", what, strerror(errno));
		fflush(stdout);
		_exit(99);
	}
	return result;
}

struct any_address address_of(const char *text, int port) {
	struct any_address any;
	memset(&any, 0, sizeof any);
	if (inet_pton(AF_INET, text, &any.in.sin_addr) == 1) {
		any.in.sin_family = AF_INET;
		any.in.sin_port = htons((uint16_t)port);
		any.length = sizeof any.in;
	} else {
		must("address", inet_pton(AF_INET6, text, &any.in6.sin6_addr) == 1 ? 0 : -1);
		any.in6.sin6_family = AF_INET6;
		any.in6.sin6_port = htons((uint16_t)port);
		any.length = sizeof any.in6;
	}
	return any;
}

static int make(int type, const struct any_address *any) {
	int on = 1;
	int fd = must("socket", socket(any->address.sa_family, type, 0));
	must("SO_REUSEADDR", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	return fd;
}

int bound(int type, const char *text, int port) {
	struct any_address any = address_of(text, port);
	int fd = make(type, &any);
	must("bind", bind(fd, &any.address, any.length));
	return fd;
}

int listening(const char *text, int port) {
	int fd = bound(SOCK_STREAM, text, port);
	must("listen", listen(fd, 128));
	return fd;
}

/*
 * By the bare system call: the client end stands for a program on another host, which has no
 * agent.
 */
static long bare(long number, long a, long b, long c) {
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c)
	                 : "rcx", "r11", "memory");
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

static int from_outside(int type, const char *source, const char *text, int port) {
	struct any_address from = address_of(source, 0);
	struct any_address to = address_of(text, port);
	int fd = make(type, &from);
	must("client bind", (int)bare(SYS_bind, fd, (long)&from.address, from.length));
	must("client connect", (int)bare(SYS_connect, fd, (long)&to.address, to.length));
	return fd;
}

int connected(const char *source, const char *text, int port) {
	return from_outside(SOCK_STREAM, source, text, port);
}

void datagram_from(const char *source, const char *text, int port) {
	int fd = from_outside(SOCK_DGRAM, source, text, port);
	must("client send", (int)send(fd, "hello", 5, 0));
}

int control_from(const char *source, int *client, int *listener) {
	int l = listening(HOST, CONTROL_PORT);
	int c = connected(source, HOST, CONTROL_PORT);
	int fd = must("accept", accept(l, NULL, NULL));
	if (client != NULL)
		*client = c;
	if (listener != NULL)
		*listener = l;
	return fd;
}

void auxiliary(const char *what, int port) {
	struct any_address any = address_of(HOST, port);
	int fd = make(SOCK_STREAM, &any);
	printf("%s: descriptor %d, bind ", what, fd);
	show("returned", bind(fd, &any.address, any.length));
	show("listen", listen(fd, 1));
	close(fd);
}

void reap(const char *what, pid_t child) {
	int status = 0;
	must("waitpid", waitpid(child, &status, 0));
	if (WIFSIGNALED(status))
		printf("%s: signal %d\n", what, WTERMSIG(status));
	else
		printf("%s: exit %d\n", what, WEXITSTATUS(status));
	fflush(stdout);
}
