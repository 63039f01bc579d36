#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "same.h"

/* The runtime's file name is what `ps` and `pgrep` show. */
#define RUNTIME_NAME "diaper"
/* .mjs: a module whatever a package.json in a directory above says. */
#define BUNDLE_NAME "diaper.mjs"
#define RUNTIME_CACHE_NAME "runtime"
#define LOCK_NAME ".lock"
enum { LONGEST_NAME = sizeof "/" BUNDLE_NAME };

static const struct {
    const char *name, *temporary;
    mode_t mode;
} files[PART_COUNT] = {
    [PART_RUNTIME] = {RUNTIME_NAME, "." RUNTIME_NAME ".new", 0755},
    [PART_BUNDLE] = {BUNDLE_NAME, "." BUNDLE_NAME ".new", 0644},
};

struct reason {
    char *text;
    size_t size;
};

static int because(struct reason *reason, const char *path, const char *what) {
    snprintf(reason->text, reason->size, "%s: %s", path, what);
    return -1;
}

/* Where this user's stores are, as an absolute path. Root's environment has no say. */
static int base_path(char *path, size_t size, struct reason *reason) {
    int length;
    if (geteuid() == 0) {
        length = snprintf(path, size, "/var/cache/diaper");
    } else {
        const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
        if (home == NULL || home[0] != '/') {
            const struct passwd *account = getpwuid(geteuid());
            home = account == NULL ? "" : account->pw_dir;
        }
        if (cache != NULL && cache[0] == '/') {
            length = snprintf(path, size, "%s/diaper", cache);
        } else if (home[0] == '/') {
            length = snprintf(path, size, "%s/.cache/diaper", home);
        } else {
            return because(reason, "HOME", "this user has no home directory");
        }
    }
    return length < 0 || (size_t)length >= size ? because(reason, "HOME", "too long") : 0;
}

/*
 * One step down from the directory `parent`, without following a link. Missing directories are made.
 * Returns a descriptor, or -1: a component that someone else owns or can write is refused, and so is a
 * sticky one, where others cannot replace entries but can be the first to make them.
 */
static int enter(int parent, const char *name, const char *path, mode_t mode, int own,
                 struct reason *reason) {
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_PATH;
    int fd = openat(parent, name, flags);
    if (fd < 0 && errno == ENOENT) {
        if (mkdirat(parent, name, mode) != 0 && errno != EEXIST) {
            return because(reason, path, strerror(errno));
        }
        fd = openat(parent, name, flags);
    }
    if (fd < 0) {
        int link = errno == ENOTDIR || errno == ELOOP;
        return because(reason, path, link ? "not a directory (links are not followed)" : strerror(errno));
    }
    struct stat st;
    const char *wrong = NULL;
    if (fstat(fd, &st) != 0) {
        wrong = strerror(errno);
    } else if (st.st_uid != geteuid() && (own || st.st_uid != 0)) {
        wrong = "owned by another user";
    } else if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        wrong = "other users can write there";
    }
    if (wrong == NULL) return fd;
    close(fd);
    return because(reason, path, wrong);
}

/*
 * Walks from the root directory to `path`. The last `own_count` components must be this user's own, and
 * are made with `mode`.
 */
static int walk(const char *path, int own_count, mode_t mode, struct reason *reason) {
    char copy[PATH_MAX], so_far[PATH_MAX] = "";
    if (strlen(path) >= sizeof copy) return because(reason, path, "too long");
    strcpy(copy, path);
    int remaining = 0;
    for (const char *p = path; *p != '\0'; p++) remaining += p[0] == '/' && p[1] != '/' && p[1] != '\0';

    int fd = enter(AT_FDCWD, "/", "/", 0755, 0, reason);
    char *rest = copy, *name;
    while (fd >= 0 && (name = strsep(&rest, "/")) != NULL) {
        if (*name == '\0') continue;
        strcat(so_far, "/");
        strcat(so_far, name);
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            close(fd);
            return because(reason, path, "not a plain path");
        }
        int own = remaining-- <= own_count;
        /* What is the user's own but not ours (~/.cache) is private, as the XDG specification has it. */
        mode_t missing = own ? mode : geteuid() == 0 ? 0755 : 0700;
        int next = enter(fd, name, so_far, missing, own, reason);
        close(fd);
        fd = next;
    }
    return fd;
}

/* 1 when the file is what store_open promises: own, unshared, right mode, right content. */
static int is_good(int directory, int which, const struct part *part) {
    int fd = openat(directory, files[which].name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return 0;
    struct stat st;
    int good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
               st.st_nlink == 1 && (st.st_mode & 07777) == files[which].mode &&
               (size_t)st.st_size == part->length;
    if (good) {
        void *content = mmap(NULL, part->length, PROT_READ, MAP_PRIVATE, fd, 0);
        good = content != MAP_FAILED && same_bytes(content, part->data, part->length);
        if (content != MAP_FAILED) munmap(content, part->length);
    }
    close(fd);
    return good;
}

static int write_all(int fd, const uint8_t *data, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Puts a part in place whole or not at all, also when power fails. The caller holds the lock. */
static int unpack(int directory, int which, const struct part *part) {
    const char *temporary = files[which].temporary;
    if (unlinkat(directory, temporary, 0) != 0 && errno != ENOENT) return -1;
    int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    int failed = write_all(fd, part->data, part->length) != 0 ||
                 fchmod(fd, files[which].mode) != 0 || fsync(fd) != 0;
    int error = errno;
    if (close(fd) != 0 && !failed) failed = 1, error = errno;
    if (!failed && renameat(directory, temporary, directory, files[which].name) == 0) return 0;
    if (!failed) error = errno;
    unlinkat(directory, temporary, 0);
    errno = error;
    return -1;
}

/* One start at a time unpacks. The file is private: others could hold a lock on one they can open. */
static int lock(int directory) {
    int fd = openat(directory, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0) {
        close(fd);
        errno = EPERM;
        return -1;
    }
    while (flock(fd, LOCK_EX) != 0) {
        if (errno == EINTR) continue;
        close(fd);
        return -1;
    }
    return fd;
}

/* Makes one part good in its directory. */
static enum store_result fill(int directory, int which, const struct part *part, const char *path,
                              struct reason *reason) {
    if (is_good(directory, which, part)) return STORE_READY;
    int lock_fd = lock(directory);
    if (lock_fd < 0) return because(reason, path, strerror(errno)), STORE_UNSAFE;
    enum store_result result = STORE_READY;
    if (is_good(directory, which, part)) {
        /* another start was faster */
    } else if (!payload_intact(part)) {
        result = STORE_DAMAGED;
    } else if (unpack(directory, which, part) != 0 || fsync(directory) != 0) {
        because(reason, path, strerror(errno));
        result = STORE_UNSAFE;
    } else if (!is_good(directory, which, part)) {
        because(reason, path, "a file that was just written reads back differently");
        result = STORE_UNSAFE;
    }
    close(lock_fd);
    return result;
}

/* The directory of one part: checked, filled, and where its file can be executed. */
static enum store_result open_part(const char *path, int which, const struct part *part,
                                   struct reason *reason) {
    int place = walk(path, 2, 0755, reason);
    if (place < 0) return STORE_UNSAFE;
    /* The walk's descriptors are for looking up names only; fsync and fstatvfs need a real one. */
    int directory = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statvfs fs;
    enum store_result result = STORE_UNSAFE;
    if (directory < 0 || fstatvfs(directory, &fs) != 0) {
        because(reason, path, strerror(errno));
    } else if (which == PART_RUNTIME && (fs.f_flag & ST_NOEXEC) != 0) {
        because(reason, path, "programs cannot be started there (mounted noexec)");
    } else {
        result = fill(directory, which, part, path, reason);
    }
    if (directory >= 0) close(directory);
    close(place);
    return result;
}

enum store_result store_open(const struct payload *payload, struct store *store, char *why,
                             size_t why_size) {
    struct reason reason = {why, why_size};
    char base[PATH_MAX], place[PART_COUNT][PATH_MAX];
    if (base_path(base, sizeof base, &reason) != 0) return STORE_UNSAFE;
    for (int i = 0; i < PART_COUNT; i++) {
        int length = snprintf(place[i], sizeof place[i], "%s/%s", base, payload->part[i].name);
        if ((size_t)length + LONGEST_NAME >= sizeof place[i]) {
            return because(&reason, base, "too long"), STORE_UNSAFE;
        }
        enum store_result result = open_part(place[i], i, &payload->part[i], &reason);
        if (result != STORE_READY) return result;
    }
    strcpy(stpcpy(store->runtime, place[PART_RUNTIME]), "/" RUNTIME_NAME);
    strcpy(stpcpy(store->bundle, place[PART_BUNDLE]), "/" BUNDLE_NAME);
    strcpy(stpcpy(store->runtime_cache, place[PART_BUNDLE]), "/" RUNTIME_CACHE_NAME);

    int cache = walk(store->runtime_cache, 3, 0700, &reason);
    if (cache < 0) return STORE_UNSAFE;
    close(cache);
    return STORE_READY;
}
