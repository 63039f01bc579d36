#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Linux 6.9. */
#define PIDFD_OF_THREAD O_EXCL

/* The process of a thread, or 0. */
static pid_t process_of(pid_t thread) {
	char path[sizeof "/proc//status" + 11];
	char text[1024];
	snprintf(path, sizeof path, "/proc/%d/status", thread);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	const char *line = strstr(text, "\nTgid:");
	return line == NULL ? 0 : (pid_t)strtol(line + 6, NULL, 10);
}

bool target_open(struct target *target, pid_t thread) {
	target->thread = thread;
	target->pidfd = (int)syscall(SYS_pidfd_open, thread, PIDFD_OF_THREAD);
	if (target->pidfd < 0 && errno == EINVAL) {
		pid_t process = process_of(thread);
		if (process > 0)
			target->pidfd = (int)syscall(SYS_pidfd_open, process, 0);
	}
	return target->pidfd >= 0;
}

void target_close(struct target *target) {
	close(target->pidfd);
}

int target_descriptor(const struct target *target, int fd) {
	return (int)syscall(SYS_pidfd_getfd, target->pidfd, fd, 0);
}

bool target_read(const struct target *target, uint64_t address, void *to, size_t length) {
	struct iovec local = {.iov_base = to, .iov_len = length};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)address, .iov_len = length};
	return process_vm_readv(target->thread, &local, 1, &remote, 1, 0) == (ssize_t)length;
}

bool target_closes_on_exec(const struct target *target, int fd) {
	char path[sizeof "/proc//fdinfo/" + 22];
	char text[256];
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", target->thread, fd);
	int info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return false;
	ssize_t length = read(info, text, sizeof text - 1);
	close(info);
	if (length <= 0)
		return false;
	text[length] = '\0';
	const char *line = strstr(text, "flags:");
	return line != NULL && (strtoul(line + 6, NULL, 8) & O_CLOEXEC) != 0;
}

struct entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

static bool is_socket(int directory, const char *name) {
	char link[8];
	return readlinkat(directory, name, link, sizeof link) == sizeof link &&
	       memcmp(link, "socket:[", sizeof link) == 0;
}

void target_each_socket(const struct target *target, bool (*use)(int fd, void *context),
                        void *context) {
	char path[sizeof "/proc//fd" + 11];
	_Alignas(struct entry) char buffer[16384];
	snprintf(path, sizeof path, "/proc/%d/fd", target->thread);
	/* Not by open, which sets the flag once more by a call of its own (musl). */
	int directory = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return;
	bool more = true;
	while (more) {
		long length = syscall(SYS_getdents64, directory, buffer, sizeof buffer);
		if (length <= 0)
			break;
		bool last = length < (long)sizeof buffer / 2;
		for (long at = 0; more && at < length;) {
			const struct entry *entry = (const struct entry *)(buffer + at);
			at += entry->length;
			if (entry->name[0] == '.' || !is_socket(directory, entry->name))
				continue;
			int fd = target_descriptor(target, atoi(entry->name));
			if (fd < 0)
				continue;
			more = use(fd, context);
			close(fd);
		}
		more = more && !last;
	}
	close(directory);
}
