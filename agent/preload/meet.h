/*
 * Who comes to the program, and whom does it reach: from these calls the peers are known. Each
 * function is called after the system call succeeded, unless it says otherwise. They leave errno
 * alone.
 */
#ifndef DIAPER_MEET_H
#define DIAPER_MEET_H

#include <stdbool.h>
#include <sys/socket.h>

#include "fdtable.h"
#include "peer.h"

/* accept on `listener` gave `fd`. */
void meet_accepted(int listener, int fd);

/* connect succeeded or goes on in the background. */
void meet_connected(int fd, const struct sockaddr *address, socklen_t length);

/* Whether senders of what comes in here are to be told to meet_received. */
bool meet_wants_sender(int fd);

/* A datagram came from this address. */
void meet_received(int fd, const struct sockaddr *address, socklen_t length);

/* A datagram is about to be sent to this address. */
void meet_sending(int fd, const struct sockaddr *address, socklen_t length);

/* A message brought this descriptor (SCM_RIGHTS). */
void meet_passed(int fd);

/* In the constructor: descriptors that were inherited over exec. */
void meet_inherited(void);

/* Something was read: this thread deals with whoever the descriptor belongs to. */
static inline void meet_read(int fd) {
	peer_id peer = fdtable_get(fd).peer;
	if (peer != 0)
		peer_read(peer);
}

#endif
