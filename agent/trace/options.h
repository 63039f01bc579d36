/* What `diaper run --trace seccomp` tells the supervisor, in its arguments. */
#ifndef DIAPER_TRACE_OPTIONS_H
#define DIAPER_TRACE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "wire.h"

#define OPTIONS_CONTROL_MAX 32

struct options {
	struct sockaddr_un broker;
	char delegate[WIRE_DELEGATE_SIZE];
	/* Longest wait for a verdict; DIAPER_TIMEOUT_MS, as for the agent. */
	uint32_t timeout_ms;
	/* Control ports that were named; without any the first bound port is one. */
	unsigned control_count;
	struct {
		uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
		uint16_t port;
	} control[OPTIONS_CONTROL_MAX];
	/* The program and its arguments, from its name on. */
	const char *program;
	char **arguments;
};

extern struct options options;

/* False, with a message on stderr, when the arguments are wrong. */
bool options_read(int argc, char **argv);

#endif
