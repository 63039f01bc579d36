/*
 * Rounds of programs that serve several hosts in one thread (paper, section 3.3). Such a program
 * waits for many descriptors, and then deals with those that are ready. While connections of
 * different hosts are alive, it is given one ready descriptor a round, so that what it does until it
 * waits again is done for that one. The others stay ready: the kernel is level-triggered there, and
 * keeps what is edge-triggered (epoll). Their numbers come in turn, so that none starves. A program
 * with connections of one host only is not touched.
 */
#ifndef DIAPER_ROUND_H
#define DIAPER_ROUND_H

#include <stdbool.h>

#include "peer.h"

/* Whether rounds are limited now: as DIAPER_LIMIT says, or when peers could be mistaken. */
bool round_limited(void);

/* The program waits: what it dealt with is over. */
void round_end(void);

/* It was given this descriptor alone. */
void round_begin(int fd);

/* The peer that the round is for; 0 when its descriptor does not tell. */
peer_id round_peer(void);

/* A choice among ready descriptors. */
struct round_choice {
	int last;     /* that was chosen by this thread before */
	int chosen;   /* so far, -1: none */
	unsigned seen;
	bool control; /* a control port is among them */
	bool mixed;   /* they are not all of one peer */
	peer_id peer; /* of the first */
};

struct round_choice round_choose(void);
void round_add(struct round_choice *choice, int fd);

/* Ends the choice. True when all but choice->chosen are to be kept from the program. */
bool round_decide(struct round_choice *choice);

#endif
