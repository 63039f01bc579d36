/* The unpacked payload in memory, for when there is no safe place on disk. */
#ifndef DIAPER_LAUNCHER_MEMORY_H
#define DIAPER_LAUNCHER_MEMORY_H

#include "payload.h"

/*
 * Copies a part into a sealed memory file: nobody, this process included, can change it any more.
 * Returns a descriptor that is close-on-exec, or -1 with errno.
 */
int memory_file(const char *name, const struct part *part, int executable);

#endif
