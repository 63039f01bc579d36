/*
 * What the agent knows of each descriptor of this process. Lock-free and without allocation, so
 * that it can be used in signal handlers and over fork, which copies it. A descriptor that the
 * agent does not know costs two loads.
 */
#ifndef DIAPER_FDTABLE_H
#define DIAPER_FDTABLE_H

#include <stdbool.h>
#include <stdint.h>

enum fd_kind {
	FD_UNKNOWN = 0,
	FD_OURS,    /* a channel of the agent: not there for the program */
	FD_CONTROL, /* bound to a control port: who connects to it is the peer */
	FD_SESSION, /* connected: a control connection, or one of a client */
	FD_NO_PORT, /* bound to an address, its port follows at listen */
	FD_PENDING, /* bound to an auxiliary port, waits for a peer to be known */
	FD_DONE,    /* nothing more to do: asked for, local, not of our protocols, or auxiliary */
};

#define FD_FLAG_UDP 1u    /* a datagram socket */
#define FD_FLAG_SENT 2u   /* where its datagrams go to does not matter any more */
#define FD_FLAG_OUTSIDE 8u /* the program bound it to the outside address of one of ours (nat.h) */
#define FD_FLAG_CLIENT 4u /* a client's datagram socket: whom it sends to may answer */

struct fd_entry {
	uint8_t kind;
	uint8_t flags;
	uint16_t reserved;
	uint32_t peer; /* whom its traffic belongs to, or 0; the entry holds it (peer.h) */
};

/* Descriptors from this number on are not remembered. */
#define FDTABLE_SIZE (1 << 20)

struct fd_entry fdtable_get(int fd);
void fdtable_set(int fd, struct fd_entry entry);

/* Makes a range of descriptors unknown; `last` is included. Touches only what is in use. */
void fdtable_forget_range(unsigned first, unsigned last);

static inline enum fd_kind fdtable_kind(int fd) {
	return (enum fd_kind)fdtable_get(fd).kind;
}

static inline void fdtable_mark(int fd, enum fd_kind kind, uint8_t flags) {
	fdtable_set(fd, (struct fd_entry){.kind = (uint8_t)kind, .flags = flags});
}

static inline void fdtable_forget(int fd) {
	fdtable_set(fd, (struct fd_entry){.kind = FD_UNKNOWN});
}

#endif
