#include "ownfd.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>

#include "fdtable.h"
#include "sys.h"

#define OWN_MAX 256

/* Process id (0: whole family) in the upper half, descriptor + 1 in the lower, 0: free. */
static _Atomic uint64_t own[OWN_MAX];

static uint64_t own_entry(int fd, enum ownfd_scope scope) {
	uint64_t pid = scope == OWNFD_FAMILY ? 0 : (uint64_t)sys3(SYS_getpid, 0, 0, 0);
	return pid << 32 | ((uint64_t)fd + 1);
}

static int own_fd(uint64_t entry) {
	return (int)(uint32_t)entry - 1;
}

bool ownfd_protect(int fd, enum ownfd_scope scope) {
	uint64_t entry = own_entry(fd, scope);
	for (unsigned i = 0; i < OWN_MAX; i++) {
		uint64_t none = 0;
		if (__atomic_compare_exchange_n(&own[i], &none, entry, false, __ATOMIC_ACQ_REL,
		                                __ATOMIC_RELAXED)) {
			fdtable_mark(fd, FD_OURS, 0);
			return true;
		}
	}
	return false;
}

/* Near the top of the first 1024 numbers: away from those that programs and shells choose, without
 * making the kernel's table larger than it commonly is. */
static int lowest_wanted(void) {
	struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
	sys3(SYS_getrlimit, RLIMIT_NOFILE, sys_ptr(&limit), 0);
	int top = limit.rlim_cur < 1024 ? (int)limit.rlim_cur : 1024;
	return top > 128 ? top - 64 : top / 2;
}

int ownfd_adopt(int fd, enum ownfd_scope scope) {
	long moved = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest_wanted());
	if (moved < 0)
		moved = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
	sys3(SYS_close, fd, 0, 0);
	if (moved < 0)
		return -1;
	if (!ownfd_protect((int)moved, scope)) {
		sys3(SYS_close, moved, 0, 0);
		return -1;
	}
	return (int)moved;
}

static void forget(unsigned slot, uint64_t entry) {
	if (__atomic_compare_exchange_n(&own[slot], &entry, 0, false, __ATOMIC_ACQ_REL,
	                                __ATOMIC_RELAXED)) {
		fdtable_forget(own_fd(entry));
		sys3(SYS_close, own_fd(entry), 0, 0);
	}
}

void ownfd_close(int fd) {
	for (unsigned i = 0; i < OWN_MAX; i++) {
		uint64_t entry = __atomic_load_n(&own[i], __ATOMIC_ACQUIRE);
		if (entry != 0 && own_fd(entry) == fd) {
			/* No further: the number may already be another thread's new channel. */
			forget(i, entry);
			return;
		}
	}
}

void ownfd_close_inherited(void) {
	uint64_t self = (uint64_t)sys3(SYS_getpid, 0, 0, 0);
	for (unsigned i = 0; i < OWN_MAX; i++) {
		uint64_t entry = __atomic_load_n(&own[i], __ATOMIC_ACQUIRE);
		if (entry != 0 && entry >> 32 != 0 && entry >> 32 != self)
			forget(i, entry);
	}
}

int ownfd_next(unsigned first) {
	int lowest = -1;
	for (unsigned i = 0; i < OWN_MAX; i++) {
		uint64_t entry = __atomic_load_n(&own[i], __ATOMIC_ACQUIRE);
		int fd = own_fd(entry);
		if (entry != 0 && (unsigned)fd >= first && (lowest < 0 || fd < lowest))
			lowest = fd;
	}
	return lowest;
}
