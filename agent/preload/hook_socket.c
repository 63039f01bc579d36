/* Calls that make, bind and connect sockets. */
#include <errno.h>

#include "export.h"
#include "fdtable.h"
#include "meet.h"
#include "nat.h"
#include "pinhole.h"
#include "process.h"
#include "real.h"

int socket(int domain, int type, int protocol) {
	int fd = real.socket(domain, type, protocol);
	/* The number's former use may have ended where no hook saw it (inside libc). */
	if (fd >= 0 && fdtable_kind(fd) != FD_UNKNOWN && !process_is_shared())
		fdtable_forget(fd);
	return fd;
}

static int result_of(int error) {
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

/*
 * Told an outside address by getsockname, a program binds to that; the kernel has none of it. Which
 * of the inside ones is this host's, the kernel tells.
 */
static int bind_inside(int fd, const struct sockaddr *outside, socklen_t length) {
	struct sockaddr_storage inside;
	const struct sockaddr *address = (struct sockaddr *)&inside;
	unsigned next = 0;
	while (nat_inward(&inside, outside, length, &next)) {
		if (real.bind(fd, address, length) != 0) {
			if (errno == EADDRNOTAVAIL)
				continue;
			return -1;
		}
		int error = pinhole_bound(fd, address, length);
		if (error == 0 && !process_is_shared()) {
			struct fd_entry entry = fdtable_get(fd);
			entry.flags |= FD_FLAG_OUTSIDE;
			fdtable_set(fd, entry);
		}
		return result_of(error);
	}
	errno = EADDRNOTAVAIL;
	return -1;
}

int bind(int fd, const struct sockaddr *address, socklen_t length) {
	int result = real.bind(fd, address, length);
	if (result != 0 && errno == EADDRNOTAVAIL && pinhole_active && nat_active())
		return bind_inside(fd, address, length);
	return result == 0 ? result_of(pinhole_bound(fd, address, length)) : result;
}

int listen(int fd, int backlog) {
	int result = real.listen(fd, backlog);
	return result == 0 ? result_of(pinhole_listening(fd)) : result;
}

int accept(int fd, struct sockaddr *address, socklen_t *length) {
	int accepted = real.accept(fd, address, length);
	if (accepted >= 0)
		meet_accepted(fd, accepted);
	return accepted;
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
	int accepted = real.accept4(fd, address, length, flags);
	if (accepted >= 0)
		meet_accepted(fd, accepted);
	return accepted;
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
	int result = real.connect(fd, address, length);
	/* An interrupted connect goes on in the background, as one that does not block (connect(2)). */
	if (result == 0 || errno == EINPROGRESS || errno == EINTR)
		meet_connected(fd, address, length);
	return result;
}

int __connect(int fd, const struct sockaddr *address, socklen_t length) {
	return connect(fd, address, length);
}
