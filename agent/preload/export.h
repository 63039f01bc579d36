/* What the agent puts in front of libc. The list in exports.map has to name the same. */
#ifndef DIAPER_EXPORT_H
#define DIAPER_EXPORT_H

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <threads.h>

/* As recvmmsg(2) has it; the headers show it only together with much that is not wanted here. */
struct mmsghdr {
	struct msghdr msg_hdr;
	unsigned msg_len;
};

#define EXPORT __attribute__((visibility("default")))

EXPORT int socket(int domain, int type, int protocol);
EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length);
EXPORT int listen(int fd, int backlog);
EXPORT int accept(int fd, struct sockaddr *address, socklen_t *length);
EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length);
EXPORT int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict length);
EXPORT int __connect(int fd, const struct sockaddr *address, socklen_t length);

EXPORT int close(int fd);
EXPORT int __close(int fd);
EXPORT int close_range(unsigned first, unsigned last, int flags);
EXPORT void closefrom(int lowest);
EXPORT int fclose(FILE *stream);
EXPORT int dup(int fd);
EXPORT int dup2(int from, int to);
EXPORT int __dup2(int from, int to);
EXPORT int dup3(int from, int to, int flags);
EXPORT int fcntl(int fd, int command, ...);
EXPORT int fcntl64(int fd, int command, ...);
EXPORT int __fcntl(int fd, int command, ...);

EXPORT int bindresvport(int fd, struct sockaddr_in *address);
EXPORT int rresvport(int *port);
EXPORT int rresvport_af(int *port, sa_family_t family);

EXPORT int poll(struct pollfd *list, nfds_t count, int timeout);
EXPORT int __poll(struct pollfd *list, nfds_t count, int timeout);
EXPORT int __poll_chk(struct pollfd *list, nfds_t count, int timeout, size_t room);
EXPORT int ppoll(struct pollfd *list, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask);
EXPORT int __ppoll_chk(struct pollfd *list, nfds_t count, const struct timespec *timeout,
                       const sigset_t *mask, size_t room);
EXPORT int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict special,
                  struct timeval *restrict timeout);
EXPORT int __select(int count, fd_set *in, fd_set *out, fd_set *special, struct timeval *timeout);
EXPORT int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict special,
                   const struct timespec *restrict timeout, const sigset_t *restrict mask);
EXPORT int epoll_ctl(int set, int command, int fd, struct epoll_event *event);
EXPORT int epoll_wait(int set, struct epoll_event *events, int room, int timeout);
EXPORT int epoll_pwait(int set, struct epoll_event *events, int room, int timeout,
                       const sigset_t *mask);
EXPORT int epoll_pwait2(int set, struct epoll_event *events, int room,
                        const struct timespec *timeout, const sigset_t *mask);

EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                          void *(*start)(void *), void *restrict argument);
EXPORT int thrd_create(thrd_t *thread, thrd_start_t start, void *argument);

EXPORT ssize_t read(int fd, void *buffer, size_t size);
EXPORT ssize_t __read(int fd, void *buffer, size_t size);
EXPORT ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);
EXPORT ssize_t readv(int fd, const struct iovec *pieces, int count);
EXPORT ssize_t recv(int fd, void *buffer, size_t size, int flags);
EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags);
EXPORT ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags,
                        struct sockaddr *restrict address, socklen_t *restrict length);
EXPORT ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags,
                              struct sockaddr *restrict address, socklen_t *restrict length);
EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags);
EXPORT ssize_t sendto(int fd, const void *buffer, size_t size, int flags,
                      const struct sockaddr *address, socklen_t length);
EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout);
EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);

/* syscall is in hook_syscall.S; for the calls above it comes here. */
long hook_syscall(long number, long a, long b, long c, long d, long e, long f);

/* Waiting by syscall(): the arguments differ from those of the functions (masks, time left). */
long hook_poll(long number, long a, long b, long c, long d, long e);
long hook_select(long number, long a, long b, long c, long d, long e, long f);
long hook_epoll(long number, long a, long b, long c, long d, long e, long f);

#endif
