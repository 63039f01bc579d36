#include "message.h"

#include <errno.h>
#include <linux/poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "config.h"
#include "eager.h"
#include "sys.h"

static _Atomic uint32_t last_sequence;

struct wire_header message_header(enum wire_type type, unsigned length) {
	return (struct wire_header){
	    .magic = WIRE_MAGIC,
	    .type = (uint16_t)type,
	    .length = (uint16_t)length,
	    .sequence = __atomic_add_fetch(&last_sequence, 1, __ATOMIC_RELAXED),
	};
}

struct __kernel_timespec message_time_limit(void) {
	return (struct __kernel_timespec){
	    .tv_sec = config.timeout_ms / 1000,
	    .tv_nsec = (long long)(config.timeout_ms % 1000) * 1000000,
	};
}

/*
 * The kernel takes the time that was waited off *left, also when a signal handler ran: its EINTR
 * is not shown to the program, whose bind cannot be interrupted without the agent either.
 */
static enum message_result wait_for(int socket, short events, struct __kernel_timespec *left) {
	for (;;) {
		struct pollfd poll = {.fd = socket, .events = events};
		long ready = sys6(SYS_ppoll, sys_ptr(&poll), 1, sys_ptr(left), 0, 8, 0);
		if (ready > 0)
			return MESSAGE_DONE;
		if (ready == 0)
			return MESSAGE_LATE;
		if (ready != -EINTR)
			return MESSAGE_DEAD;
	}
}

/* Too many descriptors of this user are on their way (unix(7), ETOOMANYREFS): wait for the broker
 * to take some. False when the time limit is over. */
static bool pause_shortly(struct __kernel_timespec *left) {
	struct __kernel_timespec pause = {.tv_nsec = 1000000};
	if (left->tv_sec == 0 && left->tv_nsec <= pause.tv_nsec)
		return false;
	if (left->tv_nsec < pause.tv_nsec) {
		left->tv_sec--;
		left->tv_nsec += 1000000000;
	}
	left->tv_nsec -= pause.tv_nsec;
	sys6(SYS_ppoll, 0, 0, sys_ptr(&pause), 0, 8, 0);
	return true;
}

/* struct ucred */
struct identity {
	int32_t pid;
	uint32_t uid;
	uint32_t gid;
};

struct ancillary {
	struct cmsghdr rights;
	int fds[MESSAGE_FDS];
	struct cmsghdr credentials;
	struct identity identity;
	int end;
};

_Static_assert(offsetof(struct ancillary, fds) == CMSG_LEN(0), "CMSG_DATA");
/* One descriptor takes as much space as two. */
_Static_assert(offsetof(struct ancillary, credentials) == CMSG_SPACE(sizeof(int)), "CMSG_NXTHDR");
_Static_assert(offsetof(struct ancillary, credentials) == CMSG_SPACE(2 * sizeof(int)), "CMSG_NXTHDR");

/* The message's ancillary data; returns its length. */
static size_t attach(struct ancillary *to, const int *fds, unsigned count) {
	uint32_t user = (uint32_t)sys3(SYS_geteuid, 0, 0, 0);
	*to = (struct ancillary){
	    .rights = {.cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET,
	               .cmsg_type = SCM_RIGHTS},
	};
	for (unsigned i = 0; i < count; i++)
		to->fds[i] = fds[i];
	/* The kernel would name the real user: still root, in a server that puts on its client's rights by
	 * seteuid. It takes the effective one when it is told, and no others' (unix(7)). */
	if (user == (uint32_t)sys3(SYS_getuid, 0, 0, 0))
		return offsetof(struct ancillary, credentials);
	to->credentials = (struct cmsghdr){
	    .cmsg_len = CMSG_LEN(sizeof to->identity),
	    .cmsg_level = SOL_SOCKET,
	    .cmsg_type = 2, /* SCM_CREDENTIALS */
	};
	to->identity = (struct identity){
	    .pid = (int32_t)sys3(SYS_getpid, 0, 0, 0),
	    .uid = user,
	    .gid = (uint32_t)sys3(SYS_getegid, 0, 0, 0),
	};
	return sizeof *to;
}

enum message_result message_send(int socket, const struct wire_header *header, const int *fds,
                                 unsigned count, struct __kernel_timespec *left) {
	struct iovec data = {.iov_base = (void *)(uintptr_t)header, .iov_len = header->length};
	struct ancillary ancillary;
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	if (count > 0) {
		message.msg_control = &ancillary;
		message.msg_controllen = attach(&ancillary, fds, count);
	}
	for (;;) {
		long sent = sys3(SYS_sendmsg, socket, sys_ptr(&message), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent == header->length)
			return MESSAGE_DONE;
		if (sent == -EAGAIN) {
			enum message_result result = wait_for(socket, POLLOUT, left);
			if (result != MESSAGE_DONE)
				return result;
		} else if (sent == -ETOOMANYREFS) {
			if (!pause_shortly(left))
				return MESSAGE_LATE;
		} else if (sent != -EINTR) {
			return MESSAGE_DEAD;
		}
	}
}

static bool well_formed(const struct wire_verdict_message *verdict, long received) {
	return received == (long)sizeof *verdict && verdict->header.magic == WIRE_MAGIC &&
	       verdict->header.type == WIRE_VERDICT &&
	       verdict->header.length == sizeof *verdict && verdict->header.zero == 0;
}

static long receive(int socket, struct wire_verdict_message *verdict) {
	/* MSG_TRUNC tells the length of a message that is too long. */
	return sys6(SYS_recvfrom, socket, sys_ptr(verdict), sizeof *verdict, MSG_DONTWAIT | MSG_TRUNC, 0, 0);
}

/* What was received while it paid to look for it; -EAGAIN when that is to be waited for. */
static long receive_eagerly(int socket, struct wire_verdict_message *verdict) {
	unsigned looks = eager_looks();
	long received = -EAGAIN;
	for (unsigned i = 0; i < looks && received == -EAGAIN; i++) {
		eager_rest();
		received = receive(socket, verdict);
	}
	if (looks > 0)
		eager_tell(received != -EAGAIN);
	return received;
}

enum message_result message_receive(int socket, uint32_t sequence,
                                    struct wire_verdict_message *verdict,
                                    struct __kernel_timespec *left) {
	for (long received = receive_eagerly(socket, verdict);; received = receive(socket, verdict)) {
		if (received != -EAGAIN && received != -EINTR) {
			if (!well_formed(verdict, received))
				return MESSAGE_DEAD;
			if (verdict->header.sequence == sequence)
				return MESSAGE_DONE;
		}
		enum message_result result = wait_for(socket, POLLIN, left);
		if (result != MESSAGE_DONE)
			return result;
	}
}
