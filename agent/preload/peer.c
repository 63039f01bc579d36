#include "peer.h"

#include <stdatomic.h>
#include <string.h>

/*
 * The process's peer: writers take the next slot of a ring, and publish it when it is written. A
 * slot's version tells a reader that it was reused below it (after as many accepts as slots).
 */
#define RING 64

static struct {
	_Atomic uint32_t version;
	struct peer peer;
} ring[RING];

static _Atomic uint32_t next;
static _Atomic uint32_t published; /* 0: no peer */

static _Thread_local struct peer thread_peer;
static _Thread_local volatile bool thread_peer_known;

void peer_set(const struct peer *peer) {
	/* A handler that runs in between falls back on the process's peer. */
	thread_peer_known = false;
	atomic_signal_fence(memory_order_seq_cst);
	thread_peer = *peer;
	atomic_signal_fence(memory_order_seq_cst);
	thread_peer_known = true;

	uint32_t turn = atomic_fetch_add(&next, 1) + 1;
	if (turn == 0)
		turn = atomic_fetch_add(&next, 1) + 1;
	uint32_t slot = turn % RING;
	atomic_store(&ring[slot].version, 0);
	atomic_thread_fence(memory_order_seq_cst);
	ring[slot].peer = *peer;
	atomic_thread_fence(memory_order_seq_cst);
	atomic_store(&ring[slot].version, turn);
	atomic_store(&published, turn);
}

bool peer_get(struct peer *peer) {
	if (thread_peer_known) {
		*peer = thread_peer;
		return true;
	}
	/* Bounded: in a child that was forked in the middle of a write nobody finishes it. */
	for (unsigned tries = 0; tries < 1000; tries++) {
		uint32_t turn = atomic_load(&published);
		if (turn == 0)
			return false;
		uint32_t slot = turn % RING;
		*peer = ring[slot].peer;
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(&ring[slot].version) == turn)
			return true;
	}
	return false;
}

bool peer_known(void) {
	return thread_peer_known || atomic_load(&published) != 0;
}
