/*
 * When is a pinhole asked for, and for whom: section 3.2 of the paper. Each function is called
 * after the system call succeeded, unless it says otherwise. They leave errno alone.
 */
#ifndef DIAPER_PINHOLE_H
#define DIAPER_PINHOLE_H

#include <stdbool.h>
#include <sys/socket.h>

/* Whether there is a broker. Set in the constructor, before the program runs. */
extern bool pinhole_active;

/*
 * bind succeeded. Returns 0, or EACCES when the administrator wants bind to fail; the descriptor
 * then has a socket that is not bound (refuse.h).
 */
int pinhole_bound(int fd, const struct sockaddr *address, socklen_t length);

/* listen succeeded: the port of a socket that had none is known now. 0 or EACCES. */
int pinhole_listening(int fd);

/* accept on `listener` gave `fd`. */
void pinhole_accepted(int listener, int fd);

/* connect succeeded or goes on in the background. */
void pinhole_connected(int fd, const struct sockaddr *address, socklen_t length);

/* A datagram came from this address. */
void pinhole_received(int fd, const struct sockaddr *address, socklen_t length);

/* A datagram is about to be sent to this address. */
void pinhole_sending(int fd, const struct sockaddr *address, socklen_t length);

/* In the constructor: descriptors that were inherited over exec. */
void pinhole_scan_inherited(void);

#endif
