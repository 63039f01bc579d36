/* How a program that the setuid wrapper started proves itself: with the wrapper's channel and its own. */
#ifndef DIAPER_JOIN_H
#define DIAPER_JOIN_H

#include <stdbool.h>

/*
 * Takes the ticket that the broker left in the wrapper's channel, and presents it over `fd`, this
 * process's own new connection. True when the broker accepts. Neither is closed.
 */
bool join_client(int wrapper, int fd);

#endif
