#include "fdtable.h"

#include <stddef.h>
#include <sys/mman.h>

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

void fdtable_set(int fd, struct fd_entry entry) {
	union packed packed = {.entry = entry};
	_Atomic uint64_t *slot = packed.word == 0 ? find(fd) : find_or_make(fd);
	if (slot != NULL)
		__atomic_store_n(slot, packed.word, __ATOMIC_RELEASE);
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
			__atomic_store_n(slot, 0, __ATOMIC_RELEASE);
		fd++;
	}
}
