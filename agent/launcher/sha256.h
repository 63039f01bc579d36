/* SHA-256 (FIPS 180-4). */
#ifndef DIAPER_LAUNCHER_SHA256_H
#define DIAPER_LAUNCHER_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32 };

/* The digest of a whole message. */
void sha256(const void *message, size_t length, uint8_t digest[SHA256_SIZE]);

/* The same without the CPU's SHA instructions, so that a test can compare the two. */
void sha256_portable(const void *message, size_t length, uint8_t digest[SHA256_SIZE]);

#endif
