/*
 * What the build appends to the launcher: the Deno runtime, the bundle, and a trailer that says where
 * they are. The trailer is the last thing in the file, so that a file that was cut short has none.
 */
#ifndef DIAPER_LAUNCHER_PAYLOAD_H
#define DIAPER_LAUNCHER_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

enum part_name { PART_RUNTIME, PART_BUNDLE, PART_COUNT };

struct part {
    const uint8_t *data;
    size_t length;
    const uint8_t *digest;          /* SHA-256 of the data, SHA256_SIZE bytes */
    char name[2 * SHA256_SIZE + 1]; /* the digest in hexadecimal */
};

struct payload {
    struct part part[PART_COUNT];
};

/*
 * Maps the payload of the file behind fd. Offsets, lengths and the trailer's own
 * digest are checked; the digests of the parts are not (payload_intact).
 * Returns NULL, or what is wrong with the file.
 */
const char *payload_open(int fd, struct payload *payload);

/* 1 when the part's data has the digest that the trailer gives. */
int payload_intact(const struct part *part);

#endif
