/* The thread whose system call is held, and what is looked at in it. */
#ifndef DIAPER_TRACE_TARGET_H
#define DIAPER_TRACE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct target {
	pid_t thread;
	int pidfd;
};

/*
 * A descriptor of the thread (of its process before Linux 6.9). -1 when it is gone. What is looked
 * at by it is known to be of the right thread only after the notification was found valid again.
 */
bool target_open(struct target *target, pid_t thread);

void target_close(struct target *target);

/* A duplicate of one of its descriptors, or -1 with errno. */
int target_descriptor(const struct target *target, int fd);

/* Copies from its memory. False when not all of it can be read. */
bool target_read(const struct target *target, uint64_t address, void *to, size_t length);

/* Whether a descriptor of it is closed by exec. */
bool target_closes_on_exec(const struct target *target, int fd);

/*
 * Calls `use` with a duplicate of each of its sockets, until that is false. The duplicate is closed
 * afterwards.
 */
void target_each_socket(const struct target *target, bool (*use)(int fd, void *context),
                        void *context);

#endif
