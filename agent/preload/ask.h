/* Asking for one pinhole. */
#ifndef DIAPER_ASK_H
#define DIAPER_ASK_H

#include <stdbool.h>

#include "peer.h"

struct ask {
	int fd;
	uint8_t protocol;
	bool may_fail;            /* bind or listen can still fail */
	bool exact_port;          /* the socket is connected: from the remote port alone */
	const struct peer *peer;  /* NULL: several hosts, and nothing tells which */
	const struct peer *other; /* the peer that the last read tells of, when it is another one */
};

/*
 * Asks, waits for the answer, and marks the descriptor. 0, or EACCES when the administrator wants
 * the call to fail; the descriptor then has a socket that is not bound (refuse.h).
 */
int ask_pinhole(struct ask ask);

/* IPPROTO_TCP, IPPROTO_UDP, or 0 for what no pinhole is made for. */
uint8_t ask_protocol(int fd);

#endif
