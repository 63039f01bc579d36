/*
 * Runs a scanner without rights: cage -u UID [-m MEMORY] [-r PATH]... -- PROGRAM [ARG]...
 *
 * The program gets standard input, output and error and nothing else: no network, no files but those named (to
 * read), no other processes, no new rights, bounded memory. It dies with whoever started it. Needs root.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filter.h"

#define MAX_PATHS 32

static const char *paths[MAX_PATHS];
static int path_fds[MAX_PATHS];
static int path_count;

static void die(const char *what) {
	fprintf(stderr, "cage: %s: %s\n", what, strerror(errno));
	exit(125);
}

static void usage(void) {
	fputs("usage: cage -u UID [-m MEMORY] [-r PATH]... -- PROGRAM [ARG]...\n", stderr);
	exit(125);
}

static unsigned long number(const char *text) {
	char *end;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0)
		usage();
	return value;
}

static void limit(int resource, rlim_t value) {
	struct rlimit bounds = {value, value};
	if (setrlimit(resource, &bounds) != 0)
		die("setrlimit");
}

/* Opened before anything is covered, and in these mounts: others cannot be bound. */
static void open_paths(void) {
	for (int i = 0; i < path_count; i++) {
		path_fds[i] = open(paths[i], O_PATH | O_CLOEXEC);
		if (path_fds[i] < 0 && errno != ENOENT)
			die(paths[i]);
	}
}

/* Makes the directories above a path, and the path itself as a directory or an empty file. */
static void make_place(const char *path, mode_t type) {
	char buffer[4096];
	if (snprintf(buffer, sizeof buffer, ".%s", path) >= (int)sizeof buffer)
		usage();
	for (char *slash = strchr(buffer + 2, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(buffer, 0755) != 0 && errno != EEXIST)
			die(buffer);
		*slash = '/';
	}
	if (S_ISDIR(type)) {
		if (mkdir(buffer, 0755) != 0 && errno != EEXIST)
			die(buffer);
		return;
	}
	int fd = open(buffer, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		die(buffer);
	close(fd);
}

static void bind_path(int fd, const char *path) {
	struct stat status;
	char source[64];
	char target[4096];
	if (fstat(fd, &status) != 0)
		die(path);
	make_place(path, status.st_mode);
	snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
	snprintf(target, sizeof target, ".%s", path);
	unsigned long device = S_ISCHR(status.st_mode) ? 0 : MS_NODEV;
	if (mount(source, target, NULL, MS_BIND, NULL) != 0)
		die(path);
	if (mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | device, NULL) != 0)
		die(path);
}

/* A root directory in memory with the named paths, read-only, and nothing else. */
static void change_root(void) {
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		die("private mounts");
	open_paths();
	if (mount("none", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m") != 0 ||
	    chdir("/tmp") != 0)
		die("root in memory");
	for (int i = 0; i < path_count; i++)
		if (path_fds[i] >= 0)
			bind_path(path_fds[i], paths[i]);
	if (mount(NULL, ".", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		die("read-only root");
	if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		die("pivot_root");
}

static void drop_rights(uid_t uid) {
	if (setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0)
		die("drop rights");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		die("no_new_privs");
}

int main(int argc, char **argv) {
	static const char *always[] = {"/lib", "/lib64", "/usr/lib", "/dev/null", "/dev/urandom"};
	unsigned long uid = 0;
	unsigned long memory = 512ul << 20;
	for (unsigned i = 0; i < sizeof always / sizeof *always; i++)
		paths[path_count++] = always[i];
	for (int option; (option = getopt(argc, argv, "+u:m:r:")) != -1;) {
		if (option == 'u')
			uid = number(optarg);
		else if (option == 'm')
			memory = number(optarg);
		else if (option == 'r' && optarg[0] == '/' && strstr(optarg, "/..") == NULL && path_count < MAX_PATHS)
			paths[path_count++] = optarg;
		else
			usage();
	}
	if (uid == 0 || uid > 0x7fffffff || optind >= argc)
		usage();
	/* Whatever else was inherited is not the scanner's. */
	if (syscall(SYS_close_range, 3u, ~0u, 0u) != 0)
		die("close_range");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
		die("own namespaces");
	change_root();
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_NOFILE, 64);
	limit(RLIMIT_MEMLOCK, 0);
	limit(RLIMIT_MSGQUEUE, 0);
	limit(RLIMIT_NPROC, 64);
	limit(RLIMIT_DATA, memory);
	pid_t parent = getppid();
	drop_rights((uid_t)uid);
	/* After the change of user, which takes it back. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
		die("parent is gone");
	filter_install();
	char *environment[] = {"LC_ALL=C.UTF-8", "NO_COLOR=1", "DENO_NO_UPDATE_CHECK=1", "DENO_DIR=/none", NULL};
	execve(argv[optind], argv + optind, environment);
	die(argv[optind]);
}
