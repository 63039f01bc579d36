/* The name of a socket: what the program tells others about where it can be reached. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>

#include "control.h"
#include "endpoint.h"
#include "export.h"
#include "fdtable.h"
#include "nat.h"
#include "pinhole.h"
#include "real.h"

/* A control connection of a server, or of a client, with a host that does not see the inside. */
static bool is_outside_connection(int fd, const struct endpoint *local) {
	struct endpoint remote;
	return (control_is(IPPROTO_TCP, local->port) || fdtable_kind(fd) == FD_SESSION) &&
	       endpoint_remote(&remote, fd) && remote.family == 4 && !endpoint_is_loopback(&remote) &&
	       !nat_is_local(&remote);
}

int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict length) {
	struct endpoint local;
	if (!nat_active() || !pinhole_active || length == NULL || *length > INT_MAX)
		return real.getsockname(fd, address, length);
	socklen_t room = *length;
	int result = real.getsockname(fd, address, length);
	const uint8_t *outside;
	int error = errno;
	if (result == 0 && endpoint_local(&local, fd) && (outside = nat_outside(&local)) != NULL &&
	    ((fdtable_get(fd).flags & FD_FLAG_OUTSIDE) != 0 || is_outside_connection(fd, &local)))
		nat_write(address, *length == sizeof(struct sockaddr_in) ? AF_INET : AF_INET6, room, outside);
	errno = error;
	return result;
}
