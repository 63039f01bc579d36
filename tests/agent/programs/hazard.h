/*
 * Hazards for an interposition agent, one function each, in one program. Each prints what it sees
 * (results, errno, numbers of descriptors), so that its output with and without the agent can be
 * compared. Addresses: 10.77.0.1 is this host, 10.77.0.2 and up are its clients; all are on the
 * loopback device of a network namespace of the test.
 */
#ifndef HAZARD_H
#define HAZARD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOST "10.77.0.1"
#define CONTROL_PORT 2121

/* Prints `what` with a result, and errno when the result is -1. */
long show(const char *what, long result);

/* Ends the program with a message when a step of the set-up fails. */
int must(const char *what, int result);

/* A socket address of either family. */
struct any_address {
	union {
		struct sockaddr address;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_storage storage;
	};
	socklen_t length;
};

struct any_address address_of(const char *text, int port);

/* A socket bound to this address. */
int bound(int type, const char *text, int port);

/* A TCP listener. */
int listening(const char *text, int port);

/* A TCP connection from `source` to an address. */
int connected(const char *source, const char *text, int port);

/* A datagram from `source` to an address; its socket stays open. */
void datagram_from(const char *source, const char *text, int port);

/* A server with a control port and one client of it: returns the accepted connection. The client's
 * end and the listener are left open in *client and *listener, when they are asked for. */
int control_from(const char *source, int *client, int *listener);

/* Binds and listens on an auxiliary port, prints how it went, closes it. */
void auxiliary(const char *what, int port);

/* Waits for a child and prints how it ended. */
void reap(const char *what, pid_t child);

/* One entry of the table in main.c. */
#define HAZARD(name) int hazard_##name(int count, char **arguments)

extern char *own_path;

#endif
