#include "pinhole.h"

#include <errno.h>
#include <linux/time_types.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "channel.h"
#include "control.h"
#include "fdtable.h"
#include "ownfd.h"
#include "peer.h"
#include "pending.h"
#include "process.h"
#include "refuse.h"
#include "sys.h"
#include "trunk.h"

#define INHERITED_SCAN 64

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

bool pinhole_active;

static int socket_option(int fd, int name) {
	int value = 0;
	socklen_t length = sizeof value;
	if (sys6(SYS_getsockopt, fd, SOL_SOCKET, name, sys_ptr(&value), sys_ptr(&length), 0) != 0)
		return 0;
	return value;
}

/* IPPROTO_TCP, IPPROTO_UDP, or 0 for what no pinhole is made for. */
static uint8_t protocol_of(int fd) {
	int protocol = socket_option(fd, SO_PROTOCOL);
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
		return IPPROTO_TCP;
	return protocol == IPPROTO_UDP ? IPPROTO_UDP : 0;
}

/* False in a child of vfork, where nothing may be changed. */
static bool enter(void) {
	enum process_state state = process_check();
	if (state == PROCESS_NEW)
		ownfd_close_inherited();
	return state != PROCESS_SHARED;
}

static void mark(int fd, enum fd_kind kind, uint8_t protocol) {
	fdtable_mark(fd, kind, protocol == IPPROTO_UDP ? FD_FLAG_UDP : 0);
}

static uint64_t now(void) {
	struct __kernel_timespec time = {0};
	sys3(SYS_clock_gettime, CLOCK_REALTIME, sys_ptr(&time), 0);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/*
 * The end of a pinhole needs nothing here: the broker learns from the kernel when the socket is
 * released for good, whatever way that happens (close, exit, a signal, the last of several
 * processes). A hint at close could be wrong, as a raw clone shares a descriptor unseen.
 */
static int ask(int fd, uint8_t protocol, const struct peer *peer, bool may_fail) {
	struct wire_verdict_message verdict;
	struct wire_open message;
	struct fd_entry entry = fdtable_get(fd);
	entry.kind = FD_DONE;
	if (protocol == IPPROTO_UDP)
		entry.flags |= FD_FLAG_UDP;
	if (endpoint_is_loopback(&peer->remote)) {
		fdtable_set(fd, entry);
		return 0;
	}
	memset(&message, 0, sizeof message);
	message.source_family = peer->remote.family;
	memcpy(message.source, peer->remote.address, sizeof message.source);
	message.control_family = peer->local.family;
	memcpy(message.control, peer->local.address, sizeof message.control);
	message.control_port = peer->local.port;
	message.bound_at = now();
	if (channel_ask(&message, fd, &verdict)) {
		entry.pinhole = verdict.pinhole;
		if (verdict.verdict != WIRE_VERDICT_OPEN && (verdict.flags & WIRE_FLAG_MUST_FAIL) != 0 &&
		    may_fail) {
			refuse_binding(fd);
			fdtable_mark(fd, FD_UNKNOWN, 0);
			return EACCES;
		}
	}
	fdtable_set(fd, entry);
	return 0;
}

/* An external port is known: control port, auxiliary port, or one that has to wait for a peer. */
static int external_port(int fd, uint8_t protocol, uint16_t port, bool chosen) {
	struct peer peer;
	if (control_is(protocol, port)) {
		mark(fd, FD_CONTROL, protocol);
		return 0;
	}
	if (peer_get(&peer))
		return ask(fd, protocol, &peer, true);
	bool control = control_claim(protocol, port, chosen);
	mark(fd, control ? FD_CONTROL : FD_PENDING, protocol);
	/* A control port that was not chosen may still turn out to be a client's. */
	if (!control || !chosen)
		pending_add(fd);
	return 0;
}

/* A peer became known: asks for what was bound before. `except` connects itself. */
static void peer_became(const struct peer *peer, int except) {
	int fd;
	peer_set(peer);
	while ((fd = pending_take()) >= 0) {
		struct endpoint local;
		struct endpoint remote;
		uint8_t protocol = protocol_of(fd);
		if (protocol == 0 || !endpoint_local(&local, fd))
			continue;
		if (control_is(protocol, local.port))
			mark(fd, FD_CONTROL, protocol);
		else if (protocol == IPPROTO_TCP && (fd == except || endpoint_remote(&remote, fd)))
			mark(fd, FD_DONE, protocol);
		else
			ask(fd, protocol, peer, false);
	}
}

int pinhole_bound(int fd, const struct sockaddr *address, socklen_t length) {
	struct endpoint asked;
	struct endpoint local;
	uint8_t protocol;
	if (!pinhole_active || !endpoint_parse(&asked, address, length) ||
	    endpoint_is_loopback(&asked) || !enter())
		return 0;
	protocol = protocol_of(fd);
	if (protocol == 0 || !endpoint_local(&local, fd))
		return 0;
	if (local.port == 0) { /* IP_BIND_ADDRESS_NO_PORT */
		mark(fd, FD_NO_PORT, protocol);
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
	    protocol_of(fd) != IPPROTO_TCP || !enter())
		return 0;
	return external_port(fd, IPPROTO_TCP, local.port, false);
}

/* Whether a listener is a control port, when it was not bound in sight of the agent. */
static bool learn_listener(int listener, uint16_t port) {
	bool control =
	    control_is(IPPROTO_TCP, port) || (!peer_known() && control_claim(IPPROTO_TCP, port, true));
	mark(listener, control ? FD_CONTROL : FD_DONE, IPPROTO_TCP);
	return control;
}

void pinhole_accepted(int listener, int fd) {
	struct peer peer;
	if (!pinhole_active)
		return;
	enum fd_kind stale = fdtable_kind(fd);
	if (stale != FD_UNKNOWN && !process_is_shared())
		fdtable_mark(fd, FD_UNKNOWN, 0);
	enum fd_kind kind = fdtable_kind(listener);
	if (kind == FD_DONE || !endpoint_local(&peer.local, fd) || !enter())
		return;
	if (kind != FD_CONTROL &&
	    (endpoint_is_loopback(&peer.local) || !learn_listener(listener, peer.local.port)))
		return;
	control_confirm();
	/* Fails when the other end is gone already: then it needs no pinhole either. */
	if (!endpoint_remote(&peer.remote, fd))
		return;
	trunk_refresh();
	peer_became(&peer, -1);
}

/* The program reaches out to a peer by this socket: a client. */
static void reach_out(int fd, uint8_t protocol, const struct endpoint *remote) {
	struct peer peer = {.remote = *remote};
	if (!control_reaches(protocol, remote->port) || !endpoint_local(&peer.local, fd))
		return;
	if (fdtable_kind(fd) == FD_CONTROL)
		control_withdraw(protocol, peer.local.port);
	control_withdraw_unchosen();
	if (control_known())
		return;
	if (endpoint_is_wildcard(&peer.local))
		peer.local.family = 0;
	peer_became(&peer, fd);
}

void pinhole_connected(int fd, const struct sockaddr *address, socklen_t length) {
	struct endpoint remote;
	if (!pinhole_active || !endpoint_parse(&remote, address, length) ||
	    endpoint_is_loopback(&remote) || !enter())
		return;
	uint8_t protocol = protocol_of(fd);
	if (protocol != 0)
		reach_out(fd, protocol, &remote);
}

void pinhole_received(int fd, const struct sockaddr *address, socklen_t length) {
	struct peer peer;
	struct peer current;
	struct fd_entry entry = fdtable_get(fd);
	if (!pinhole_active || entry.kind != FD_CONTROL || (entry.flags & FD_FLAG_UDP) == 0 ||
	    !endpoint_parse(&peer.remote, address, length))
		return;
	if (peer_get(&current) && current.remote.port == peer.remote.port &&
	    endpoint_same_address(&current.remote, &peer.remote))
		return;
	if (!enter() || !endpoint_local(&peer.local, fd))
		return;
	if (endpoint_is_wildcard(&peer.local))
		peer.local.family = 0;
	control_confirm();
	trunk_refresh();
	peer_became(&peer, -1);
}

void pinhole_sending(int fd, const struct sockaddr *address, socklen_t length) {
	struct endpoint remote;
	struct fd_entry entry = fdtable_get(fd);
	if (!pinhole_active || (entry.flags & FD_FLAG_SENT) != 0 ||
	    !endpoint_parse(&remote, address, length) || endpoint_is_loopback(&remote) || !enter())
		return;
	uint8_t protocol = protocol_of(fd);
	if (protocol == IPPROTO_UDP)
		reach_out(fd, protocol, &remote);
	entry = fdtable_get(fd);
	if (entry.kind == FD_UNKNOWN)
		entry.kind = FD_DONE;
	entry.flags |= FD_FLAG_SENT;
	fdtable_set(fd, entry);
}

void pinhole_scan_inherited(void) {
	struct peer peer;
	uint8_t protocol;
	for (int fd = 0; fd < INHERITED_SCAN; fd++) {
		if (!endpoint_local(&peer.local, fd) || endpoint_is_loopback(&peer.local) ||
		    !endpoint_remote(&peer.remote, fd) || (protocol = protocol_of(fd)) == 0)
			continue;
		if (control_is(protocol, peer.local.port) || control_reaches(protocol, peer.remote.port)) {
			control_confirm();
			peer_set(&peer);
			return;
		}
	}
	/* No connection: a listener that a service manager has bound. */
	for (int fd = 0; fd < INHERITED_SCAN; fd++) {
		if (!endpoint_local(&peer.local, fd) || endpoint_is_loopback(&peer.local) ||
		    peer.local.port == 0 || (protocol = protocol_of(fd)) == 0 ||
		    (protocol == IPPROTO_TCP && socket_option(fd, SO_ACCEPTCONN) == 0))
			continue;
		if (control_is(protocol, peer.local.port) ||
		    control_claim(protocol, peer.local.port, true))
			mark(fd, FD_CONTROL, protocol);
	}
}
