#include "meet.h"

#include <netinet/in.h>

#include "ask.h"
#include "asked.h"
#include "autobind.h"
#include "control.h"
#include "pinhole.h"
#include "process.h"
#include "sys.h"
#include "trunk.h"

#define INHERITED_SCAN 64

static void forget_stale(int fd) {
	/* The number's former use may have ended where no hook saw it (inside libc). */
	if (fdtable_kind(fd) != FD_UNKNOWN && !process_is_shared())
		fdtable_forget(fd);
}

/* Whether a listener is a control port, when it was not bound in sight of the agent. */
static bool learn_listener(int listener, uint16_t port) {
	bool control =
	    control_is(IPPROTO_TCP, port) || (!peer_known() && control_claim(IPPROTO_TCP, port, true));
	pinhole_mark(listener, control ? FD_CONTROL : FD_DONE, IPPROTO_TCP, 0);
	return control;
}

/* A connection to an auxiliary port belongs to whom the port was opened for. */
static void inherit(int listener, int fd) {
	peer_id peer = fdtable_get(listener).peer;
	if (peer == 0 || process_is_shared())
		return;
	pinhole_mark(fd, FD_DONE, IPPROTO_TCP, peer);
	peer_read(peer);
}

void meet_accepted(int listener, int fd) {
	struct peer peer = {.datagram = false};
	if (!pinhole_active)
		return;
	forget_stale(fd);
	enum fd_kind kind = fdtable_kind(listener);
	if (kind == FD_DONE)
		return inherit(listener, fd);
	if (!endpoint_local(&peer.local, fd) || !pinhole_enter())
		return;
	if (kind != FD_CONTROL &&
	    (endpoint_is_loopback(&peer.local) || !learn_listener(listener, peer.local.port)))
		return;
	control_confirm();
	/* Fails when the other end is gone already: then it needs no pinhole either. */
	if (!endpoint_remote(&peer.remote, fd))
		return;
	trunk_refresh();
	pinhole_mark(fd, FD_SESSION, IPPROTO_TCP, pinhole_met(&peer, -1));
}

/* The host's own address towards the other one, when the socket itself does not say. */
static void complete(struct peer *peer) {
	if (endpoint_is_wildcard(&peer->local) && !endpoint_route(&peer->local, &peer->remote))
		peer->local.family = 0;
}

/* Whether this connection of a server is to somebody that it serves already. */
static bool is_served(const struct endpoint *remote, struct peer *peer) {
	struct peer other;
	enum peer_answer answer = peer_current(peer, &other);
	return (answer == PEER_KNOWN || answer == PEER_DISPUTED) &&
	       endpoint_same_address(remote, &peer->remote);
}

/* The program reaches out by this socket: the peer of a client. 0 when it is none. */
static peer_id reach_out(int fd, uint8_t protocol, const struct endpoint *remote) {
	struct peer peer = {.remote = *remote, .datagram = protocol == IPPROTO_UDP};
	if (!control_reaches(protocol, remote->port) || !endpoint_local(&peer.local, fd))
		return 0;
	control_withdraw_unchosen();
	if (control_confirmed() && !control_is_listed())
		return is_served(remote, &peer) ? peer.id : 0;
	complete(&peer);
	return pinhole_met(&peer, fd);
}

void meet_connected(int fd, const struct sockaddr *address, socklen_t length) {
	struct endpoint remote;
	struct peer peer;
	if (!pinhole_active || !endpoint_parse(&remote, address, length) ||
	    endpoint_is_loopback(&remote) || !pinhole_enter())
		return;
	uint8_t protocol = ask_protocol(fd);
	if (protocol == 0)
		return;
	enum fd_kind kind = fdtable_kind(fd);
	if (kind == FD_CONTROL && endpoint_local(&peer.local, fd))
		control_withdraw(protocol, peer.local.port);
	peer_id id = reach_out(fd, protocol, &remote);
	if (id == 0)
		return;
	if (protocol == IPPROTO_TCP) {
		pinhole_mark(fd, FD_SESSION, protocol, id);
	} else if ((kind == FD_UNKNOWN || kind == FD_NO_PORT) && peer_load(id, &peer)) {
		/* The kernel has chosen a port for it. */
		peer.remote.port = remote.port;
		ask_pinhole((struct ask){.fd = fd, .protocol = protocol, .peer = &peer, .exact_port = true});
	}
}

bool meet_wants_sender(int fd) {
	struct fd_entry entry = fdtable_get(fd);
	return pinhole_active && entry.kind == FD_CONTROL && (entry.flags & FD_FLAG_UDP) != 0;
}

void meet_received(int fd, const struct sockaddr *address, socklen_t length) {
	struct peer peer = {.datagram = true};
	struct peer last;
	struct fd_entry entry = fdtable_get(fd);
	if (!meet_wants_sender(fd) || !endpoint_parse(&peer.remote, address, length))
		return;
	if (peer_load(entry.peer, &last) && last.remote.port == peer.remote.port &&
	    endpoint_same_address(&last.remote, &peer.remote)) {
		peer_turn_to(entry.peer);
		return;
	}
	if (!pinhole_enter() || !endpoint_local(&peer.local, fd))
		return;
	complete(&peer);
	control_confirm();
	trunk_refresh();
	entry.peer = pinhole_met(&peer, -1);
	fdtable_set(fd, entry);
}

static void sends_no_more(int fd) {
	struct fd_entry entry = fdtable_get(fd);
	if (entry.kind == FD_UNKNOWN)
		entry.kind = FD_DONE;
	entry.flags |= FD_FLAG_SENT;
	fdtable_set(fd, entry);
}

/* A client sends to a host again that its socket is open for. */
static bool turn_back(int fd, struct fd_entry entry, const struct endpoint *remote) {
	peer_id peer = asked_before(asked_cookie(fd), remote);
	if (peer == 0)
		return false;
	entry.peer = peer;
	fdtable_set(fd, entry);
	peer_turn_to(peer);
	return true;
}

void meet_sending(int fd, const struct sockaddr *address, socklen_t length) {
	struct endpoint remote;
	struct peer peer;
	struct fd_entry before = fdtable_get(fd);
	if (!pinhole_active || (before.flags & FD_FLAG_SENT) != 0 ||
	    !endpoint_parse(&remote, address, length) || endpoint_is_loopback(&remote))
		return;
	/* Most datagrams end here: they go where the one before went. */
	if (peer_load(before.peer, &peer) && endpoint_same_address(&peer.remote, &remote))
		return;
	if (!pinhole_enter())
		return;
	if (ask_protocol(fd) != IPPROTO_UDP)
		return sends_no_more(fd);
	/* What was bound as auxiliary port is open for its peer. */
	bool client = before.kind != FD_DONE || (before.flags & FD_FLAG_CLIENT) != 0;
	if ((before.flags & FD_FLAG_CLIENT) != 0 && turn_back(fd, before, &remote))
		return;
	if (client && control_reaches(IPPROTO_UDP, remote.port))
		/* Now, as the answer may be faster than the pinhole. */
		autobind(fd);
	peer_id id = client ? reach_out(fd, IPPROTO_UDP, &remote) : 0;
	struct fd_entry after = fdtable_get(fd);
	if (id == 0 || !peer_load(id, &peer) || after.kind == FD_CONTROL)
		return sends_no_more(fd);
	if (after.peer != id)
		ask_pinhole((struct ask){.fd = fd, .protocol = IPPROTO_UDP, .peer = &peer});
	after = fdtable_get(fd);
	after.flags |= FD_FLAG_CLIENT;
	fdtable_set(fd, after);
	asked_remember(asked_cookie(fd), id);
}

/* A connection that somebody else has accepted or made. */
static bool take_over(int fd, uint8_t protocol, struct peer *peer) {
	if (!endpoint_remote(&peer->remote, fd) || endpoint_is_loopback(&peer->local))
		return false;
	peer->datagram = protocol == IPPROTO_UDP;
	return true;
}

void meet_passed(int fd) {
	struct peer peer;
	uint8_t protocol;
	if (!pinhole_active)
		return;
	forget_stale(fd);
	if (!endpoint_local(&peer.local, fd) || (protocol = ask_protocol(fd)) == 0 || !pinhole_enter())
		return;
	bool connected = take_over(fd, protocol, &peer);
	bool control = control_is(protocol, peer.local.port) ||
	               (connected && protocol == IPPROTO_TCP && !peer_known() &&
	                control_claim(protocol, peer.local.port, true));
	if (!connected) {
		/* Whoever has bound an auxiliary port has asked for it. A listener is learned at accept. */
		if (control || protocol == IPPROTO_UDP)
			pinhole_mark(fd, control ? FD_CONTROL : FD_DONE, protocol, 0);
	} else if (control) {
		control_confirm();
		pinhole_mark(fd, FD_SESSION, protocol, pinhole_met(&peer, -1));
	} else {
		pinhole_mark(fd, FD_DONE, protocol, peer_make(&peer));
	}
}

void meet_inherited(void) {
	struct peer peer;
	uint8_t protocol;
	bool met = false;
	for (int fd = 0; fd < INHERITED_SCAN; fd++) {
		if (!endpoint_local(&peer.local, fd) || (protocol = ask_protocol(fd)) == 0 ||
		    !take_over(fd, protocol, &peer) ||
		    !(control_is(protocol, peer.local.port) || control_reaches(protocol, peer.remote.port)))
			continue;
		peer_id id = peer_make(&peer);
		pinhole_mark(fd, FD_SESSION, protocol, id);
		control_confirm();
		if (!met)
			peer_turn_to(id);
		met = true;
	}
	/* No connection: a listener that a service manager has bound. */
	for (int fd = 0; !met && fd < INHERITED_SCAN; fd++) {
		if (!endpoint_local(&peer.local, fd) || endpoint_is_loopback(&peer.local) ||
		    peer.local.port == 0 || (protocol = ask_protocol(fd)) == 0 ||
		    (protocol == IPPROTO_TCP && !endpoint_listens(fd)))
			continue;
		if (control_is(protocol, peer.local.port) ||
		    control_claim(protocol, peer.local.port, true))
			pinhole_mark(fd, FD_CONTROL, protocol, 0);
	}
}
