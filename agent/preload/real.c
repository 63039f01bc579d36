#include "real.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "sys.h"

/* The oldest version, which glibc before and after 2.34 has. */
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
extern void *dlsym(void *restrict handle, const char *restrict name);
#define NEXT ((void *)-1L) /* RTLD_NEXT */

#define KERNEL_MASK 8 /* size of the kernel's sigset_t */

static long result(long value) {
	if (value < 0 && value >= -4095) {
		errno = (int)-value;
		return -1;
	}
	return value;
}

static long bare_syscall(long number, ...) {
	va_list list;
	long argument[6];
	va_start(list, number);
	for (unsigned i = 0; i < 6; i++)
		argument[i] = va_arg(list, long);
	va_end(list);
	return result(sys6(number, argument[0], argument[1], argument[2], argument[3], argument[4],
	                   argument[5]));
}

static int bare_socket(int domain, int type, int protocol) {
	return (int)result(sys3(SYS_socket, domain, type, protocol));
}

static int bare_bind(int fd, const struct sockaddr *address, socklen_t length) {
	return (int)result(sys3(SYS_bind, fd, sys_ptr(address), length));
}

static int bare_listen(int fd, int backlog) {
	return (int)result(sys3(SYS_listen, fd, backlog, 0));
}

static int bare_getsockname(int fd, struct sockaddr *address, socklen_t *length) {
	return (int)result(sys3(SYS_getsockname, fd, sys_ptr(address), sys_ptr(length)));
}

static int bare_accept(int fd, struct sockaddr *address, socklen_t *length) {
	return (int)result(sys3(SYS_accept, fd, sys_ptr(address), sys_ptr(length)));
}

static int bare_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
	return (int)result(sys6(SYS_accept4, fd, sys_ptr(address), sys_ptr(length), flags, 0, 0));
}

static int bare_connect(int fd, const struct sockaddr *address, socklen_t length) {
	return (int)result(sys3(SYS_connect, fd, sys_ptr(address), length));
}

static int bare_close(int fd) {
	return (int)result(sys3(SYS_close, fd, 0, 0));
}

static int bare_close_range(unsigned first, unsigned last, int flags) {
	return (int)result(sys3(SYS_close_range, first, last, flags));
}

static int bare_dup(int fd) {
	return (int)result(sys3(SYS_dup, fd, 0, 0));
}

static int bare_dup2(int from, int to) {
	return (int)result(sys3(SYS_dup2, from, to, 0));
}

static int bare_dup3(int from, int to, int flags) {
	return (int)result(sys3(SYS_dup3, from, to, flags));
}

static int bare_fcntl(int fd, int command, ...) {
	va_list list;
	va_start(list, command);
	long argument = va_arg(list, long);
	va_end(list);
	return (int)result(sys3(SYS_fcntl, fd, command, argument));
}

/* The kernel writes the time that is left into its argument; libc does not. */
static int bare_ppoll(struct pollfd *list, nfds_t count, const struct timespec *timeout,
                      const sigset_t *mask) {
	struct timespec left;
	if (timeout != NULL)
		left = *timeout;
	return (int)result(sys6(SYS_ppoll, sys_ptr(list), (long)count,
	                        timeout == NULL ? 0 : sys_ptr(&left), sys_ptr(mask), KERNEL_MASK, 0));
}

static int bare_poll(struct pollfd *list, nfds_t count, int timeout) {
	return (int)result(sys3(SYS_poll, sys_ptr(list), (long)count, timeout));
}

static int bare_select(int count, fd_set *in, fd_set *out, fd_set *special,
                       struct timeval *timeout) {
	return (int)result(sys6(SYS_select, count, sys_ptr(in), sys_ptr(out), sys_ptr(special),
	                        sys_ptr(timeout), 0));
}

static int bare_pselect(int count, fd_set *in, fd_set *out, fd_set *special,
                        const struct timespec *timeout, const sigset_t *mask) {
	struct timespec left;
	const long both[2] = {sys_ptr(mask), KERNEL_MASK};
	if (timeout != NULL)
		left = *timeout;
	return (int)result(sys6(SYS_pselect6, count, sys_ptr(in), sys_ptr(out), sys_ptr(special),
	                        timeout == NULL ? 0 : sys_ptr(&left), sys_ptr(both)));
}

static int bare_epoll_ctl(int set, int command, int fd, struct epoll_event *event) {
	return (int)result(sys6(SYS_epoll_ctl, set, command, fd, sys_ptr(event), 0, 0));
}

static int bare_epoll_wait(int set, struct epoll_event *events, int room, int timeout) {
	return (int)result(sys6(SYS_epoll_wait, set, sys_ptr(events), room, timeout, 0, 0));
}

static int bare_epoll_pwait(int set, struct epoll_event *events, int room, int timeout,
                            const sigset_t *mask) {
	return (int)result(
	    sys6(SYS_epoll_pwait, set, sys_ptr(events), room, timeout, sys_ptr(mask), KERNEL_MASK));
}

static int bare_epoll_pwait2(int set, struct epoll_event *events, int room,
                             const struct timespec *timeout, const sigset_t *mask) {
	return (int)result(sys6(SYS_epoll_pwait2, set, sys_ptr(events), room, sys_ptr(timeout),
	                        sys_ptr(mask), KERNEL_MASK));
}

static ssize_t bare_read(int fd, void *buffer, size_t size) {
	return result(sys3(SYS_read, fd, sys_ptr(buffer), (long)size));
}

static ssize_t bare_readv(int fd, const struct iovec *pieces, int count) {
	return result(sys3(SYS_readv, fd, sys_ptr(pieces), count));
}

static int bare_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                         struct timespec *timeout) {
	return (int)result(
	    sys6(SYS_recvmmsg, fd, sys_ptr(messages), count, flags, sys_ptr(timeout), 0));
}

static int bare_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
	return (int)result(sys6(SYS_sendmmsg, fd, sys_ptr(messages), count, flags, 0, 0));
}

static ssize_t bare_recvfrom(int fd, void *buffer, size_t size, int flags,
                             struct sockaddr *address, socklen_t *length) {
	return result(sys6(SYS_recvfrom, fd, sys_ptr(buffer), (long)size, flags, sys_ptr(address),
	                   sys_ptr(length)));
}

static ssize_t bare_recv(int fd, void *buffer, size_t size, int flags) {
	return bare_recvfrom(fd, buffer, size, flags, NULL, NULL);
}

static ssize_t bare_recvmsg(int fd, struct msghdr *message, int flags) {
	return result(sys3(SYS_recvmsg, fd, sys_ptr(message), flags));
}

static ssize_t bare_sendto(int fd, const void *buffer, size_t size, int flags,
                           const struct sockaddr *address, socklen_t length) {
	return result(
	    sys6(SYS_sendto, fd, sys_ptr(buffer), (long)size, flags, sys_ptr(address), length));
}

static ssize_t bare_sendmsg(int fd, const struct msghdr *message, int flags) {
	return result(sys3(SYS_sendmsg, fd, sys_ptr(message), flags));
}

__attribute__((aligned(4096))) union real_page real_page = {
	.call = {
		.syscall = bare_syscall,
		.socket = bare_socket,
		.bind = bare_bind,
		.getsockname = bare_getsockname,
		.listen = bare_listen,
		.accept = bare_accept,
		.accept4 = bare_accept4,
		.connect = bare_connect,
		.close = bare_close,
		.close_range = bare_close_range,
		.dup = bare_dup,
		.dup2 = bare_dup2,
		.dup3 = bare_dup3,
		.fcntl = bare_fcntl,
		.fcntl64 = bare_fcntl,
		.poll = bare_poll,
		.ppoll = bare_ppoll,
		.select = bare_select,
		.pselect = bare_pselect,
		.epoll_ctl = bare_epoll_ctl,
		.epoll_wait = bare_epoll_wait,
		.epoll_pwait = bare_epoll_pwait,
		.epoll_pwait2 = bare_epoll_pwait2,
		.read = bare_read,
		.readv = bare_readv,
		.recvmmsg = bare_recvmmsg,
		.sendmmsg = bare_sendmmsg,
		.recv = bare_recv,
		.recvfrom = bare_recvfrom,
		.recvmsg = bare_recvmsg,
		.sendto = bare_sendto,
		.sendmsg = bare_sendmsg,
	},
};

void real_resolve(void) {
#define RESOLVE_AS(field, name)                                                                    \
	do {                                                                                       \
		void *found = dlsym(NEXT, name);                                                   \
		if (found != NULL)                                                                 \
			real.field = (__typeof__(real.field))found;                                \
	} while (0)
#define RESOLVE(name) RESOLVE_AS(name, #name)
	RESOLVE(syscall);
	RESOLVE(socket);
	RESOLVE(bind);
	RESOLVE(getsockname);
	RESOLVE(listen);
	RESOLVE(accept);
	RESOLVE(accept4);
	RESOLVE(connect);
	RESOLVE(close);
	RESOLVE(close_range);
	RESOLVE(fclose);
	RESOLVE(fileno);
	RESOLVE(dup);
	RESOLVE(dup2);
	RESOLVE(dup3);
	RESOLVE(fcntl);
	RESOLVE(bindresvport);
	RESOLVE(rresvport_af);
	RESOLVE(poll);
	RESOLVE(ppoll);
	RESOLVE(select);
	RESOLVE(pselect);
	RESOLVE(epoll_ctl);
	RESOLVE(epoll_wait);
	RESOLVE(epoll_pwait);
	RESOLVE(epoll_pwait2);
	RESOLVE(pthread_create);
	RESOLVE(thrd_create);
	RESOLVE(read);
	RESOLVE(readv);
	RESOLVE(recvmmsg);
	RESOLVE(sendmmsg);
	RESOLVE(recv);
	RESOLVE(recvfrom);
	RESOLVE(recvmsg);
	RESOLVE(sendto);
	RESOLVE(sendmsg);
	real.fcntl64 = real.fcntl;
	RESOLVE(fcntl64);
	RESOLVE_AS(chk_fail, "__chk_fail");
#undef RESOLVE
#undef RESOLVE_AS
	/* A failure leaves the table writable, as it would be without this. */
	sys3(SYS_mprotect, sys_ptr(&real_page), sizeof real_page, PROT_READ);
}
