#include "process.h"

#include <stddef.h>
#include <sys/mman.h>

#include "sys.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

struct process_page *process_page;

/* Without MADV_WIPEONFORK (Linux before 4.14) another process id is taken as a new process. */
static bool can_wipe;

static int32_t own_pid(void) {
	return (int32_t)sys3(SYS_getpid, 0, 0, 0);
}

bool process_start(void) {
	long page = sys6(SYS_mmap, 0, sizeof *process_page, PROT_READ | PROT_WRITE,
	                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page < 0 && page >= -4095)
		return false;
	can_wipe = sys3(SYS_madvise, page, sizeof *process_page, MADV_WIPEONFORK) == 0;
	process_page = (struct process_page *)page;
	__atomic_store_n(&process_page->pid, own_pid(), __ATOMIC_RELEASE);
	return true;
}

static void empty_page(void) {
	for (unsigned i = 0; i < PROCESS_CHANNELS; i++) {
		__atomic_store_n(&process_page->channel[i].busy, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&process_page->channel[i].fd_plus_one, 0, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&process_page->owns_trunk, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&process_page->reconnecting, 0, __ATOMIC_RELAXED);
}

enum process_state process_check(void) {
	int32_t pid = own_pid();
	int32_t owner = __atomic_load_n(&process_page->pid, __ATOMIC_ACQUIRE);
	if (owner == pid)
		return PROCESS_SAME;
	if (owner != 0) {
		if (can_wipe)
			return PROCESS_SHARED;
		empty_page();
	}
	/* Threads of a new process may come here together: one of them gets to clean up. */
	if (__atomic_compare_exchange_n(&process_page->pid, &owner, pid, false, __ATOMIC_ACQ_REL,
	                                __ATOMIC_ACQUIRE))
		return PROCESS_NEW;
	return PROCESS_SAME;
}

bool process_is_shared(void) {
	int32_t owner = __atomic_load_n(&process_page->pid, __ATOMIC_ACQUIRE);
	return owner != 0 && can_wipe && owner != own_pid();
}
