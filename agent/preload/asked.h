/* Which hosts a client's datagram socket has been opened for: it may send to several in turn. */
#ifndef DIAPER_ASKED_H
#define DIAPER_ASKED_H

#include "peer.h"

/* The peer of this address that the socket was opened for not long ago, or 0. */
peer_id asked_before(uint64_t cookie, const struct endpoint *remote);

void asked_remember(uint64_t cookie, peer_id peer);

/* The kernel's number for a socket, which is not used again; 0 when it is none. */
uint64_t asked_cookie(int fd);

#endif
