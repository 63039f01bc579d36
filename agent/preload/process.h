/*
 * Which process is this? fork, daemon, _Fork and a raw clone make a new one; a child of vfork or
 * of clone(CLONE_VM) runs in its parent's memory and must change nothing there. Hooks of fork see
 * only the first two, so the agent looks at a page that the kernel empties in every process that
 * has memory of its own (MADV_WIPEONFORK), and compares process ids.
 */
#ifndef DIAPER_PROCESS_H
#define DIAPER_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

enum process_state {
	PROCESS_SAME,   /* the process that made the current state */
	PROCESS_NEW,    /* this call found a new process, and made it the owner of the state */
	PROCESS_SHARED, /* another process's memory: look, do not touch */
};

#define PROCESS_CHANNELS 4

/* All zero in a new process. */
struct process_page {
	_Atomic int32_t pid;
	_Atomic uint32_t owns_trunk;
	_Atomic uint32_t reconnecting;
	struct {
		_Atomic uint32_t busy;
		_Atomic int32_t fd_plus_one; /* 0: not made yet */
	} channel[PROCESS_CHANNELS];
};

extern struct process_page *process_page;

/* In the constructor. False when there is no memory. */
bool process_start(void);

/* Who runs here; in a new process the caller then has to put away what was inherited. */
enum process_state process_check(void);

/* Whether a change of state would be made in another process's memory. */
bool process_is_shared(void);

#endif
