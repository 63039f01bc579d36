/* Calls that move datagrams: the first one to or from a host names the peer. */
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "export.h"
#include "fdtable.h"
#include "pinhole.h"
#include "real.h"

static bool is_control_datagram(int fd, int flags) {
	struct fd_entry entry = fdtable_get(fd);
	return entry.kind == FD_CONTROL && (entry.flags & FD_FLAG_UDP) != 0 &&
	       (flags & MSG_ERRQUEUE) == 0;
}

/* Gives the program what the kernel would: as much of the address as there is room for, and the
 * length that it has. */
static void hand_on(void *to, socklen_t *length, const struct sockaddr_storage *from,
                    socklen_t from_length) {
	memcpy(to, from, *length < from_length ? *length : from_length);
	*length = from_length;
}

/* With room for the sender, also when the program has too little, or does not want to know. */
ssize_t recvfrom(int fd, void *restrict buffer, size_t size, int flags,
                 struct sockaddr *restrict address, socklen_t *restrict length) {
	struct sockaddr_storage sender;
	socklen_t sender_length = sizeof sender;
	bool wanted = address != NULL && length != NULL;
	/* What the kernel refuses is left to it. */
	if (!is_control_datagram(fd, flags) || (wanted && *length > INT_MAX) ||
	    (address != NULL && length == NULL))
		return real.recvfrom(fd, buffer, size, flags, address, length);
	ssize_t result = real.recvfrom(fd, buffer, size, flags, (struct sockaddr *)&sender, &sender_length);
	if (result < 0)
		return result;
	if (wanted)
		hand_on(address, length, &sender, sender_length);
	pinhole_received(fd, (struct sockaddr *)&sender, sender_length);
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
	struct sockaddr_storage sender;
	if (message == NULL || message->msg_namelen > INT_MAX || !is_control_datagram(fd, flags))
		return real.recvmsg(fd, message, flags);
	struct msghdr copy = *message;
	copy.msg_name = &sender;
	copy.msg_namelen = sizeof sender;
	ssize_t result = real.recvmsg(fd, &copy, flags);
	if (result < 0)
		return result;
	if (message->msg_name != NULL)
		hand_on(message->msg_name, &message->msg_namelen, &sender, copy.msg_namelen);
	message->msg_controllen = copy.msg_controllen;
	message->msg_flags = copy.msg_flags;
	pinhole_received(fd, (struct sockaddr *)&sender, copy.msg_namelen);
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
