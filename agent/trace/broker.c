#include "broker.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "options.h"

#ifndef SO_SNDBUFFORCE
#define SO_SNDBUFFORCE 32
#endif

/* Room for the requests of a thousand threads at once, if the kernel grants it. */
#define SEND_ROOM (4 << 20)
/* Longest wait to be accepted as a connection: a supervisor that waits serves nobody. */
#define CONNECT_SECONDS 5

static int channel = -1;
static uint32_t hello_sequence;

int broker_fd(void) {
	return channel;
}

struct wire_header broker_header(enum wire_type type, unsigned length) {
	static uint32_t last_sequence;
	return (struct wire_header){
	    .magic = WIRE_MAGIC,
	    .type = (uint16_t)type,
	    .length = (uint16_t)length,
	    .sequence = ++last_sequence,
	};
}

void broker_hang_up(void) {
	if (channel >= 0)
		close(channel);
	channel = -1;
}

static bool fail(void) {
	broker_hang_up();
	return false;
}

bool broker_reconnect(void) {
	struct timeval limit = {.tv_sec = CONNECT_SECONDS};
	struct wire_hello hello = {.version = WIRE_VERSION};
	int room = SEND_ROOM;
	broker_hang_up();
	channel = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (channel < 0)
		return false;
	if (setsockopt(channel, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0)
		setsockopt(channel, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	setsockopt(channel, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	if (connect(channel, (struct sockaddr *)&options.broker, sizeof options.broker) != 0)
		return fail();
	hello.header = broker_header(WIRE_HELLO, sizeof hello);
	hello_sequence = hello.header.sequence;
	memcpy(hello.delegate, options.delegate, sizeof hello.delegate);
	if (send(channel, &hello, sizeof hello, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof hello)
		return fail();
	return true;
}

bool broker_start(void) {
	struct wire_verdict_message verdict;
	if (!broker_reconnect())
		return false;
	uint32_t sequence = hello_sequence;
	hello_sequence = 0;
	struct pollfd poll_channel = {.fd = channel, .events = POLLIN};
	if (poll(&poll_channel, 1, (int)options.timeout_ms) == 1 &&
	    broker_take(&verdict) == BROKER_DONE && verdict.header.sequence == sequence &&
	    verdict.verdict == WIRE_VERDICT_OPEN)
		return true;
	return fail();
}

enum broker_result broker_ask(const struct wire_open *message, int socket, int pidfd) {
	int fds[2] = {socket, pidfd};
	struct iovec data = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof fds)];
	} control;
	struct msghdr header = {
	    .msg_iov = &data,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof control,
	};
	memset(&control, 0, sizeof control);
	control.header.cmsg_len = CMSG_LEN(sizeof fds);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
	if (channel < 0)
		return BROKER_DEAD;
	ssize_t sent = sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent == sizeof *message)
		return BROKER_DONE;
	/* ETOOMANYREFS: too many descriptors of this user are on their way (unix(7)). */
	return errno == EAGAIN || errno == EINTR || errno == ETOOMANYREFS ? BROKER_BUSY : BROKER_DEAD;
}

static bool well_formed(const struct wire_verdict_message *verdict, ssize_t received) {
	return received == sizeof *verdict && verdict->header.magic == WIRE_MAGIC &&
	       verdict->header.type == WIRE_VERDICT && verdict->header.length == sizeof *verdict &&
	       verdict->header.zero == 0;
}

enum broker_result broker_take(struct wire_verdict_message *verdict) {
	for (;;) {
		if (channel < 0)
			return BROKER_DEAD;
		ssize_t received = recv(channel, verdict, sizeof *verdict, MSG_DONTWAIT | MSG_TRUNC);
		if (received < 0 && (errno == EAGAIN || errno == EINTR))
			return BROKER_BUSY;
		if (!well_formed(verdict, received))
			return BROKER_DEAD;
		if (verdict->header.sequence != hello_sequence)
			return BROKER_DONE;
		/* Not accepted: the broker hangs up by itself. */
	}
}
