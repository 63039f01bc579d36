#include "fdtable.h"

#include <stddef.h>
#include <sys/mman.h>

#include "peer.h"
#include "sys.h"

#define LEAF_BITS 10
#define LEAF_SIZE (1u << LEAF_BITS)

struct leaf {
	_Atomic uint64_t entry[LEAF_SIZE];
};

static struct leaf *_Atomic leaves[FDTABLE_SIZE / LEAF_SIZE];

_Static_assert(sizeof(struct fd_entry) == sizeof(uint64_t), "an entry is one atomic word");

union packed {
	struct fd_entry entry;
	uint64_t word;
};

static _Atomic uint64_t *find(int fd) {
	if (fd < 0 || fd >= FDTABLE_SIZE)
		return NULL;
	struct leaf *leaf =
	    __atomic_load_n(&leaves[(unsigned)fd >> LEAF_BITS], __ATOMIC_ACQUIRE);
	return leaf == NULL ? NULL : &leaf->entry[(unsigned)fd & (LEAF_SIZE - 1)];
}

static _Atomic uint64_t *find_or_make(int fd) {
	_Atomic uint64_t *slot = find(fd);
	if (slot != NULL || fd < 0 || fd >= FDTABLE_SIZE)
		return slot;
	long page = sys6(SYS_mmap, 0, sizeof(struct leaf), PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page < 0 && page >= -4095)
		return NULL;
	struct leaf *none = NULL;
	if (!__atomic_compare_exchange_n(&leaves[(unsigned)fd >> LEAF_BITS], &none,
	                                 (struct leaf *)page, false, __ATOMIC_ACQ_REL,
	                                 __ATOMIC_ACQUIRE))
		sys3(SYS_munmap, page, sizeof(struct leaf), 0);
	return find(fd);
}

struct fd_entry fdtable_get(int fd) {
	union packed packed = {.word = 0};
	_Atomic uint64_t *slot = find(fd);
	if (slot != NULL)
		packed.word = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	return packed.entry;
}

/* The new peer is held before the old one is released: they may be the same. */
static void replace(_Atomic uint64_t *slot, union packed packed) {
	peer_hold(packed.entry.peer);
	packed.word = __atomic_exchange_n(slot, packed.word, __ATOMIC_ACQ_REL);
	peer_release(packed.entry.peer);
}

void fdtable_set(int fd, struct fd_entry entry) {
	union packed packed = {.entry = entry};
	_Atomic uint64_t *slot = packed.word == 0 ? find(fd) : find_or_make(fd);
	if (slot != NULL)
		replace(slot, packed);
}

void fdtable_forget_range(unsigned first, unsigned last) {
	if (last >= FDTABLE_SIZE)
		last = FDTABLE_SIZE - 1;
	for (unsigned fd = first; fd <= last;) {
		_Atomic uint64_t *slot = find((int)fd);
		if (slot == NULL) {
			fd = (fd | (LEAF_SIZE - 1)) + 1;
			continue;
		}
		if (__atomic_load_n(slot, __ATOMIC_RELAXED) != 0)
			replace(slot, (union packed){.word = 0});
		fd++;
	}
}
