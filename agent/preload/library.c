#include "library.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "config.h"
#include "message.h"
#include "sys.h"
#include "wire.h"

/* The oldest version, which glibc before and after 2.34 has. */
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
extern void *dlsym(void *restrict handle, const char *restrict name);
#define NEXT ((void *)-1L) /* RTLD_NEXT */

extern char **environ;

void *library_dlopen;

static _Atomic enum { UNKNOWN, FREE, GUARDED } state;

/* The reason comes out of dlerror(), since no directory of the system has such a file. */
static const char REFUSED[] = "diaper: only libraries that root alone can change are loaded here";

static size_t length_of(const char *text) {
	size_t length = 0;
	while (text[length] != '\0')
		length++;
	return length;
}

/*
 * True when nobody but root can change any part of the way to a file, symbolic links included. What
 * holds while it is looked at holds while it is loaded. The links in /proc that lead elsewhere than
 * they say are behind a directory that belongs to the process's user.
 */
static bool is_roots(const char *name) {
	char path[PATH_MAX];
	char target[PATH_MAX];
	size_t length = length_of(name);
	size_t at = 1;
	unsigned links = 0;
	if (name[0] != '/' || length >= sizeof path)
		return false;
	memcpy(path, name, length + 1);
	for (;;) {
		struct stat file;
		size_t end = at;
		while (path[end] != '\0' && path[end] != '/')
			end++;
		char next = path[end];
		path[end] = '\0';
		if (sys6(SYS_newfstatat, AT_FDCWD, sys_ptr(path), sys_ptr(&file), AT_SYMLINK_NOFOLLOW, 0, 0) != 0 ||
		    file.st_uid != 0)
			return false;
		if (S_ISLNK(file.st_mode)) {
			long n = sys6(SYS_readlinkat, AT_FDCWD, sys_ptr(path), sys_ptr(target), sizeof target, 0, 0);
			path[end] = next;
			size_t rest = length_of(path + end);
			size_t kept = n > 0 && target[0] == '/' ? 0 : at;
			if (n <= 0 || ++links > 16 || kept + (size_t)n + rest >= sizeof path)
				return false;
			memmove(path + kept + n, path + end, rest + 1);
			memcpy(path + kept, target, (size_t)n);
			at = kept == 0 ? 1 : kept;
			continue;
		}
		path[end] = next;
		if ((file.st_mode & (S_IWGRP | S_IWOTH)) != 0)
			return false;
		if (next == '\0')
			return S_ISREG(file.st_mode);
		at = end + 1;
	}
}

/* For the audit trail; that the broker may not be there changes nothing. */
static void report(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct __kernel_timespec left = message_time_limit();
	struct wire_wrap wrap = {
	    .header = message_header(WIRE_WRAP, sizeof wrap),
	    .version = WIRE_VERSION,
	    .fault = WIRE_FAULT_LIBRARY,
	};
	memcpy(address.sun_path, config.socket_path, sizeof address.sun_path);
	long fd = sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (sys3(SYS_connect, fd, sys_ptr(&address), sizeof address) == 0)
		message_send((int)fd, &wrap.header, NULL, 0, &left);
	sys3(SYS_close, fd, 0, 0);
}

void library_start(void) {
	const char name[] = "DIAPER_WRAPPER_FD=";
	bool found = false;
	if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != UNKNOWN)
		return;
	for (char **entry = environ; entry != NULL && *entry != NULL && !found; entry++) {
		size_t i = 0;
		while (name[i] != '\0' && (*entry)[i] == name[i])
			i++;
		found = name[i] == '\0';
	}
	library_dlopen = dlsym(NEXT, "dlopen");
	__atomic_store_n(&state, found ? GUARDED : FREE, __ATOMIC_RELEASE);
}

const char *library_choose(const char *name) {
	library_start();
	if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != GUARDED || name == NULL)
		return name;
	size_t i = 0;
	while (name[i] != '\0' && name[i] != '/')
		i++;
	/* Without a slash: from the system's directories, since the wrapper has cleared LD_LIBRARY_PATH. */
	if (name[i] == '\0' || is_roots(name))
		return name;
	report();
	return REFUSED;
}
