#include "same.h"

#include <stdint.h>
#include <string.h>

/* The C library's memcmp may go byte by byte (musl's does), which takes ten times as long. */
typedef uint64_t lane __attribute__((vector_size(32), aligned(1), may_alias));

enum { LANES = 8, STRIDE = LANES * sizeof(lane) };

int same_bytes(const void *a, const void *b, size_t length) {
    const uint8_t *x = a, *y = b;
    for (; length >= STRIDE; length -= STRIDE, x += STRIDE, y += STRIDE) {
        lane difference = {0};
        for (size_t i = 0; i < LANES; i++) {
            difference |= ((const lane *)x)[i] ^ ((const lane *)y)[i];
        }
        if ((difference[0] | difference[1] | difference[2] | difference[3]) != 0) return 0;
    }
    return memcmp(x, y, length) == 0;
}
