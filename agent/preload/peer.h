/*
 * For whom is a pinhole? The peer is an attribute, not a descriptor: the control connection may be
 * closed, or live in another process, when the auxiliary port is bound. A thread's own peer comes
 * first, then the process's latest; a forked process inherits both with its memory.
 */
#ifndef DIAPER_PEER_H
#define DIAPER_PEER_H

#include <stdbool.h>

#include "endpoint.h"

struct peer {
	struct endpoint remote; /* the external host; its port is that of the control connection */
	struct endpoint local;  /* this host's end of the control connection; family 0: not known */
};

/* Async-signal-safe, and safe with any number of threads. */
void peer_set(const struct peer *peer);

/* False when no peer is known. */
bool peer_get(struct peer *peer);

bool peer_known(void);

#endif
