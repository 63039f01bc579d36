/*
 * Sockets that were bound before the program had a peer. They are told apart by the kernel's
 * cookie, so that a number that was closed behind the agent's back and used again is not mistaken
 * for one of them.
 */
#ifndef DIAPER_PENDING_H
#define DIAPER_PENDING_H

#include <stdbool.h>

/* False when there is no room, or the descriptor is no socket. */
bool pending_add(int fd);

/* Takes one of them off the list, and all others that are duplicates of it; -1: none is left. */
int pending_take(void);

#endif
