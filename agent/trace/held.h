/* Calls that are held until the broker has answered for them. */
#ifndef DIAPER_TRACE_HELD_H
#define DIAPER_TRACE_HELD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "target.h"
#include "wire.h"

struct held {
	uint64_t id; /* of the notification; 0: not in use */
	uint64_t cookie;
	int64_t deadline; /* milliseconds of the monotonic clock */
	pid_t thread;
	int fd; /* in the thread */
	bool may_fail;
	bool sent_again;
	struct wire_open message;
};

/*
 * Asks for a held call, over a new channel when the old one is dead. False when there is no broker,
 * or too many calls are held: then the call has to go on without a pinhole.
 */
bool held_ask(const struct held *call, const struct target *target, int socket);

/* Answers calls for which there are verdicts. False when the channel is dead. */
bool held_take_verdicts(void);

/* The channel is dead: asks once more for what was not answered, if there is a new broker. */
void held_ask_again(void);

/* Lets calls go on that have waited long enough. Milliseconds until the next is due, or -1. */
int held_expire(void);

/* Whether a socket was asked for not long ago. */
bool held_was_asked(uint64_t cookie);

#endif
