/* Messages between agent and broker, as in docs/protocols/agent-broker.md. */
#ifndef DIAPER_WIRE_H
#define DIAPER_WIRE_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the messages are little-endian: convert in channel.c before building for this machine"
#endif

#define WIRE_MAGIC 0x31525044u /* "DPR1" */
#define WIRE_VERSION 1u
#define WIRE_DELEGATE_SIZE 64
#define WIRE_TICKET_SIZE 32

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_CHANNEL = 2, /* the first OPEN of a new process, with its own channel */
	WIRE_OPEN = 3,
	WIRE_WRAP = 5,
	WIRE_JOIN = 6,
	WIRE_TRACED = 7, /* an OPEN for another process */
	WIRE_VERDICT = 0x8001,
	WIRE_TICKET = 0x8002,
};

/* What a wrapper found wrong, for the audit trail. */
enum wire_fault {
	WIRE_FAULT_NONE = 0,
	WIRE_FAULT_RIGHTS = 1,
	WIRE_FAULT_INSTALLATION = 2,
	WIRE_FAULT_AGENT = 3,
	WIRE_FAULT_TARGET = 4,
	WIRE_FAULT_LIBRARY = 5, /* told by the agent */
};

enum wire_verdict { WIRE_VERDICT_OPEN = 0 };

/* The administrator wants bind to fail with EACCES when the verdict is not 0. */
#define WIRE_FLAG_MUST_FAIL 1u

/* OPEN: what this thread last read from was another host's; `other` names it. */
#define WIRE_OPEN_DISPUTED 1u
/* OPEN: several hosts are connected, and nothing tells which of them is meant; there is no source. */
#define WIRE_OPEN_UNCLEAR 2u

struct wire_header {
	uint32_t magic;
	uint16_t type;
	uint16_t length;
	uint32_t sequence;
	uint32_t zero;
};

struct wire_hello {
	struct wire_header header;
	uint32_t version;
	uint32_t flags;
	char delegate[WIRE_DELEGATE_SIZE];
	uint64_t zero;
};

struct wire_open {
	struct wire_header header;
	uint8_t source_family;
	uint8_t control_family;
	uint16_t source_port;
	uint8_t source[16];
	uint8_t control[16];
	uint16_t control_port;
	uint16_t flags;
	uint64_t bound_at;
	uint8_t other[16];
	uint8_t other_family;
	uint8_t zero[3];
	uint32_t descriptor; /* TRACED alone: the socket's number in the other process */
};

struct wire_wrap {
	struct wire_header header;
	uint32_t version;
	uint32_t fault;
	uint32_t program; /* descriptor of the program that the wrapper is going to execute */
	uint32_t zero;
};

struct wire_join {
	struct wire_header header;
	uint8_t ticket[WIRE_TICKET_SIZE];
};

struct wire_ticket {
	struct wire_header header;
	uint8_t ticket[WIRE_TICKET_SIZE];
};

struct wire_verdict_message {
	struct wire_header header;
	uint32_t verdict;
	uint32_t flags;
	uint32_t pinhole;
	uint32_t zero;
	char reason[160];
};

_Static_assert(sizeof(struct wire_header) == 16, "header");
_Static_assert(sizeof(struct wire_hello) == 96, "HELLO");
_Static_assert(offsetof(struct wire_hello, delegate) == 24, "HELLO delegate");
_Static_assert(offsetof(struct wire_hello, zero) == 88, "HELLO zero");
_Static_assert(sizeof(struct wire_open) == 88, "OPEN");
_Static_assert(offsetof(struct wire_open, source) == 20, "OPEN source");
_Static_assert(offsetof(struct wire_open, control) == 36, "OPEN control");
_Static_assert(offsetof(struct wire_open, control_port) == 52, "OPEN control port");
_Static_assert(offsetof(struct wire_open, bound_at) == 56, "OPEN bound at");
_Static_assert(offsetof(struct wire_open, other) == 64, "OPEN other");
_Static_assert(offsetof(struct wire_open, other_family) == 80, "OPEN other family");
_Static_assert(offsetof(struct wire_open, descriptor) == 84, "TRACED descriptor");
_Static_assert(sizeof(struct wire_wrap) == 32, "WRAP");
_Static_assert(sizeof(struct wire_join) == 48, "JOIN");
_Static_assert(sizeof(struct wire_ticket) == 48, "TICKET");
_Static_assert(sizeof(struct wire_verdict_message) == 192, "VERDICT");
_Static_assert(offsetof(struct wire_verdict_message, reason) == 32, "VERDICT reason");

#endif
