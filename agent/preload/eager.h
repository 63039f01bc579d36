/*
 * Whether it pays to look for an answer again and again before sleeping until it comes.
 *
 * To wake a thread up takes longer than a quick broker takes to answer, where it sleeps on a processor of its
 * own: on virtual machines twice as long. But where both share a processor, whoever looks keeps the other
 * from answering. Which of them it is, only trying tells, so that it is tried, and ever more rarely when
 * it was in vain.
 */
#ifndef DIAPER_EAGER_H
#define DIAPER_EAGER_H

#include <stdbool.h>

/* How often to look this time: not at all, or for some 100 microseconds. */
unsigned eager_looks(void);

/* Between two looks: lets the other thread of this core have it. */
void eager_rest(void);

/* What came of looking. */
void eager_tell(bool answered);

#endif
