/*
 * The functions that the hooks stand in front of: the next ones in the search order, found once in
 * the constructor. Before that, and where libc has none, the bare system call. Read-only after the
 * constructor.
 */
#ifndef DIAPER_REAL_H
#define DIAPER_REAL_H

#include "export.h"

struct real_calls {
	long (*syscall)(long number, ...); /* first: hook_syscall.S reads it there */
	int (*socket)(int domain, int type, int protocol);
	int (*bind)(int fd, const struct sockaddr *address, socklen_t length);
	int (*listen)(int fd, int backlog);
	int (*getsockname)(int fd, struct sockaddr *address, socklen_t *length);
	int (*accept)(int fd, struct sockaddr *address, socklen_t *length);
	int (*accept4)(int fd, struct sockaddr *address, socklen_t *length, int flags);
	int (*connect)(int fd, const struct sockaddr *address, socklen_t length);
	int (*close)(int fd);
	int (*close_range)(unsigned first, unsigned last, int flags);
	int (*fclose)(FILE *stream); /* no system call: never NULL once the constructor ran */
	int (*fileno)(FILE *stream);
	int (*dup)(int fd);
	int (*dup2)(int from, int to);
	int (*dup3)(int from, int to, int flags);
	int (*fcntl)(int fd, int command, ...);
	int (*fcntl64)(int fd, int command, ...);
	int (*bindresvport)(int fd, struct sockaddr_in *address); /* musl has none: NULL */
	int (*rresvport_af)(int *port, sa_family_t family);       /* the same */
	int (*poll)(struct pollfd *list, nfds_t count, int timeout);
	int (*ppoll)(struct pollfd *list, nfds_t count, const struct timespec *timeout,
	             const sigset_t *mask);
	int (*select)(int count, fd_set *in, fd_set *out, fd_set *special, struct timeval *timeout);
	int (*pselect)(int count, fd_set *in, fd_set *out, fd_set *special,
	               const struct timespec *timeout, const sigset_t *mask);
	int (*epoll_ctl)(int set, int command, int fd, struct epoll_event *event);
	int (*epoll_wait)(int set, struct epoll_event *events, int room, int timeout);
	int (*epoll_pwait)(int set, struct epoll_event *events, int room, int timeout,
	                   const sigset_t *mask);
	int (*epoll_pwait2)(int set, struct epoll_event *events, int room,
	                    const struct timespec *timeout, const sigset_t *mask);
	/* NULL where libc has none, and before the constructor ran. */
	int (*pthread_create)(pthread_t *thread, const pthread_attr_t *attributes,
	                      void *(*start)(void *), void *argument);
	int (*thrd_create)(thrd_t *thread, thrd_start_t start, void *argument);
	ssize_t (*read)(int fd, void *buffer, size_t size);
	ssize_t (*readv)(int fd, const struct iovec *pieces, int count);
	ssize_t (*recv)(int fd, void *buffer, size_t size, int flags);
	ssize_t (*recvfrom)(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
	                    socklen_t *length);
	ssize_t (*recvmsg)(int fd, struct msghdr *message, int flags);
	ssize_t (*sendto)(int fd, const void *buffer, size_t size, int flags,
	                  const struct sockaddr *address, socklen_t length);
	ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
	int (*recvmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags,
	                struct timespec *timeout);
	int (*sendmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags);
	void (*chk_fail)(void); /* glibc's end of a program that overflows a buffer, or NULL */
};

extern union real_page {
	struct real_calls call;
	char page[4096];
} real_page;

#define real (real_page.call)

void real_resolve(void);

#endif
