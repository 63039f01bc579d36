/* Comparing a file with what it should hold. */
#ifndef DIAPER_LAUNCHER_SAME_H
#define DIAPER_LAUNCHER_SAME_H

#include <stddef.h>

/* 1 when the first length bytes of both are equal. About as fast as memory can be read. */
int same_bytes(const void *a, const void *b, size_t length);

#endif
