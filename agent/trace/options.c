#include "options.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct options options;

/* Decimal digits up to a character of `ends`. */
static bool number(const char **text, const char *ends, unsigned long max, unsigned long *value) {
	char *end;
	if (**text < '0' || **text > '9')
		return false;
	*value = strtoul(*text, &end, 10);
	if (*value > max || end - *text > 9 || strchr(ends, *end) == NULL)
		return false;
	*text = end;
	return true;
}

static bool read_control(const char *text) {
	for (;;) {
		unsigned long port;
		uint8_t protocol = strncmp(text, "tcp/", 4) == 0 ? IPPROTO_TCP : IPPROTO_UDP;
		if (protocol == IPPROTO_UDP && strncmp(text, "udp/", 4) != 0)
			return false;
		text += 4;
		if (!number(&text, ",", 65535, &port) || port == 0 ||
		    options.control_count == OPTIONS_CONTROL_MAX)
			return false;
		options.control[options.control_count].protocol = protocol;
		options.control[options.control_count].port = (uint16_t)port;
		options.control_count++;
		if (*text++ == '\0')
			return true;
	}
}

static bool copy(char *to, size_t size, const char *from) {
	size_t length = strlen(from);
	if (length >= size)
		return false;
	memset(to, 0, size);
	memcpy(to, from, length);
	return true;
}

static bool set(const char *name, const char *value) {
	if (strcmp(name, "--socket") == 0)
		return value[0] == '/' && copy(options.broker.sun_path, sizeof options.broker.sun_path, value);
	if (strcmp(name, "--delegate") == 0)
		return copy(options.delegate, sizeof options.delegate, value);
	if (strcmp(name, "--control") == 0)
		return read_control(value);
	return false;
}

static bool read_timeout(void) {
	const char *text = getenv("DIAPER_TIMEOUT_MS");
	unsigned long value = 30000;
	if (text != NULL && !number(&text, "", 600000, &value))
		return false;
	options.timeout_ms = (uint32_t)value;
	return true;
}

bool options_read(int argc, char **argv) {
	int at = 1;
	options.broker.sun_family = AF_UNIX;
	for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2)
		if (!set(argv[at], argv[at + 1])) {
			fprintf(stderr, "diaper: trace: %s %s: not possible\n", argv[at], argv[at + 1]);
			return false;
		}
	if (at + 1 >= argc || options.broker.sun_path[0] == '\0') {
		fprintf(stderr, "usage: diaper-trace --socket PATH [--delegate NAME] [--control PORTS] "
		                "-- PROGRAM [ARGUMENT...]\n");
		return false;
	}
	if (!read_timeout()) {
		fprintf(stderr, "diaper: DIAPER_TIMEOUT_MS: expected 0 to 600000 milliseconds\n");
		return false;
	}
	options.program = argv[at + 1];
	options.arguments = argv + at + 1;
	return true;
}
