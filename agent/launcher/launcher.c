/*
 * Diaper in one file: this program, the Deno runtime and the bundle. It puts the last two where only the
 * caller can change them, checks that they are what it carries, and executes the runtime.
 *
 * It is meant to be read whole. What it must never do is to let one user decide what another one, above
 * all root, executes: not by the environment, not by the working directory, not by what lies in a cache.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "environment.h"
#include "memory.h"
#include "message.h"
#include "payload.h"
#include "store.h"

extern char **environ;

/* Nothing of the working directory is looked at, nothing is fetched, nobody is asked. */
static const char *const runtime_arguments[] = {
    "diaper", "run", "--allow-all", "--no-config", "--no-lock", "--no-npm", "--no-remote",
    "--no-prompt", "--no-check", "--quiet",
};
enum { RUNTIME_ARGUMENTS = sizeof runtime_arguments / sizeof runtime_arguments[0] };

/* A path that nobody can make anything of: the runtime keeps nothing between starts from memory. */
#define NO_RUNTIME_CACHE "/dev/null/diaper"

/*
 * argv of the runtime: its own arguments, `extra` when it is not NULL, the bundle, the caller's.
 */
static char **arguments(const char *extra, const char *bundle, int argc, char **argv) {
    char **result = calloc(RUNTIME_ARGUMENTS + 3 + (size_t)argc, sizeof *result);
    if (result == NULL) return NULL;
    size_t n = 0;
    for (int i = 0; i < RUNTIME_ARGUMENTS; i++) result[n++] = (char *)runtime_arguments[i];
    if (extra != NULL) {
        result[n++] = "--ext=mjs";
        result[n++] = (char *)extra;
    }
    result[n++] = (char *)bundle;
    for (int i = 1; i < argc; i++) result[n++] = argv[i];
    return result;
}

static void run_from_store(const struct store *store, const char *self, int argc, char **argv) {
    char **args = arguments(NULL, store->bundle, argc, argv);
    char **env = runtime_environment(environ, store->runtime_cache, self);
    if (args == NULL || env == NULL) die(EXIT_CODE_FAILED, "free some memory", "out of memory");
    execve(store->runtime, args, env);
}

static _Noreturn void run_from_memory(const struct payload *payload, const char *why,
                                      const char *self, int argc, char **argv) {
    static const char *const mend =
        "make a place for it that only you can write (root: /var/cache/diaper, else ~/.cache/diaper), "
        "or allow programs in memory: sysctl vm.memfd_noexec=0";
    for (int i = 0; i < PART_COUNT; i++) {
        if (!payload_intact(&payload->part[i])) {
            die(EXIT_CODE_FAILED, "install diaper again", "%s: the file is damaged", self);
        }
    }
    int runtime = memory_file("diaper", &payload->part[PART_RUNTIME], 1);
    int bundle = memory_file("diaper.mjs", &payload->part[PART_BUNDLE], 0);
    if (runtime < 0 || bundle < 0 || fcntl(bundle, F_SETFD, 0) != 0) {
        die(EXIT_CODE_FAILED, mend, "cannot unpack on disk (%s) nor in memory: %s", why,
            strerror(errno));
    }
    char path[sizeof "/proc/self/fd/" + 11];
    snprintf(path, sizeof path, "/proc/self/fd/%d", bundle);
    char **args = arguments("--no-code-cache", path, argc, argv);
    char **env = runtime_environment(environ, NO_RUNTIME_CACHE, self);
    if (args == NULL || env == NULL) die(EXIT_CODE_FAILED, "free some memory", "out of memory");
    fexecve(runtime, args, env);
    die(EXIT_CODE_FAILED, mend, "cannot start from disk (%s) nor from memory: %s", why,
        strerror(errno));
}

/* Path of this program's file for starting it again; NULL when it is not there any more. */
static const char *own_path(int fd, char *buffer, size_t size) {
    ssize_t length = readlink("/proc/self/exe", buffer, size - 1);
    if (length <= 0) return NULL;
    buffer[length] = '\0';
    struct stat by_name, by_descriptor;
    return stat(buffer, &by_name) == 0 && fstat(fd, &by_descriptor) == 0 &&
                   by_name.st_dev == by_descriptor.st_dev && by_name.st_ino == by_descriptor.st_ino
               ? buffer
               : NULL;
}

/* With a standard descriptor closed, a file of ours would get its number and the runtime's output. */
static void fill_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) _exit(EXIT_CODE_FAILED);
    }
}

int main(int argc, char **argv) {
    fill_standard_descriptors();
    if (getauxval(AT_SECURE) != 0 || getuid() != geteuid() || getgid() != getegid()) {
        die(EXIT_CODE_NOT_PERMITTED,
            "take the setuid and setgid bits and file capabilities off this file, and use sudo",
            "refusing to run with rights that the caller does not have");
    }
    int self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (self_fd < 0) {
        die(EXIT_CODE_FAILED, "mount /proc, and make the file readable",
            "cannot read the own file through /proc/self/exe: %s", strerror(errno));
    }
    char path[PATH_MAX];
    const char *self = own_path(self_fd, path, sizeof path);
    const char *shown = self == NULL ? "(deleted file)" : self;

    struct payload payload;
    const char *wrong = payload_open(self_fd, &payload);
    if (wrong != NULL) {
        die(EXIT_CODE_FAILED, "install diaper again", "%s: the file is damaged: %s", shown, wrong);
    }

    struct store store;
    char why[PATH_MAX + 128] = "";
    mode_t caller_umask = umask(022);
    enum store_result result = store_open(&payload, &store, why, sizeof why);
    umask(caller_umask);
    if (result == STORE_DAMAGED) {
        die(EXIT_CODE_FAILED, "install diaper again", "%s: the file is damaged", shown);
    }
    if (result == STORE_READY) {
        run_from_store(&store, self, argc, argv);
        snprintf(why, sizeof why, "%s: %s", store.runtime, strerror(errno));
    }
    run_from_memory(&payload, why, shown, argc, argv);
}
