#include "held.h"

#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "facts.h"
#include "notice.h"
#include "options.h"
#include "refuse.h"

/* Powers of two: sequence numbers wrap around. */
#define HELD_MAX 4096u
#define ASKED_MAX 1024u

/* By sequence number. */
static struct held calls[HELD_MAX];
/* Sequence numbers of the oldest call that may wait, and one more than the newest. */
static uint32_t oldest, newest;

static uint64_t asked[ASKED_MAX];
static uint32_t asked_count;

static struct held *call_of(uint32_t sequence) {
	struct held *call = &calls[sequence % HELD_MAX];
	return call->id != 0 && call->message.header.sequence == sequence ? call : NULL;
}

static int64_t now_ms(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

bool held_was_asked(uint64_t cookie) {
	for (uint32_t i = 0; cookie != 0 && i < ASKED_MAX; i++)
		if (asked[i] == cookie)
			return true;
	return false;
}

static bool send_message(const struct wire_open *message, int socket, int pidfd) {
	for (;;) {
		enum broker_result result = broker_ask(message, socket, pidfd);
		if (result != BROKER_BUSY)
			return result == BROKER_DONE;
		/* The broker does not wait for us to take its answers. A millisecond, since nothing tells
		 * when fewer descriptors are on their way. */
		struct pollfd channel = {.fd = broker_fd(), .events = POLLIN | POLLOUT};
		poll(&channel, 1, 1);
		if (!held_take_verdicts())
			return false;
	}
}

bool held_ask(const struct held *call, const struct target *target, int socket) {
	uint32_t sequence = call->message.header.sequence;
	struct held *kept = &calls[sequence % HELD_MAX];
	if (kept->id != 0)
		return false;
	*kept = *call;
	kept->deadline = now_ms() + options.timeout_ms;
	asked[asked_count++ % ASKED_MAX] = call->cookie;
	if (oldest == newest)
		oldest = sequence;
	newest = sequence + 1;
	if (send_message(&kept->message, socket, target->pidfd))
		return true;
	kept->id = 0;
	/* The broker may have been restarted; what else waits is asked for first. */
	held_ask_again();
	if (broker_fd() < 0 && !broker_reconnect())
		return false;
	*kept = *call;
	kept->sent_again = true;
	kept->deadline = now_ms() + options.timeout_ms;
	if (send_message(&kept->message, socket, target->pidfd))
		return true;
	kept->id = 0;
	return false;
}

/*
 * The call has to fail although the kernel made the binding, and nothing unbinds a socket: the
 * descriptor gets a fresh one (refuse.h).
 */
static bool refuse(const struct held *call) {
	struct target target;
	bool refused = false;
	if (!target_open(&target, call->thread))
		return false;
	int fd = target_descriptor(&target, call->fd);
	if (fd >= 0 && notice_is_valid(call->id) && facts_cookie(fd) == call->cookie) {
		refuse_binding(fd);
		refused = notice_replace(call->id, fd, call->fd, target_closes_on_exec(&target, call->fd));
	}
	if (fd >= 0)
		close(fd);
	target_close(&target);
	return refused;
}

bool held_take_verdicts(void) {
	struct wire_verdict_message verdict;
	enum broker_result result;
	while ((result = broker_take(&verdict)) == BROKER_DONE) {
		struct held *call = call_of(verdict.header.sequence);
		if (call == NULL) /* came too late */
			continue;
		bool must_fail = verdict.verdict != WIRE_VERDICT_OPEN &&
		                 (verdict.flags & WIRE_FLAG_MUST_FAIL) != 0 && call->may_fail;
		notice_answer(call->id, must_fail && refuse(call) ? EACCES : 0);
		call->id = 0;
	}
	return result == BROKER_BUSY;
}

static bool ask_again(struct held *call) {
	struct target target;
	bool asked_again = false;
	if (call->sent_again || !target_open(&target, call->thread))
		return false;
	call->sent_again = true;
	int fd = target_descriptor(&target, call->fd);
	if (fd >= 0 && notice_is_valid(call->id) && facts_cookie(fd) == call->cookie)
		asked_again = send_message(&call->message, fd, target.pidfd);
	if (fd >= 0)
		close(fd);
	target_close(&target);
	return asked_again;
}

/* Only for these a connection is made: a broker that does not accept us any more, and hangs up each
 * time, would be asked for ever. */
static bool waits_for_first_time(void) {
	for (uint32_t sequence = oldest; sequence != newest; sequence++) {
		const struct held *call = call_of(sequence);
		if (call != NULL && !call->sent_again)
			return true;
	}
	return false;
}

void held_ask_again(void) {
	broker_hang_up();
	bool connected = waits_for_first_time() && broker_reconnect();
	for (uint32_t sequence = oldest; sequence != newest; sequence++) {
		struct held *call = call_of(sequence);
		if (call == NULL || (connected && ask_again(call)))
			continue;
		notice_answer(call->id, 0);
		call->id = 0;
	}
}

int held_expire(void) {
	int64_t now = now_ms();
	for (; oldest != newest; oldest++) {
		struct held *call = call_of(oldest);
		if (call == NULL)
			continue;
		if (call->deadline > now)
			return (int)(call->deadline - now);
		notice_answer(call->id, 0);
		call->id = 0;
	}
	return -1;
}
