/* Prints the digest of standard input twice: as the launcher computes it, and without CPU help. */
#include <stdio.h>
#include <stdlib.h>

#include "../../agent/launcher/sha256.h"

static void print(const uint8_t *digest) {
    for (int i = 0; i < SHA256_SIZE; i++) printf("%02x", digest[i]);
    putchar('\n');
}

/* Input is a series of messages, each with its length in 4 bytes, little-endian, in front. */
int main(void) {
    uint8_t head[4], digest[SHA256_SIZE];
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t length = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        uint8_t *message = malloc(length + 1);
        if (message == NULL || fread(message, 1, length, stdin) != length) return 1;
        sha256(message, length, digest);
        print(digest);
        sha256_portable(message, length, digest);
        print(digest);
        free(message);
    }
    return 0;
}
