#include "control.h"

#include <netinet/in.h>

#include "config.h"

#define CHOSEN (1u << 24)
#define CONFIRMED (1u << 25)
#define PORT_MASK 0xffffffu

#define DOMAIN_PORT 53

/* Flags, protocol and port of the first bound port; 0: none yet. */
static _Atomic uint32_t first;

static uint32_t word_of(uint8_t protocol, uint16_t port) {
	return (uint32_t)protocol << 16 | port;
}

static bool listed(uint8_t protocol, uint16_t port) {
	for (unsigned i = 0; i < config.control_count; i++)
		if (config.control[i].protocol == protocol && config.control[i].port == port)
			return true;
	return false;
}

static uint32_t load(void) {
	return __atomic_load_n(&first, __ATOMIC_ACQUIRE);
}

bool control_is(uint8_t protocol, uint16_t port) {
	if (config.control_count > 0)
		return listed(protocol, port);
	return port != 0 && (load() & PORT_MASK) == word_of(protocol, port);
}

bool control_claim(uint8_t protocol, uint16_t port, bool chosen) {
	uint32_t none = 0;
	if (config.control_count > 0)
		return false;
	return __atomic_compare_exchange_n(&first, &none, word_of(protocol, port) | (chosen ? CHOSEN : 0),
	                                   false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ||
	       control_is(protocol, port);
}

bool control_confirmed(void) {
	return (load() & CONFIRMED) != 0;
}

bool control_is_listed(void) {
	return config.control_count > 0;
}

void control_confirm(void) {
	/* With a list there is no first port: then this remembers only that the program is a server. */
	uint32_t now = load();
	if ((now & CONFIRMED) == 0)
		__atomic_fetch_or(&first, CONFIRMED, __ATOMIC_ACQ_REL);
}

static bool withdraw(uint32_t now) {
	return __atomic_compare_exchange_n(&first, &now, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

bool control_withdraw_unchosen(void) {
	uint32_t now = load();
	return now != 0 && (now & (CHOSEN | CONFIRMED)) == 0 && withdraw(now);
}

void control_withdraw(uint8_t protocol, uint16_t port) {
	uint32_t now = load();
	if ((now & CONFIRMED) == 0 && (now & PORT_MASK) == word_of(protocol, port))
		withdraw(now);
}

bool control_reaches(uint8_t protocol, uint16_t remote_port) {
	if (config.control_count > 0)
		return listed(protocol, remote_port);
	return protocol == IPPROTO_TCP || remote_port != DOMAIN_PORT;
}
