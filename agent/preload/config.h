/* Configuration of the agent, from the environment, read once in the constructor. */
#ifndef DIAPER_CONFIG_H
#define DIAPER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define CONFIG_CONTROL_MAX 32

/* When a program is given one ready descriptor a round (round.h). */
enum config_limit { CONFIG_LIMIT_AUTO, CONFIG_LIMIT_ALWAYS, CONFIG_LIMIT_NEVER };

/* Where it is told that peers cannot be told apart for sure. */
enum config_log { CONFIG_LOG_BROKER, CONFIG_LOG_STDERR, CONFIG_LOG_NONE };

struct config {
	char socket_path[108];            /* DIAPER_SOCKET; empty: none */
	char delegate[WIRE_DELEGATE_SIZE]; /* DIAPER_DELEGATE, padded with NUL */
	int inherited_fd;                 /* DIAPER_FD, or -1 */
	int wrapper_fd;                   /* DIAPER_WRAPPER_FD, or -1 */
	uint32_t timeout_ms;              /* DIAPER_TIMEOUT_MS, by default 30000 */
	enum config_limit limit;          /* DIAPER_LIMIT, by default auto */
	enum config_log log;              /* DIAPER_LOG, by default broker */
	unsigned control_count;           /* DIAPER_CONTROL; 0: the first port bound */
	struct {
		uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
		uint16_t port;
	} control[CONFIG_CONTROL_MAX];
};

extern struct config config;

/*
 * False when the agent has nothing to do here: no broker is named, a variable is wrong (which is
 * said once on stderr, since somebody set it on purpose), or the program runs with more rights
 * than who started it, so that the environment is not to be trusted.
 */
bool config_read(char **environment);

/* The value of a variable, or NULL. */
const char *config_variable(char **environment, const char *name);

/* A line on stderr, after the agent's name. */
void config_say(const char *text);

/*
 * Takes what the setuid wrapper has set out of the environment, so that a program that this one
 * executes gets neither the agent nor the name of a broker.
 */
void config_hide(char **environment);

#endif
