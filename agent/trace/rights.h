/*
 * The supervisor's rights. It looks into the traced processes and binds their sockets, so that it
 * could lend them what they do not have; it holds two capabilities at the most, and uses the one
 * for privileged ports only where the calling thread has it too.
 */
#ifndef DIAPER_TRACE_RIGHTS_H
#define DIAPER_TRACE_RIGHTS_H

#include <stdbool.h>
#include <sys/types.h>

/* Gives up all capabilities but those two. False with errno. */
bool rights_reduce(void);

/* Takes the right to bind privileged ports, if the supervisor had it in the beginning. */
bool rights_lend_ports(void);

void rights_return_ports(void);

/* Whether a thread may bind privileged ports itself, in the supervisor's own user namespace. */
bool rights_thread_has_ports(pid_t thread);

#endif
