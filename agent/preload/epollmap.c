#include "epollmap.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include "pinhole.h"
#include "process.h"
#include "sys.h"

#define LEAF_BITS 9
#define LEAF_SIZE (1u << LEAF_BITS)

struct word {
	_Atomic uint64_t data;
	_Atomic int set_plus_one;
	int unused;
};

static struct word *_Atomic leaves[FDTABLE_SIZE / LEAF_SIZE];

/* Descriptor + 1 by the hash of set and word, 0: free. */
#define BUCKETS (1u << 17)
#define PROBES 32u
static _Atomic int buckets[BUCKETS];

static struct word *find(int fd) {
	if (fd < 0 || fd >= FDTABLE_SIZE)
		return NULL;
	struct word *leaf = __atomic_load_n(&leaves[(unsigned)fd >> LEAF_BITS], __ATOMIC_ACQUIRE);
	return leaf == NULL ? NULL : &leaf[(unsigned)fd & (LEAF_SIZE - 1)];
}

static struct word *find_or_make(int fd) {
	struct word *word = find(fd);
	if (word != NULL || fd < 0 || fd >= FDTABLE_SIZE)
		return word;
	const size_t size = LEAF_SIZE * sizeof(struct word);
	long page = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	                 -1, 0);
	if (page < 0 && page >= -4095)
		return NULL;
	struct word *none = NULL;
	if (!__atomic_compare_exchange_n(&leaves[(unsigned)fd >> LEAF_BITS], &none, (struct word *)page,
	                                 false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		sys3(SYS_munmap, page, (long)size, 0);
	return find(fd);
}

/* Multiplication by 2^64 divided by the golden ratio spreads pointers and small numbers alike. */
static unsigned hash_of(int set, uint64_t data) {
	uint64_t mixed = (data + (uint64_t)(unsigned)set * 0x100000001b3u) * 0x9e3779b97f4a7c15u;
	return (unsigned)(mixed >> 40) % BUCKETS;
}

static bool is_word_of(int fd, int set, uint64_t data) {
	struct word *word = find(fd);
	return word != NULL && __atomic_load_n(&word->set_plus_one, __ATOMIC_ACQUIRE) == set + 1 &&
	       __atomic_load_n(&word->data, __ATOMIC_RELAXED) == data;
}

/* Whether a bucket's descriptor still has a word that belongs near this bucket. */
static bool is_current(unsigned bucket, int fd) {
	struct word *word = find(fd);
	int set = word == NULL ? -1 : __atomic_load_n(&word->set_plus_one, __ATOMIC_ACQUIRE) - 1;
	return set >= 0 &&
	       (bucket - hash_of(set, __atomic_load_n(&word->data, __ATOMIC_RELAXED))) % BUCKETS < PROBES;
}

void epollmap_set(int set, uint64_t data, int fd) {
	if (!pinhole_active || process_is_shared() || is_word_of(fd, set, data))
		return;
	struct word *word = find_or_make(fd);
	if (word == NULL)
		return;
	__atomic_store_n(&word->set_plus_one, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&word->data, data, __ATOMIC_RELAXED);
	__atomic_store_n(&word->set_plus_one, set + 1, __ATOMIC_RELEASE);
	unsigned start = hash_of(set, data);
	for (unsigned i = 0; i < PROBES; i++) {
		unsigned bucket = (start + i) % BUCKETS;
		int there = __atomic_load_n(&buckets[bucket], __ATOMIC_ACQUIRE);
		if (there == fd + 1)
			return;
		if (there != 0 && is_current(bucket, there - 1))
			continue;
		if (__atomic_compare_exchange_n(&buckets[bucket], &there, fd + 1, false, __ATOMIC_ACQ_REL,
		                                __ATOMIC_ACQUIRE))
			return;
	}
}

int epollmap_get(int set, uint64_t data) {
	unsigned start = hash_of(set, data);
	for (unsigned i = 0; i < PROBES; i++) {
		int there = __atomic_load_n(&buckets[(start + i) % BUCKETS], __ATOMIC_ACQUIRE);
		if (there != 0 && is_word_of(there - 1, set, data))
			return there - 1;
	}
	return -1;
}
