#include "ports.h"

#include <netinet/in.h>
#include <stddef.h>

#include "facts.h"
#include "options.h"

#define DOMAIN_PORT 53

static struct {
	uint8_t protocol; /* 0: not found yet */
	uint16_t port;
} found;

static bool named(uint8_t protocol, uint16_t port) {
	for (unsigned i = 0; i < options.control_count; i++)
		if (options.control[i].protocol == protocol && options.control[i].port == port)
			return true;
	return false;
}

bool ports_is_control(uint8_t protocol, uint16_t port) {
	if (options.control_count > 0)
		return named(protocol, port);
	return found.protocol == protocol && found.port == port;
}

void ports_claim_control(uint8_t protocol, uint16_t port) {
	if (options.control_count > 0 || found.protocol != 0)
		return;
	found.protocol = protocol;
	found.port = port;
}

struct search {
	enum peers result;
	struct peer *peer;
};

/* A connection that tells for whom ports are: to a control port, or, of a client, to a server. */
static bool is_control_connection(uint8_t protocol, const struct endpoint *local,
                                  const struct endpoint *remote) {
	if (ports_is_control(protocol, local->port))
		return true;
	if (options.control_count > 0)
		return named(protocol, remote->port);
	/* Connections to this host itself serve other purposes, and names are asked for everywhere. */
	return found.protocol == 0 && remote->port != DOMAIN_PORT && !endpoint_is_loopback(remote);
}

static bool look(int fd, void *context) {
	struct search *search = context;
	struct peer peer;
	uint8_t protocol;
	/* In this order, since most sockets are not connected; the one in hand is not either. */
	if (!endpoint_remote(&peer.remote, fd) || !endpoint_local(&peer.local, fd) ||
	    (protocol = facts_protocol(fd)) == 0 ||
	    !is_control_connection(protocol, &peer.local, &peer.remote))
		return true;
	if (search->result == PEERS_ONE && !endpoint_same_address(&search->peer->remote, &peer.remote)) {
		search->result = PEERS_SEVERAL;
		return false;
	}
	search->result = PEERS_ONE;
	*search->peer = peer;
	return true;
}

enum peers ports_peers(const struct target *target, struct peer *peer) {
	struct search search = {.result = PEERS_NONE, .peer = peer};
	target_each_socket(target, look, &search);
	return search.result;
}
