#include "refuse.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "sys.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

struct option {
	int level;
	int name;
};

static const struct option carried[] = {
    {SOL_SOCKET, SO_REUSEADDR},   {SOL_SOCKET, SO_REUSEPORT},  {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_LINGER},      {SOL_SOCKET, SO_BROADCAST},  {SOL_SOCKET, SO_OOBINLINE},
    {SOL_SOCKET, SO_RCVTIMEO},    {SOL_SOCKET, SO_SNDTIMEO},   {SOL_SOCKET, SO_PRIORITY},
    {IPPROTO_IP, IP_TOS},         {IPPROTO_IP, IP_TTL},        {IPPROTO_IP, IP_PKTINFO},
    {IPPROTO_IP, IP_FREEBIND},    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {IPPROTO_IPV6, IPV6_V6ONLY},  {IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {IPPROTO_TCP, TCP_NODELAY},   {IPPROTO_TCP, TCP_KEEPIDLE}, {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},   {IPPROTO_TCP, TCP_DEFER_ACCEPT},
};

static long get(int fd, struct option option, void *value, socklen_t *length) {
	return sys6(SYS_getsockopt, fd, option.level, option.name, sys_ptr(value), sys_ptr(length), 0);
}

static long set(int fd, struct option option, const void *value, socklen_t length) {
	return sys6(SYS_setsockopt, fd, option.level, option.name, sys_ptr(value), length, 0);
}

static int get_int(int fd, int name) {
	int value = 0;
	socklen_t length = sizeof value;
	get(fd, (struct option){SOL_SOCKET, name}, &value, &length);
	return value;
}

static void carry_options(int from, int to) {
	for (unsigned i = 0; i < sizeof carried / sizeof carried[0]; i++) {
		union {
			struct timeval time;
			struct linger linger;
			int number;
		} value;
		socklen_t length = sizeof value;
		/* Options of another family or protocol are not there to be read: nothing to carry. */
		if (get(from, carried[i], &value, &length) == 0)
			set(to, carried[i], &value, length);
	}
	/* The kernel shows twice the size that was set (socket(7)). */
	static const int buffers[] = {SO_SNDBUF, SO_RCVBUF};
	for (unsigned i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
		int size = get_int(from, buffers[i]) / 2;
		if (size != get_int(to, buffers[i]) / 2)
			set(to, (struct option){SOL_SOCKET, buffers[i]}, &size, sizeof size);
	}
}

void refuse_binding(int fd) {
	long fresh = sys3(SYS_socket, get_int(fd, SO_DOMAIN), get_int(fd, SO_TYPE) | SOCK_CLOEXEC,
	                  get_int(fd, SO_PROTOCOL));
	if (fresh < 0)
		return;
	carry_options(fd, (int)fresh);
	long status = sys3(SYS_fcntl, fd, F_GETFL, 0);
	if (status >= 0)
		sys3(SYS_fcntl, fresh, F_SETFL, status);
	long flags = sys3(SYS_fcntl, fd, F_GETFD, 0);
	sys3(SYS_dup3, fresh, fd, flags >= 0 && (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
	sys3(SYS_close, fresh, 0, 0);
}
