#define _GNU_SOURCE
#include "environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT "DIAPER_CALLER_"
#define LAUNCHER "DIAPER_LAUNCHER="

/*
 * Read by the runtime (Deno, its Node.js part, V8, OpenTelemetry, npm and JSR clients, Rust), or by the
 * C library and dynamic linker that the runtime uses and this static launcher does not.
 */
static const char *const removed[] = {
    "DENO_", "DENORT_", "NODE_", "NPM_",  "npm_",   "JSR_", "V8_",  "OTEL_",          "RUST_",
    "TOKIO_", "UV_",    "LD_",   "GCONV_", "MALLOC_", "LOCPATH=", "NLSPATH=", "GLIBC_TUNABLES=",
};

/* Set by the launcher only: a value from outside would be a lie. */
static const char *const forged[] = {KEPT, LAUNCHER};

static int starts_with_one_of(const char *text, const char *const *prefixes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0) return 1;
    }
    return 0;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

char **runtime_environment(char *const *caller, const char *runtime_cache, const char *launcher) {
    size_t count = 0;
    while (caller[count] != NULL) count++;
    char **result = calloc(count + 6, sizeof *result);
    if (result == NULL) return NULL;

    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (starts_with_one_of(caller[i], forged, COUNT(forged))) continue;
        if (!starts_with_one_of(caller[i], removed, COUNT(removed))) {
            result[n++] = caller[i];
        } else if (asprintf(&result[n++], KEPT "%s", caller[i]) < 0) {
            return NULL;
        }
    }
    result[n++] = "DENO_NO_UPDATE_CHECK=1";
    result[n++] = "DENO_NO_PACKAGE_JSON=1";
    /* Otherwise Deno puts a directory with a `node` of its own first on the PATH of every child. */
    result[n++] = "DENO_DISABLE_NODE_SHIM=1";
    if (asprintf(&result[n++], "DENO_DIR=%s", runtime_cache) < 0) return NULL;
    if (launcher != NULL && asprintf(&result[n++], LAUNCHER "%s", launcher) < 0) return NULL;
    return result;
}
