/*
 * bind and listen in the place of a traced thread: the supervisor makes the call on a duplicate of
 * the thread's own socket, with its own copy of the address, so that nothing that the program
 * changes meanwhile has a say in what becomes of it.
 */
#ifndef DIAPER_TRACE_CALL_H
#define DIAPER_TRACE_CALL_H

struct seccomp_notif;

/* Before the first call. */
void call_start(void);

void call_handle(const struct seccomp_notif *notice);

#endif
