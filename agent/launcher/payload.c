#include "payload.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/*
 * The trailer, all integers little-endian:
 *   0   magic, 16 bytes
 *   16  u64 size of the whole file
 *   24  for each part: u64 offset (a multiple of 4096), u64 length, SHA-256
 *   120 SHA-256 of the bytes 24 to 119
 */
#define MAGIC "DIAPER-PAYLOAD-1"
enum { MAGIC_SIZE = 16, PART_SIZE = 16 + SHA256_SIZE, PARTS_AT = 24 };
enum { DIGEST_AT = PARTS_AT + PART_COUNT * PART_SIZE, TRAILER_SIZE = DIGEST_AT + SHA256_SIZE };
enum { PART_ALIGNMENT = 4096 };

static uint64_t u64(const uint8_t *p) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

const char *payload_open(int fd, struct payload *payload) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size < TRAILER_SIZE) return "it is too short";
    size_t size = (size_t)st.st_size;
    const uint8_t *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED) return "it cannot be mapped into memory";

    const uint8_t *trailer = file + size - TRAILER_SIZE;
    if (memcmp(trailer, MAGIC, MAGIC_SIZE) != 0) return "its end is missing";
    if (u64(trailer + MAGIC_SIZE) != size) return "its size has changed";
    uint8_t digest[SHA256_SIZE];
    sha256(trailer + PARTS_AT, DIGEST_AT - PARTS_AT, digest);
    if (memcmp(digest, trailer + DIGEST_AT, SHA256_SIZE) != 0) return "its table of contents is damaged";

    for (int i = 0; i < PART_COUNT; i++) {
        const uint8_t *entry = trailer + PARTS_AT + i * PART_SIZE;
        uint64_t offset = u64(entry), length = u64(entry + 8), end = size - TRAILER_SIZE;
        if (offset % PART_ALIGNMENT != 0 || offset > end || length == 0 || length > end - offset) {
            return "its table of contents is damaged";
        }
        struct part *part = &payload->part[i];
        part->data = file + offset;
        part->length = (size_t)length;
        part->digest = entry + 16;
        for (int k = 0; k < SHA256_SIZE; k++) sprintf(part->name + 2 * k, "%02x", part->digest[k]);
    }
    return NULL;
}

int payload_intact(const struct part *part) {
    uint8_t digest[SHA256_SIZE];
    sha256(part->data, part->length, digest);
    return memcmp(digest, part->digest, SHA256_SIZE) == 0;
}
