/*
 * When is a pinhole asked for: section 3.2 of the paper. Each function is called after the system
 * call succeeded. They leave errno alone. Whom it is for: meet.h.
 */
#ifndef DIAPER_PINHOLE_H
#define DIAPER_PINHOLE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "fdtable.h"
#include "peer.h"

/* Whether there is a broker. Set in the constructor, before the program runs. */
extern bool pinhole_active;

/*
 * bind succeeded. Returns 0, or EACCES when the administrator wants bind to fail; the descriptor
 * then has a socket that is not bound (refuse.h).
 */
int pinhole_bound(int fd, const struct sockaddr *address, socklen_t length);

/* listen succeeded: the port of a socket that had none is known now. 0 or EACCES. */
int pinhole_listening(int fd);

/*
 * A peer became known: this thread turns to it, and what was bound before is asked for. `except`
 * connects itself. Returns the peer's id.
 */
peer_id pinhole_met(const struct peer *met, int except);

/* Before a change: looks after what a new process has inherited. False in a child of vfork, where
 * nothing may be changed. */
bool pinhole_enter(void);

void pinhole_mark(int fd, enum fd_kind kind, uint8_t protocol, peer_id peer);

#endif
