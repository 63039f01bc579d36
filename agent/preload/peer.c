#include "peer.h"

#include <stdatomic.h>
#include <string.h>

#include "round.h"

/*
 * A ring of slots. Who remembers a peer takes the next one that no descriptor stands for, and
 * publishes it when it is written. An id is the turn in which its slot was taken; the slot's
 * version tells a reader that it was taken again since.
 */
#define SLOTS 16384

static struct slot {
	_Atomic uint32_t version;
	_Atomic uint32_t held; /* by so many descriptors */
	struct peer peer;
} slots[SLOTS];

static _Atomic uint32_t next;
static _Atomic uint32_t process_peer; /* an id */

/*
 * How many peers are alive, and whether they are of one host: all in one word, so that it is never
 * half right. MIXED stays until nobody is left, which may limit a program longer than needed, but
 * never too short.
 */
#define ALIVE_MASK 0x7fffffffu
#define MIXED 0x80000000u
#define HOST_SHIFT 32

static _Atomic uint64_t alive;

static _Thread_local struct peer thread_peer;
static _Thread_local volatile bool thread_peer_known;
static _Thread_local bool read_in_round;

static struct slot *slot_of(peer_id id) {
	return &slots[id % SLOTS];
}

/* FNV-1a over the address, so that hosts are compared in one word. */
static uint64_t host_of(const struct peer *peer) {
	uint32_t hash = 2166136261u ^ peer->remote.family;
	for (unsigned i = 0; i < sizeof peer->remote.address; i++)
		hash = (hash ^ peer->remote.address[i]) * 16777619u;
	return (uint64_t)hash << HOST_SHIFT;
}

peer_id peer_make(const struct peer *peer) {
	for (unsigned tries = 0; tries < SLOTS; tries++) {
		peer_id id = atomic_fetch_add(&next, 1) + 1;
		struct slot *slot = slot_of(id);
		if (id == 0 || atomic_load(&slot->held) != 0 ||
		    slot_of(atomic_load(&process_peer)) == slot)
			continue;
		atomic_store(&slot->version, 0);
		atomic_thread_fence(memory_order_seq_cst);
		slot->peer = *peer;
		slot->peer.id = id;
		atomic_thread_fence(memory_order_seq_cst);
		atomic_store(&slot->version, id);
		return id;
	}
	return 0;
}

bool peer_load(peer_id id, struct peer *peer) {
	struct slot *slot = slot_of(id);
	if (id == 0)
		return false;
	*peer = slot->peer;
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load(&slot->version) == id;
}

void peer_hold(peer_id id) {
	struct slot *slot = slot_of(id);
	if (id == 0 || atomic_fetch_add(&slot->held, 1) != 0)
		return;
	uint64_t host = host_of(&slot->peer);
	uint64_t old = atomic_load(&alive);
	uint64_t wanted;
	do {
		bool first = (old & ALIVE_MASK) == 0;
		bool other = !first && old >> HOST_SHIFT != host >> HOST_SHIFT;
		wanted = first ? (host | 1) : ((old + 1) | (other ? MIXED : 0));
	} while (!atomic_compare_exchange_weak(&alive, &old, wanted));
}

void peer_release(peer_id id) {
	if (id == 0 || atomic_fetch_sub(&slot_of(id)->held, 1) != 1)
		return;
	uint64_t old = atomic_load(&alive);
	uint64_t wanted;
	do
		wanted = (old & ALIVE_MASK) <= 1 ? 0 : old - 1;
	while (!atomic_compare_exchange_weak(&alive, &old, wanted));
}

bool peer_multiplexed(void) {
	uint64_t now = atomic_load_explicit(&alive, memory_order_relaxed);
	return (now & MIXED) != 0 && (now & ALIVE_MASK) > 1;
}

static void remember(const struct peer *peer) {
	/* A handler that runs in between falls back on the process's peer. */
	thread_peer_known = false;
	atomic_signal_fence(memory_order_seq_cst);
	thread_peer = *peer;
	atomic_signal_fence(memory_order_seq_cst);
	thread_peer_known = true;
}

void peer_turn_to(peer_id id) {
	struct peer peer;
	if (peer_load(id, &peer)) {
		remember(&peer);
		atomic_store(&process_peer, id);
	} else {
		/* Better nobody than somebody else. */
		thread_peer_known = false;
	}
}

void peer_next_round(void) {
	read_in_round = false;
}

void peer_read(peer_id id) {
	struct peer peer;
	read_in_round = true;
	if ((thread_peer.id != id || !thread_peer_known) && peer_load(id, &peer))
		remember(&peer);
}

peer_id peer_of_thread(void) {
	return thread_peer_known ? thread_peer.id : 0;
}

static bool is_alive(peer_id id) {
	struct slot *slot = slot_of(id);
	return id != 0 && atomic_load(&slot->version) == id && atomic_load(&slot->held) != 0;
}

/* The process's peer; when that one's connection has ended, one that is alive. */
static bool of_process(struct peer *peer) {
	peer_id id = atomic_load(&process_peer);
	if (!is_alive(id) && (atomic_load(&alive) & ALIVE_MASK) != 0)
		for (unsigned i = 0; i < SLOTS; i++)
			if (atomic_load(&slots[i].held) != 0 &&
			    peer_load(atomic_load(&slots[i].version), peer))
				return true;
	return peer_load(id, peer);
}

/*
 * A thread of a pool may have served a connection that has ended, and now do something for another
 * one, without reading from it. While others are alive, its old peer says nothing.
 */
static bool of_thread(struct peer *peer) {
	if (!thread_peer_known)
		return false;
	*peer = thread_peer;
	return peer->datagram || is_alive(thread_peer.id) || (atomic_load(&alive) & ALIVE_MASK) == 0;
}

enum peer_answer peer_current(struct peer *peer, struct peer *other) {
	bool thread_knows = of_thread(other);
	if (peer_load(round_peer(), peer))
		return thread_knows && read_in_round && !endpoint_same_address(&peer->remote, &other->remote)
		           ? PEER_DISPUTED
		           : PEER_KNOWN;
	if (thread_knows) {
		*peer = *other;
		return PEER_KNOWN;
	}
	if (peer_multiplexed())
		return PEER_UNCLEAR;
	return of_process(peer) ? PEER_KNOWN : PEER_NONE;
}

bool peer_known(void) {
	return thread_peer_known || atomic_load(&process_peer) != 0;
}
