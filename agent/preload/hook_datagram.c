/* Calls that move datagrams: the first one to or from a host names the peer. */
#include <stddef.h>

#include "export.h"
#include "fdtable.h"
#include "pinhole.h"
#include "real.h"

static bool is_control_datagram(int fd, int flags) {
	struct fd_entry entry = fdtable_get(fd);
	return entry.kind == FD_CONTROL && (entry.flags & FD_FLAG_UDP) != 0 &&
	       (flags & MSG_ERRQUEUE) == 0;
}

ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags,
                 struct sockaddr *restrict address, socklen_t *restrict length) {
	if (!is_control_datagram(fd, flags))
		return real.recvfrom(fd, buffer, size, flags, address, length);
	struct sockaddr_storage own;
	socklen_t own_length = sizeof own;
	struct sockaddr *at = address;
	socklen_t room = own_length;
	/* A program that does not want to know the sender still has one. */
	if (address == NULL || length == NULL) {
		at = (struct sockaddr *)&own;
		length = &own_length;
	} else {
		room = *length;
	}
	ssize_t result = real.recvfrom(fd, buffer, size, flags, at, length);
	if (result >= 0)
		pinhole_received(fd, at, *length < room ? *length : room);
	return result;
}

ssize_t recv(int fd, void *buffer, size_t size, int flags) {
	if (is_control_datagram(fd, flags))
		return recvfrom(fd, buffer, size, flags, NULL, NULL);
	return real.recv(fd, buffer, size, flags);
}

static void check_room(size_t size, size_t room) {
	if (size <= room)
		return;
	if (real.chk_fail != NULL)
		real.chk_fail();
	__builtin_trap();
}

ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags) {
	check_room(size, room);
	return recv(fd, buffer, size, flags);
}

ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags,
                       struct sockaddr *restrict address, socklen_t *restrict length) {
	check_room(size, room);
	return recvfrom(fd, buffer, size, flags, address, length);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
	if (message == NULL || !is_control_datagram(fd, flags))
		return real.recvmsg(fd, message, flags);
	struct sockaddr_storage own;
	struct msghdr copy = *message;
	if (message->msg_name == NULL) {
		copy.msg_name = &own;
		copy.msg_namelen = sizeof own;
	}
	socklen_t room = copy.msg_namelen;
	ssize_t result = real.recvmsg(fd, &copy, flags);
	if (result < 0)
		return result;
	pinhole_received(fd, copy.msg_name, copy.msg_namelen < room ? copy.msg_namelen : room);
	if (message->msg_name != NULL)
		message->msg_namelen = copy.msg_namelen;
	message->msg_controllen = copy.msg_controllen;
	message->msg_flags = copy.msg_flags;
	return result;
}

/* Before the datagram leaves: the answer may be faster than the pinhole. */
ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *address,
               socklen_t length) {
	if (address != NULL)
		pinhole_sending(fd, address, length);
	return real.sendto(fd, buffer, size, flags, address, length);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
	if (message != NULL && message->msg_name != NULL)
		pinhole_sending(fd, message->msg_name, message->msg_namelen);
	return real.sendmsg(fd, message, flags);
}
