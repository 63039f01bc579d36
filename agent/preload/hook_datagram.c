/* Calls that move datagrams: the first one to or from a host names the peer. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "export.h"
#include "meet.h"
#include "real.h"
#include "rights.h"

#ifndef MSG_WAITFORONE
#define MSG_WAITFORONE 0x10000
#endif

static bool is_control_datagram(int fd, int flags) {
	return meet_wants_sender(fd) && (flags & MSG_ERRQUEUE) == 0;
}

static ssize_t received(int fd, ssize_t result) {
	if (result > 0)
		meet_read(fd);
	return result;
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
		return received(fd, real.recvfrom(fd, buffer, size, flags, address, length));
	ssize_t result = real.recvfrom(fd, buffer, size, flags, (struct sockaddr *)&sender, &sender_length);
	if (result < 0)
		return result;
	if (wanted)
		hand_on(address, length, &sender, sender_length);
	meet_received(fd, (struct sockaddr *)&sender, sender_length);
	return result;
}

ssize_t recv(int fd, void *buffer, size_t size, int flags) {
	if (is_control_datagram(fd, flags))
		return recvfrom(fd, buffer, size, flags, NULL, NULL);
	return received(fd, real.recv(fd, buffer, size, flags));
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
	if (message == NULL || message->msg_namelen > INT_MAX || !is_control_datagram(fd, flags)) {
		ssize_t result = received(fd, real.recvmsg(fd, message, flags));
		if (result >= 0)
			rights_received(message);
		return result;
	}
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
	meet_received(fd, (struct sockaddr *)&sender, copy.msg_namelen);
	return result;
}

static bool is_time(const struct timespec *time) {
	return time == NULL || (time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < 1000000000);
}

/* What comes to a control port is taken one by one, as the peer is whoever sent the last one. The
 * kernel looks at the timeout after each datagram, and so with one of them not at all. */
int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
	if (count > 0 && is_control_datagram(fd, flags) && is_time(timeout)) {
		ssize_t result = recvmsg(fd, &messages->msg_hdr, flags & ~(int)MSG_WAITFORONE);
		if (result < 0)
			return -1;
		messages->msg_len = (unsigned)result;
		return 1;
	}
	int result = real.recvmmsg(fd, messages, count, flags, timeout);
	if (result > 0)
		meet_read(fd);
	for (int i = 0; i < result; i++)
		rights_received(&messages[i].msg_hdr);
	return result;
}

/* Before the datagram leaves: the answer may be faster than the pinhole. */
ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const struct sockaddr *address,
               socklen_t length) {
	if (address != NULL)
		meet_sending(fd, address, length);
	ssize_t result = real.sendto(fd, buffer, size, flags, address, length);
	/* TCP Fast Open connects and sends at once. */
	if ((flags & MSG_FASTOPEN) != 0 && address != NULL && (result >= 0 || errno == EINPROGRESS))
		meet_connected(fd, address, length);
	return result;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
	if (message != NULL && message->msg_name != NULL)
		meet_sending(fd, message->msg_name, message->msg_namelen);
	return real.sendmsg(fd, message, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
	for (unsigned i = 0; messages != NULL && i < count; i++)
		if (messages[i].msg_hdr.msg_name != NULL)
			meet_sending(fd, messages[i].msg_hdr.msg_name, messages[i].msg_hdr.msg_namelen);
	return real.sendmmsg(fd, messages, count, flags);
}
