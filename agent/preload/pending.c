#include "pending.h"

#include <stdint.h>

#include "asked.h"

#define PENDING_MAX 64
#define WRITING (-1)

static struct {
	_Atomic int state; /* 0: free, WRITING, or descriptor + 1 */
	uint64_t cookie;
} list[PENDING_MAX];

static _Atomic unsigned used;

static bool change(unsigned i, int from, int to) {
	return __atomic_compare_exchange_n(&list[i].state, &from, to, false, __ATOMIC_ACQ_REL,
	                                   __ATOMIC_ACQUIRE);
}

bool pending_add(int fd) {
	uint64_t cookie = asked_cookie(fd);
	for (unsigned i = 0; cookie != 0 && i < PENDING_MAX; i++) {
		if (!change(i, 0, WRITING))
			continue;
		list[i].cookie = cookie;
		__atomic_add_fetch(&used, 1, __ATOMIC_ACQ_REL);
		__atomic_store_n(&list[i].state, fd + 1, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

/* The cookie of an entry that is taken off the list, 0 when another thread was faster. */
static uint64_t take(unsigned i, int state) {
	uint64_t cookie = list[i].cookie;
	if (!change(i, state, 0))
		return 0;
	__atomic_sub_fetch(&used, 1, __ATOMIC_ACQ_REL);
	return cookie;
}

int pending_take(void) {
	if (__atomic_load_n(&used, __ATOMIC_ACQUIRE) == 0)
		return -1;
	for (unsigned i = 0; i < PENDING_MAX; i++) {
		int state = __atomic_load_n(&list[i].state, __ATOMIC_ACQUIRE);
		if (state <= 0)
			continue;
		uint64_t cookie = take(i, state);
		if (cookie == 0 || asked_cookie(state - 1) != cookie)
			continue;
		for (unsigned j = i + 1; j < PENDING_MAX; j++) {
			int other = __atomic_load_n(&list[j].state, __ATOMIC_ACQUIRE);
			if (other > 0 && list[j].cookie == cookie)
				take(j, other);
		}
		return state - 1;
	}
	return -1;
}
