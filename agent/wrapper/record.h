/*
 * What was fixed at installation: `diaper wrap add` writes it into the wrapper's file, in the place of what
 * begins with this magic there. See docs/protocols/agent-broker.md.
 */
#ifndef DIAPER_WRAPPER_RECORD_H
#define DIAPER_WRAPPER_RECORD_H

#include <stdint.h>

#include "../launcher/sha256.h"

#define RECORD_MAGIC "DPRWRAP1"

struct record {
	char magic[8];
	uint32_t uid; /* of the delegate's account, which owns the wrapper */
	uint32_t zero;
	uint8_t target_digest[SHA256_SIZE];
	uint8_t agent_digest[SHA256_SIZE];
	uint8_t program_digest[SHA256_SIZE];
	char path[256];   /* where the wrapper itself is; these five end with a NUL */
	char target[256]; /* the one program that it stands for */
	char agent[256];
	char program[256]; /* a copy of the target that needs the agent: this is what runs */
	char socket[112]; /* the broker's */
};

_Static_assert(sizeof(struct record) == 1248, "record");

#endif
