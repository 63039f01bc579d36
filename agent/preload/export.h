/* What the agent puts in front of libc. The list in exports.map has to name the same. */
#ifndef DIAPER_EXPORT_H
#define DIAPER_EXPORT_H

#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int socket(int domain, int type, int protocol);
EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length);
EXPORT int listen(int fd, int backlog);
EXPORT int accept(int fd, struct sockaddr *address, socklen_t *length);
EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length);
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

/* syscall is in hook_syscall.S; for the calls above it comes here. */
long hook_syscall(long number, long a, long b, long c, long d, long e, long f);

#endif
