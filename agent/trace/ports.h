/*
 * Which port is the control port of the traced program, and for whom the others are. As in the
 * preloaded agent: named ones, or the first that the program binds by number. The traced processes
 * are one program, so that there is one answer for all of them.
 */
#ifndef DIAPER_TRACE_PORTS_H
#define DIAPER_TRACE_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "target.h"

enum peers {
	PEERS_NONE,
	PEERS_ONE,     /* one host, maybe with several connections */
	PEERS_SEVERAL, /* for which of them a port is cannot be told from outside the process */
};

struct peer {
	struct endpoint remote;
	struct endpoint local;
};

bool ports_is_control(uint8_t protocol, uint16_t port);

/* Makes it the control port, when none was named or found yet. */
void ports_claim_control(uint8_t protocol, uint16_t port);

/* The hosts that the process is connected to by control connections. */
enum peers ports_peers(const struct target *target, struct peer *peer);

#endif
