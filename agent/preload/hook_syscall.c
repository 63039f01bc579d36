/* Where syscall() comes for the range of numbers that hook_syscall.S picks out. */
#include <stddef.h>

#include "export.h"
#include "real.h"
#include "sys.h"

_Static_assert(offsetof(struct real_calls, syscall) == 0, "hook_syscall.S jumps through it");

#define POINTER(value) ((void *)(intptr_t)(value))

long hook_syscall(long number, long a, long b, long c, long d, long e, long f) {
	int fd = (int)a;
	switch (number) {
	case SYS_close:
		return close(fd);
	case SYS_close_range:
		return close_range((unsigned)a, (unsigned)b, (int)c);
	case SYS_dup:
		return dup(fd);
	case SYS_dup2:
		return dup2(fd, (int)b);
	case SYS_dup3:
		return dup3(fd, (int)b, (int)c);
	case SYS_fcntl:
		return fcntl(fd, (int)b, c);
	case SYS_socket:
		return socket(fd, (int)b, (int)c);
	case SYS_bind:
		return bind(fd, POINTER(b), (socklen_t)c);
	case SYS_listen:
		return listen(fd, (int)b);
	case SYS_accept:
		return accept(fd, POINTER(b), POINTER(c));
	case SYS_accept4:
		return accept4(fd, POINTER(b), POINTER(c), (int)d);
	case SYS_connect:
		return connect(fd, POINTER(b), (socklen_t)c);
	case SYS_sendto:
		return sendto(fd, POINTER(b), (size_t)c, (int)d, POINTER(e), (socklen_t)f);
	case SYS_recvfrom:
		return recvfrom(fd, POINTER(b), (size_t)c, (int)d, POINTER(e), POINTER(f));
	case SYS_sendmsg:
		return sendmsg(fd, POINTER(b), (int)c);
	case SYS_recvmsg:
		return recvmsg(fd, POINTER(b), (int)c);
	case SYS_recvmmsg:
		return recvmmsg(fd, POINTER(b), (unsigned)c, (int)d, POINTER(e));
	case SYS_sendmmsg:
		return sendmmsg(fd, POINTER(b), (unsigned)c, (int)d);
	case SYS_read:
		return read(fd, POINTER(b), (size_t)c);
	case SYS_readv:
		return readv(fd, POINTER(b), (int)c);
	case SYS_epoll_ctl:
		return epoll_ctl(fd, (int)b, (int)c, POINTER(d));
	case SYS_poll:
	case SYS_ppoll:
		return hook_poll(number, a, b, c, d, e);
	case SYS_select:
	case SYS_pselect6:
		return hook_select(number, a, b, c, d, e, f);
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		return hook_epoll(number, a, b, c, d, e, f);
	default:
		return real.syscall(number, a, b, c, d, e, f);
	}
}
