/*
 * The agent's own descriptors: moved out of the way of the program, and kept from programs that
 * close, or duplicate onto, every number there is.
 */
#ifndef DIAPER_OWNFD_H
#define DIAPER_OWNFD_H

#include <stdbool.h>

enum ownfd_scope {
	OWNFD_PROCESS, /* of this process alone: a forked process closes it */
	OWNFD_FAMILY,  /* shared with the processes that are forked from this one */
};

/* Moves a fresh descriptor to a high number, close-on-exec, and protects it. The new number or -1;
 * the old one is closed in both cases. */
int ownfd_adopt(int fd, enum ownfd_scope scope);

/* Protects a descriptor where it is. False when there is no room. */
bool ownfd_protect(int fd, enum ownfd_scope scope);

void ownfd_close(int fd);

/* In a new process: closes what belongs to its parent alone. */
void ownfd_close_inherited(void);

/* The lowest own descriptor from `first` on, or -1. */
int ownfd_next(unsigned first);

#endif
