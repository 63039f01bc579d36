/* Notices of the kernel that a traced thread is in a call that waits for us (seccomp_unotify(2)). */
#ifndef DIAPER_TRACE_NOTICE_H
#define DIAPER_TRACE_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

struct seccomp_notif;

/* Takes over the descriptor that the notices come by. False when the kernel lacks what is needed. */
bool notice_start(int listener);

/* The next notice, or NULL when the call it was about is gone. Valid until the next one is taken. */
const struct seccomp_notif *notice_take(void);

/* Whether the call still waits. What was read by process or thread number before was its own then. */
bool notice_is_valid(uint64_t id);

/* The call's result: 0 or an error number. A thread that was killed meanwhile needs none. */
void notice_answer(uint64_t id, int error);

/* The kernel carries out the call as if nobody had looked. */
void notice_continue(uint64_t id);

/* Puts a descriptor of ours in the place of one of the calling thread. */
bool notice_replace(uint64_t id, int ours, int theirs, bool close_on_exec);

#endif
