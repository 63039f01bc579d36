#include "pinhole.h"

#include <errno.h>
#include <netinet/in.h>

#include "ask.h"
#include "control.h"
#include "fdtable.h"
#include "ownfd.h"
#include "peer.h"
#include "pending.h"
#include "process.h"

bool pinhole_active;

bool pinhole_enter(void) {
	enum process_state state = process_check();
	if (state == PROCESS_NEW)
		ownfd_close_inherited();
	return state != PROCESS_SHARED;
}

void pinhole_mark(int fd, enum fd_kind kind, uint8_t protocol, peer_id peer) {
	fdtable_set(fd, (struct fd_entry){.kind = (uint8_t)kind,
	                                  .flags = protocol == IPPROTO_UDP ? FD_FLAG_UDP : 0,
	                                  .peer = peer});
}

/* An external port is known: control port, auxiliary port, or one that has to wait for a peer. */
static int external_port(int fd, uint8_t protocol, uint16_t port, bool chosen) {
	struct peer peer;
	struct peer other;
	struct ask ask = {.fd = fd, .protocol = protocol, .may_fail = true};
	if (control_is(protocol, port)) {
		pinhole_mark(fd, FD_CONTROL, protocol, 0);
		return 0;
	}
	switch (peer_current(&peer, &other)) {
	case PEER_DISPUTED:
		ask.other = &other;
		/* fall through */
	case PEER_KNOWN:
		ask.peer = &peer;
		return ask_pinhole(ask);
	case PEER_UNCLEAR:
		return ask_pinhole(ask);
	case PEER_NONE:
		break;
	}
	bool control = control_claim(protocol, port, chosen);
	pinhole_mark(fd, control ? FD_CONTROL : FD_PENDING, protocol, 0);
	/* What looks like a control port may still turn out to be a client's. */
	if (!control || !control_confirmed())
		pending_add(fd);
	return 0;
}

static void ask_now(int fd, const struct peer *peer, int except) {
	struct endpoint local;
	struct endpoint remote;
	uint8_t protocol = ask_protocol(fd);
	if (protocol == 0 || !endpoint_local(&local, fd))
		return;
	if (control_is(protocol, local.port)) {
		pinhole_mark(fd, FD_CONTROL, protocol, 0);
		/* A program in mixed mode: the host that it has called may call back. */
		if (control_confirmed() || control_is_listed())
			return;
	} else if (protocol == IPPROTO_TCP && (fd == except || endpoint_remote(&remote, fd))) {
		pinhole_mark(fd, FD_DONE, protocol, 0);
		return;
	}
	ask_pinhole((struct ask){.fd = fd, .protocol = protocol, .peer = peer});
}

peer_id pinhole_met(const struct peer *met, int except) {
	struct peer peer = *met;
	int fd;
	peer.id = peer_make(met);
	peer_turn_to(peer.id);
	while ((fd = pending_take()) >= 0)
		ask_now(fd, &peer, except);
	return peer.id;
}

int pinhole_bound(int fd, const struct sockaddr *address, socklen_t length) {
	struct endpoint asked;
	struct endpoint local;
	uint8_t protocol;
	if (!pinhole_active || !endpoint_parse(&asked, address, length) ||
	    endpoint_is_loopback(&asked) || !pinhole_enter())
		return 0;
	protocol = ask_protocol(fd);
	if (protocol == 0 || !endpoint_local(&local, fd))
		return 0;
	if (local.port == 0) { /* IP_BIND_ADDRESS_NO_PORT */
		pinhole_mark(fd, FD_NO_PORT, protocol, 0);
		return 0;
	}
	return external_port(fd, protocol, local.port, asked.port != 0);
}

int pinhole_listening(int fd) {
	struct endpoint local;
	if (!pinhole_active)
		return 0;
	enum fd_kind kind = fdtable_kind(fd);
	if (kind != FD_UNKNOWN && kind != FD_NO_PORT)
		return 0;
	if (!endpoint_local(&local, fd) || endpoint_is_loopback(&local) || local.port == 0 ||
	    ask_protocol(fd) != IPPROTO_TCP || !pinhole_enter())
		return 0;
	return external_port(fd, IPPROTO_TCP, local.port, false);
}
