/*
 * The control port: who connects to it is the peer for the auxiliary ports. It is compared by
 * protocol and number, since the other protocol's port of the same number is an auxiliary one
 * (iperf3 -u). Either DIAPER_CONTROL lists the ports, or it is the first one bound to an external
 * address while no peer is known.
 */
#ifndef DIAPER_CONTROL_H
#define DIAPER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

/* Whether this is a control port. */
bool control_is(uint8_t protocol, uint16_t port);

/* Makes this the control port unless there is one. `chosen`: the program named the port itself,
 * the kernel did not choose it. True when it now is. */
bool control_claim(uint8_t protocol, uint16_t port, bool chosen);

/* Whether somebody came to a control port: the program is a server. */
bool control_confirmed(void);

/* Whether DIAPER_CONTROL says which ports are control ports. */
bool control_is_listed(void);

/* Somebody came to the control port: from now on the program is a server for good. */
void control_confirm(void);

/*
 * The program connects to the outside: a control port of a number that nobody chose, and that
 * nobody has come to, was no control port, but that of a client that bound before it connected.
 * True when it was withdrawn.
 */
bool control_withdraw_unchosen(void);

/* The socket of this control port connects itself: a client that chose its own port. */
void control_withdraw(uint8_t protocol, uint16_t port);

/* Whether a connection to this remote port can name the peer: all but the ports that
 * DIAPER_CONTROL leaves out, and name servers. */
bool control_reaches(uint8_t protocol, uint16_t remote_port);

#endif
