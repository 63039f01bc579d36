/* The supervisor's channel to the broker: docs/protocols/agent-broker.md. */
#ifndef DIAPER_TRACE_BROKER_H
#define DIAPER_TRACE_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum broker_result {
	BROKER_DONE,
	BROKER_BUSY, /* not now: wait for the channel, and take what it has to say */
	BROKER_DEAD, /* the broker is gone, or does not keep to the protocol */
};

/* Connects and waits until the broker accepts this account. False when it does not. */
bool broker_start(void);

/* Connects again, without waiting for the answer. False when nobody listens. */
bool broker_reconnect(void);

/* Closes the channel. */
void broker_hang_up(void);

/* The channel, or -1. */
int broker_fd(void);

/* Sends a request with the traced program's socket and a descriptor of its thread. */
enum broker_result broker_ask(const struct wire_open *message, int socket, int pidfd);

/* Takes the next verdict. */
enum broker_result broker_take(struct wire_verdict_message *verdict);

/* Header of a message of ours, with a new sequence number. */
struct wire_header broker_header(enum wire_type type, unsigned length);

#endif
