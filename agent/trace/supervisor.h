/* The process that answers for the traced ones. */
#ifndef DIAPER_TRACE_SUPERVISOR_H
#define DIAPER_TRACE_SUPERVISOR_H

#include <sys/types.h>

/* What the supervisor tells the program's process, one byte each. */
enum supervisor_word {
	SUPERVISOR_READY = 'r',     /* the broker accepts us: install the filter */
	SUPERVISOR_NO_BROKER = 'n', /* go on without */
	SUPERVISOR_WATCHING = 'w',  /* execute the program */
	SUPERVISOR_BLIND = 'b',     /* this process may not be looked at */
	SUPERVISOR_BROKEN = 'x',    /* something else is not possible here */
};

/*
 * Serves until the last traced process is gone. Does not return.
 *
 * link: to the program's process, which sends the descriptor of the notices over it.
 * program: that process, and its end of the link there.
 */
_Noreturn void supervisor_run(int link, pid_t program, int program_link);

#endif
