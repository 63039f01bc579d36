/* Addresses with ports, in one form for IPv4, IPv6 and IPv4 mapped into IPv6. */
#ifndef DIAPER_ENDPOINT_H
#define DIAPER_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct endpoint {
	uint8_t family; /* 4, 6, or 0: not known */
	uint16_t port;  /* host order */
	uint8_t address[16];
};

/* False when the socket address is not of IPv4 or IPv6, or shorter than its family asks for. */
bool endpoint_parse(struct endpoint *endpoint, const void *address, socklen_t length);

/* The local end of a socket; false when it is no IPv4 or IPv6 socket. */
bool endpoint_local(struct endpoint *endpoint, int fd);

/* The remote end of a connected socket. */
bool endpoint_remote(struct endpoint *endpoint, int fd);

/* The address that this host would send from to the remote one; its port is left alone. */
bool endpoint_route(struct endpoint *local, const struct endpoint *remote);

/* Whether a socket listens. */
bool endpoint_listens(int fd);

/* 127.0.0.0/8 or ::1: never crosses a perimeter. */
bool endpoint_is_loopback(const struct endpoint *endpoint);

bool endpoint_is_wildcard(const struct endpoint *endpoint);

bool endpoint_same_address(const struct endpoint *left, const struct endpoint *right);

#endif
