#include "asked.h"

#include "sys.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

/* The last of them; who sends to more hosts in turn asks again. */
#define ENTRIES 64

static struct {
	_Atomic uint64_t cookie;
	_Atomic peer_id peer;
} entries[ENTRIES];

static _Atomic unsigned next;

uint64_t asked_cookie(int fd) {
	uint64_t cookie = 0;
	socklen_t length = sizeof cookie;
	if (sys6(SYS_getsockopt, fd, SOL_SOCKET, SO_COOKIE, sys_ptr(&cookie), sys_ptr(&length), 0) != 0)
		return 0;
	return cookie;
}

peer_id asked_before(uint64_t cookie, const struct endpoint *remote) {
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct peer peer;
		/* The peer is read between two looks at the cookie, so that they belong together. */
		if (__atomic_load_n(&entries[i].cookie, __ATOMIC_ACQUIRE) != cookie)
			continue;
		peer_id id = __atomic_load_n(&entries[i].peer, __ATOMIC_ACQUIRE);
		if (__atomic_load_n(&entries[i].cookie, __ATOMIC_ACQUIRE) == cookie &&
		    peer_load(id, &peer) && endpoint_same_address(&peer.remote, remote))
			return id;
	}
	return 0;
}

void asked_remember(uint64_t cookie, peer_id peer) {
	unsigned i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % ENTRIES;
	__atomic_store_n(&entries[i].cookie, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&entries[i].peer, peer, __ATOMIC_SEQ_CST);
	__atomic_store_n(&entries[i].cookie, cookie, __ATOMIC_SEQ_CST);
}
