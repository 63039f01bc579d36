#include "rights.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK CAP_TO_MASK(CAP_SYS_PTRACE)
#define PORTS CAP_TO_MASK(CAP_NET_BIND_SERVICE)

static uint32_t permitted;

/* Both are among the first 32 capabilities; the others are taken away. */
static bool set(uint32_t effective) {
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.effective = effective, .permitted = permitted}};
	return syscall(SYS_capset, &header, data) == 0;
}

bool rights_reduce(void) {
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	if (syscall(SYS_capget, &header, data) != 0)
		return false;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	permitted = data[0].permitted & (LOOK | PORTS);
	return set(permitted & LOOK);
}

bool rights_lend_ports(void) {
	return (permitted & PORTS) != 0 && set(permitted);
}

void rights_return_ports(void) {
	/* Going on with the right would lend it to everybody. */
	if (!set(permitted & LOOK))
		_exit(1);
}

static bool same_user_namespace(pid_t thread) {
	char path[sizeof "/proc//ns/user" + 11];
	char theirs[64];
	char ours[64];
	snprintf(path, sizeof path, "/proc/%d/ns/user", thread);
	ssize_t theirs_length = readlink(path, theirs, sizeof theirs);
	ssize_t ours_length = readlink("/proc/self/ns/user", ours, sizeof ours);
	return theirs_length > 0 && theirs_length == ours_length &&
	       memcmp(theirs, ours, (size_t)ours_length) == 0;
}

bool rights_thread_has_ports(pid_t thread) {
	char path[sizeof "/proc//status" + 11];
	char text[8192];
	snprintf(path, sizeof path, "/proc/%d/status", thread);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	const char *line = strstr(text, "\nCapEff:");
	return line != NULL && (strtoull(line + 8, NULL, 16) & PORTS) != 0 && same_user_namespace(thread);
}
