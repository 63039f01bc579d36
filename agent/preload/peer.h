/*
 * For whom is a pinhole? The peer is an attribute, not a descriptor: the control connection may be
 * closed, or live in another process, when the auxiliary port is bound. It is looked for where it is
 * known best: the one descriptor of this thread's round (round.h), then the connection that this
 * thread last accepted, made or read from, then the process. A forked process inherits all of it
 * with its memory. Everything here is async-signal-safe, lock-free, and without allocation.
 */
#ifndef DIAPER_PEER_H
#define DIAPER_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"

/* Names a peer, 0: none. */
typedef uint32_t peer_id;

struct peer {
	peer_id id; /* filled in by peer_load */
	struct endpoint remote; /* the external host; its port is that of the control connection */
	struct endpoint local;  /* this host's end of the control connection; family 0: not known */
	bool datagram;          /* known by a datagram: there is no connection that could end */
};

/* Remembers a peer. 0 when there is no room: thousands are alive. */
peer_id peer_make(const struct peer *peer);

/* False when it was forgotten. */
bool peer_load(peer_id id, struct peer *peer);

/* A descriptor begins and ends to stand for a peer. Peers with descriptors are alive, and are not
 * forgotten. */
void peer_hold(peer_id id);
void peer_release(peer_id id);

/* Whether connections of different hosts are alive: only then can a peer be mistaken. */
bool peer_multiplexed(void);

/* This thread deals with this peer from now on, and so does the process. */
void peer_turn_to(peer_id id);

/* This thread waits: what it reads next belongs to the next round. */
void peer_next_round(void);

/* This thread has read from a connection of this peer. */
void peer_read(peer_id id);

/* The peer that this thread deals with, to hand it on to a thread that it makes. */
peer_id peer_of_thread(void);

enum peer_answer {
	PEER_NONE,     /* nobody has come yet */
	PEER_KNOWN,
	PEER_DISPUTED, /* known; what the thread last read from in this round was another host's */
	PEER_UNCLEAR,  /* several hosts, and nothing tells which of them */
};

/* The peer for a port that this thread binds now. `other` is filled in when it is disputed. */
enum peer_answer peer_current(struct peer *peer, struct peer *other);

bool peer_known(void);

#endif
