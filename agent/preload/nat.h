/*
 * Addresses that the outside knows this host by (DIAPER_NAT). Between an inside and an outside
 * address another device translates; a program that announces its address has to announce the
 * outside one, since nobody can correct it inside TLS.
 */
#ifndef DIAPER_NAT_H
#define DIAPER_NAT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "endpoint.h"

/*
 * In the constructor: DIAPER_NAT (inside=outside, with commas between) and DIAPER_NAT_LOCAL
 * (prefixes of hosts that see the inside addresses). False, and said on stderr, when one is wrong.
 */
bool nat_read(char **environment);

/* Whether there are such addresses. */
bool nat_active(void);

/* The outside address for an inside one, 4 bytes, or NULL. */
const uint8_t *nat_outside(const struct endpoint *inside);

/* Whether this host reaches the inside addresses itself. */
bool nat_is_local(const struct endpoint *remote);

/*
 * Copies an outside address, with an inside one in its place: several hosts may share an outside
 * address, so that there may be a next one (*next begins with 0). False when there is none.
 */
bool nat_inward(struct sockaddr_storage *copy, const struct sockaddr *address, socklen_t length,
                unsigned *next);

/* Writes 4 bytes of an address into a socket address of which `room` bytes may be written. */
void nat_write(void *address, sa_family_t family, socklen_t room, const uint8_t *bytes);

#endif
