/* Calls of libc that bind inside it, to a port below 1024. */
#include <errno.h>
#include <stddef.h>

#include "export.h"
#include "pinhole.h"
#include "real.h"
#include "sys.h"

/* 0, or an error for which the call has to fail. */
static int bound(int fd) {
	union {
		struct sockaddr address;
		struct sockaddr_storage storage;
	} own;
	socklen_t length = sizeof own;
	if (sys3(SYS_getsockname, fd, sys_ptr(&own), sys_ptr(&length)) != 0)
		return 0;
	return pinhole_bound(fd, &own.address, length);
}

int bindresvport(int fd, struct sockaddr_in *address) {
	if (real.bindresvport == NULL) {
		errno = ENOSYS;
		return -1;
	}
	int result = real.bindresvport(fd, address);
	int error = result == 0 ? bound(fd) : 0;
	if (error == 0)
		return result;
	errno = error;
	return -1;
}

int rresvport_af(int *port, sa_family_t family) {
	if (real.rresvport_af == NULL) {
		errno = ENOSYS;
		return -1;
	}
	int fd = real.rresvport_af(port, family);
	int error = fd >= 0 ? bound(fd) : 0;
	if (error == 0)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

int rresvport(int *port) {
	return rresvport_af(port, AF_INET);
}
