#include "trunk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/poll.h>
#include <linux/time_types.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "config.h"
#include "join.h"
#include "message.h"
#include "ownfd.h"
#include "process.h"
#include "sys.h"

static _Atomic int trunk = -1;

int trunk_fd(void) {
	return __atomic_load_n(&trunk, __ATOMIC_ACQUIRE);
}

bool trunk_is_own(void) {
	return __atomic_load_n(&process_page->owns_trunk, __ATOMIC_ACQUIRE) != 0;
}

static bool greet(int fd) {
	if (config.wrapper_fd >= 0)
		return join_client(config.wrapper_fd, fd);
	struct __kernel_timespec left = message_time_limit();
	struct wire_verdict_message verdict;
	struct wire_hello hello = {
	    .header = message_header(WIRE_HELLO, sizeof hello),
	    .version = WIRE_VERSION,
	};
	memcpy(hello.delegate, config.delegate, sizeof hello.delegate);
	return message_send(fd, &hello.header, NULL, 0, &left) == MESSAGE_DONE &&
	       message_receive(fd, hello.header.sequence, &verdict, &left) == MESSAGE_DONE &&
	       verdict.verdict == WIRE_VERDICT_OPEN;
}

/* A connection that has been greeted, at whatever number, or -1. */
static int connect_by_path(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct __kernel_old_timeval limit = {
	    .tv_sec = config.timeout_ms / 1000,
	    .tv_usec = (long)(config.timeout_ms % 1000) * 1000,
	};
	_Static_assert(sizeof address.sun_path == sizeof config.socket_path, "path");
	if (config.socket_path[0] == '\0')
		return -1;
	memcpy(address.sun_path, config.socket_path, sizeof address.sun_path);
	long fd = sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	/* Room for the first words of a thousand children at once: when it runs out, each message taken wakes
	 * all who wait for room. What the kernel does not grant is done without. */
	int room = 4 << 20;
	if (sys6(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUFFORCE, sys_ptr(&room), sizeof room, 0) != 0)
		sys6(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, sys_ptr(&room), sizeof room, 0);
	/* Limits how long connect waits for a broker that accepts nobody (socket(7)). */
	if (limit.tv_sec != 0 || limit.tv_usec != 0)
		sys6(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, sys_ptr(&limit), sizeof limit, 0);
	long connected;
	do
		connected = sys3(SYS_connect, fd, sys_ptr(&address), sizeof address);
	while (connected == -EINTR);
	if (connected == 0 && greet((int)fd))
		return (int)fd;
	sys3(SYS_close, fd, 0, 0);
	return -1;
}

static bool is_channel(int fd) {
	int domain = 0;
	int type = 0;
	socklen_t length = sizeof domain;
	if (sys6(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, sys_ptr(&domain), sys_ptr(&length), 0) != 0)
		return false;
	length = sizeof type;
	return sys6(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, sys_ptr(&type), sys_ptr(&length), 0) == 0 &&
	       domain == AF_UNIX && type == SOCK_SEQPACKET;
}

bool trunk_start(void) {
	if (config.wrapper_fd >= 0 &&
	    (!is_channel(config.wrapper_fd) || sys3(SYS_fcntl, config.wrapper_fd, F_SETFD, FD_CLOEXEC) != 0))
		return false;
	/* Left where it is and inheritable, so that a server that executes itself finds it again. */
	if (config.inherited_fd >= 0 && is_channel(config.inherited_fd) &&
	    ownfd_protect(config.inherited_fd, OWNFD_FAMILY)) {
		__atomic_store_n(&trunk, config.inherited_fd, __ATOMIC_RELEASE);
		return true;
	}
	int fd = connect_by_path();
	if (config.wrapper_fd >= 0)
		sys3(SYS_close, config.wrapper_fd, 0, 0);
	if (fd >= 0)
		fd = ownfd_adopt(fd, OWNFD_FAMILY);
	if (fd < 0)
		return false;
	__atomic_store_n(&process_page->owns_trunk, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&trunk, fd, __ATOMIC_RELEASE);
	return true;
}

static bool is_dead(int fd) {
	struct pollfd poll = {.fd = fd, .events = 0};
	struct __kernel_timespec now = {0};
	return sys6(SYS_ppoll, sys_ptr(&poll), 1, sys_ptr(&now), 0, 8, 0) > 0;
}

void trunk_refresh(void) {
	int old = trunk_fd();
	/* A wrapper's ticket is good for one channel. */
	if (old < 0 || config.wrapper_fd >= 0 || !is_dead(old) ||
	    __atomic_exchange_n(&process_page->reconnecting, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	int fd = connect_by_path();
	if (fd >= 0) {
		/* Onto the old number, which other threads and handlers may just be using. */
		int flags = old == config.inherited_fd ? 0 : O_CLOEXEC;
		if (sys3(SYS_dup3, fd, old, flags) >= 0)
			__atomic_store_n(&process_page->owns_trunk, 1, __ATOMIC_RELEASE);
		sys3(SYS_close, fd, 0, 0);
	}
	__atomic_store_n(&process_page->reconnecting, 0, __ATOMIC_RELEASE);
}
