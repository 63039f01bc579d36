#include "nat.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "config.h"

#define PAIRS_MAX 16
#define LOCAL_MAX 32

/* Read-only after the constructor. */
static struct {
	uint8_t inside[4];
	uint8_t outside[4];
} pairs[PAIRS_MAX];
static unsigned pair_count;

static struct {
	uint32_t network;
	uint32_t mask;
} local[LOCAL_MAX];
static unsigned local_count;

static bool number(const char **text, unsigned max, unsigned *value) {
	const char *at = *text;
	*value = 0;
	for (; *at >= '0' && *at <= '9' && *value <= max; at++)
		*value = *value * 10 + (unsigned)(*at - '0');
	bool good = at != *text && *value <= max;
	*text = at;
	return good;
}

static bool address(const char **text, uint8_t bytes[4]) {
	for (unsigned i = 0; i < 4; i++) {
		unsigned value;
		if ((i > 0 && *(*text)++ != '.') || !number(text, 255, &value))
			return false;
		bytes[i] = (uint8_t)value;
	}
	return true;
}

static uint32_t word(const uint8_t bytes[4]) {
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool pair(const char **text) {
	if (pair_count == PAIRS_MAX || !address(text, pairs[pair_count].inside) || *(*text)++ != '=' ||
	    !address(text, pairs[pair_count].outside))
		return false;
	pair_count++;
	return true;
}

static bool prefix(const char **text) {
	uint8_t bytes[4];
	unsigned bits;
	if (local_count == LOCAL_MAX || !address(text, bytes) || *(*text)++ != '/' ||
	    !number(text, 32, &bits))
		return false;
	local[local_count].mask = bits == 0 ? 0 : ~0u << (32 - bits);
	local[local_count].network = word(bytes) & local[local_count].mask;
	local_count++;
	return true;
}

static bool list(const char *text, bool (*item)(const char **text)) {
	if (text == NULL || *text == '\0')
		return true;
	while (item(&text)) {
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
	return false;
}

bool nat_read(char **environment) {
	if (list(config_variable(environment, "DIAPER_NAT"), pair) &&
	    list(config_variable(environment, "DIAPER_NAT_LOCAL"), prefix))
		return true;
	pair_count = 0;
	config_say("DIAPER_NAT: expected at most 16 of INSIDE=OUTSIDE, and DIAPER_NAT_LOCAL at most 32 "
	           "prefixes, IPv4, with commas between; inside addresses are announced\n");
	return false;
}

bool nat_active(void) {
	return pair_count > 0;
}

const uint8_t *nat_outside(const struct endpoint *inside) {
	for (unsigned i = 0; inside->family == 4 && i < pair_count; i++)
		if (memcmp(pairs[i].inside, inside->address, sizeof pairs[i].inside) == 0)
			return pairs[i].outside;
	return NULL;
}

bool nat_is_local(const struct endpoint *remote) {
	for (unsigned i = 0; i < local_count; i++)
		if ((word(remote->address) & local[i].mask) == local[i].network)
			return true;
	return false;
}

bool nat_inward(struct sockaddr_storage *copy, const struct sockaddr *given, socklen_t length,
                unsigned *next) {
	struct endpoint outside;
	if (pair_count == 0 || length > sizeof *copy || !endpoint_parse(&outside, given, length) ||
	    outside.family != 4)
		return false;
	while (*next < pair_count) {
		unsigned i = (*next)++;
		if (memcmp(pairs[i].outside, outside.address, sizeof pairs[i].outside) != 0)
			continue;
		memcpy(copy, given, length);
		nat_write(copy, copy->ss_family, length, pairs[i].inside);
		return true;
	}
	return false;
}

void nat_write(void *to, sa_family_t family, socklen_t room, const uint8_t *bytes) {
	size_t at = family == AF_INET ? offsetof(struct sockaddr_in, sin_addr)
	                              : offsetof(struct sockaddr_in6, sin6_addr) + 12;
	if (room > at)
		memcpy((uint8_t *)to + at, bytes, room - at < 4 ? room - at : 4);
}
