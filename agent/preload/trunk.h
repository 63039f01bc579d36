/*
 * The connection that all processes of a program share: the one that the first of them made by
 * path before it could chroot or drop rights, or that it inherited as DIAPER_FD. A process does
 * not ask over a trunk that another one made, since the kernel would name that one to the broker.
 */
#ifndef DIAPER_TRUNK_H
#define DIAPER_TRUNK_H

#include <stdbool.h>

/* In the constructor. False when there is no broker, or it refuses this account. */
bool trunk_start(void);

/* The trunk's descriptor, or -1. */
int trunk_fd(void);

/* Whether this process made the trunk, and so may ask over it. */
bool trunk_is_own(void);

/* Connects again when the broker has gone and come back; costs one poll when it has not. */
void trunk_refresh(void);

#endif
