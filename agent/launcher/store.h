/*
 * The unpacked payload on disk: a directory that only its owner can write, below a path on which nobody
 * else can exchange a component.
 */
#ifndef DIAPER_LAUNCHER_STORE_H
#define DIAPER_LAUNCHER_STORE_H

#include <limits.h>

#include "payload.h"

struct store {
    char runtime[PATH_MAX]; /* executable */
    char bundle[PATH_MAX];
    char runtime_cache[PATH_MAX]; /* a directory for what the runtime keeps between starts */
};

enum store_result {
    STORE_READY,   /* owner, mode, links and content of everything checked just now */
    STORE_UNSAFE,  /* no place that only this user can write */
    STORE_DAMAGED, /* the launcher's own payload does not have its digest */
};

/*
 * Finds the store of the process's user, unpacks into it what is missing or differs, and checks it.
 * Other starts at the same time wait. `why` gets the reason in words when the result is not READY.
 *
 * The place is /var/cache/diaper for root, whatever its environment says; for other users it is
 * $XDG_CACHE_HOME/diaper, else ~/.cache/diaper. In it each part has a directory that is named by its
 * digest, so that versions with the same runtime share it.
 */
enum store_result store_open(const struct payload *payload, struct store *store, char *why,
                             size_t why_size);

#endif
