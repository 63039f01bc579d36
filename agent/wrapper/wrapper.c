/*
 * Runs one program for any user and opens its local delegate's channel to the broker before it does.
 * Installed set-user-ID to the delegate (never to root) by `diaper wrap add`, which fills in the record.
 *
 * The program is run from a copy in memory that its user may execute and not read: what was checked is
 * what runs, and the kernel lets nobody but root trace it or have a core of it, from its first
 * instruction on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../preload/wire.h"
#include "record.h"

enum { MODE = S_IFREG | S_ISUID | 0511, LARGEST = 64 << 20, REFUSED = 126, EXECUTABLE = 0x10 /* MFD_EXEC */ };

/* All that the program gets of its user's environment; and LC_*. */
static const char *const ALLOWED[] = {"HOME=", "LANG=", "LANGUAGE=", "LOGNAME=", "SHELL=", "TERM=",
                                      "USER=", "LC_",   "COLUMNS=",  "LINES=",   "NO_COLOR="};

struct record record = {.magic = RECORD_MAGIC};
extern char **environ;

/* A connection to the broker on which WRAP was sent, or -1. */
static int open_channel(enum wire_fault fault, int program) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 10};
	struct wire_wrap wrap = {
	    .header = {.magic = WIRE_MAGIC, .type = WIRE_WRAP, .length = sizeof wrap, .sequence = 1},
	    .version = WIRE_VERSION,
	    .fault = fault,
	    .program = (uint32_t)program,
	};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	memcpy(address.sun_path, record.socket, sizeof address.sun_path - 1);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
	    connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
	    send(fd, &wrap, sizeof wrap, MSG_NOSIGNAL) == sizeof wrap)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Ends, and has the broker write down that somebody tried. */
static _Noreturn void refuse(enum wire_fault fault, const char *what, const char *why) {
	dprintf(STDERR_FILENO, "diaper-wrapper: %s: %s\n", what, why);
	if (fault != WIRE_FAULT_NONE)
		open_channel(fault, -1);
	_exit(REFUSED);
}

static void must(bool done, const char *call) {
	if (!done)
		refuse(WIRE_FAULT_NONE, call, strerror(errno));
}

/* That this file is where and as it was installed, and that its bit has worked. */
static void check_installation(void) {
	char path[sizeof record.path] = "";
	struct stat file;
	/* A user who copied it, traces it or runs it in a user namespace is still nobody but that user. */
	if (geteuid() != record.uid || geteuid() == 0 || getuid() == 0 || getuid() == geteuid())
		refuse(WIRE_FAULT_RIGHTS, "not run with its delegate's rights",
		       getuid() == 0 ? "root needs no wrapper: use diaper run --delegate"
		                     : "run the installed wrapper itself, not a copy, not under a debugger");
	/* The path tells a hard link too, such as somebody may have kept of an older wrapper. */
	if (readlink("/proc/self/exe", path, sizeof path - 1) < 0 || strcmp(path, record.path) != 0 ||
	    stat("/proc/self/exe", &file) != 0 || file.st_uid != record.uid || file.st_mode != MODE)
		refuse(WIRE_FAULT_INSTALLATION, record.path,
		       "moved or changed since its installation; diaper wrap add installs it again");
}

/* Copies a file that only root can have written into memory, and holds it against its digest. */
static int checked_copy(const char *path, const uint8_t digest[SHA256_SIZE], enum wire_fault fault) {
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_NO_SYMLINKS};
	const char *name = strrchr(record.target, '/') + 1;
	uint8_t actual[SHA256_SIZE];
	struct stat file;
	int from = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
	if (from < 0 || fstat(from, &file) != 0)
		refuse(fault, path, strerror(errno));
	if (!S_ISREG(file.st_mode) || file.st_uid != 0 || (file.st_mode & 022) != 0 || file.st_size == 0 ||
	    file.st_size > LARGEST)
		refuse(fault, path, "is not a program that root alone can write");
	int copy = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | EXECUTABLE);
	if (copy < 0 && errno == EINVAL) /* Linux before 6.3 */
		copy = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	must(copy >= 0, "memfd_create");
	must(sendfile(copy, from, NULL, (size_t)file.st_size) == file.st_size, "sendfile");
	must(fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0, "seal");
	void *bytes = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, copy, 0);
	must(bytes != MAP_FAILED, "mmap");
	sha256(bytes, (size_t)file.st_size, actual);
	if (memcmp(actual, digest, sizeof actual) != 0)
		refuse(fault, path, "differs from what was authorized; diaper wrap add authorizes it anew");
	must(munmap(bytes, (size_t)file.st_size) == 0 && close(from) == 0, "close");
	return copy;
}

/* The delegate's channel, with the ticket left in it for the agent; -1 when nobody listens. */
static int take_ticket(int program) {
	union {
		struct wire_verdict_message verdict;
		struct wire_ticket ticket;
	} answer = {0};
	int channel = open_channel(WIRE_FAULT_NONE, program);
	ssize_t n = channel < 0 ? -1 : recv(channel, &answer, sizeof answer, MSG_PEEK);
	if (n == sizeof answer.ticket && answer.verdict.header.type == WIRE_TICKET)
		return channel;
	answer.verdict.reason[sizeof answer.verdict.reason - 1] = '\0';
	if (n == sizeof answer.verdict && answer.verdict.header.type == WIRE_VERDICT)
		refuse(WIRE_FAULT_NONE, record.path, answer.verdict.reason);
	dprintf(STDERR_FILENO, "diaper-wrapper: %s: no answer; %s runs without pinholes\n", record.socket,
	        record.target);
	if (channel >= 0)
		close(channel);
	return -1;
}

static void drop_rights(void) {
	struct __user_cap_header_struct version = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};
	uid_t user = getuid();
	must(setrlimit(RLIMIT_CORE, &(struct rlimit){0}) == 0, "setrlimit");
	must(setresgid(getgid(), getgid(), getgid()) == 0 && setresuid(user, user, user) == 0, "setresuid");
	must(syscall(SYS_capset, &version, none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "capset");
	/* For good: there is nothing to come back to. */
	must(geteuid() == user && seteuid(record.uid) != 0, "rights were not dropped");
}

/* io_uring would bind unseen by the agent. Its numbers are the same on every architecture. */
static void refuse_io_uring(void) {
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xbfffffff), /* x32 has bit 30 */
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_register + 1, 1, 0),
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};
	struct sock_fprog filter = {sizeof code / sizeof *code, code};
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "PR_SET_SECCOMP");
}

static char **clean_environment(int channel) {
	static char *entries[64] = {"PATH=/usr/local/bin:/usr/bin:/bin"}, socket_name[128], number[32];
	size_t used = 1;
	if (channel >= 0) {
		snprintf(socket_name, sizeof socket_name, "DIAPER_SOCKET=%s", record.socket);
		snprintf(number, sizeof number, "DIAPER_WRAPPER_FD=%d", channel);
		entries[used++] = socket_name, entries[used++] = number;
	}
	for (char **entry = environ; *entry != NULL; entry++)
		for (size_t i = 0; i < sizeof ALLOWED / sizeof *ALLOWED && used < 63; i++)
			if (strncmp(*entry, ALLOWED[i], strlen(ALLOWED[i])) == 0)
				entries[used++] = *entry;
	return entries;
}

int main(int argc, char **argv) {
	/* musl has made sure that 0, 1 and 2 are open; nothing else of the caller's goes in. */
	must(argc > 0 && syscall(SYS_close_range, 3, ~0U, 0) == 0, "close_range");
	check_installation();
	close(checked_copy(record.agent, record.agent_digest, WIRE_FAULT_AGENT));
	close(checked_copy(record.target, record.target_digest, WIRE_FAULT_TARGET));
	int program = checked_copy(record.program, record.program_digest, WIRE_FAULT_TARGET);
	must(fchmod(program, 0511) == 0, "fchmod");
	int channel = take_ticket(program);
	drop_rights();
	refuse_io_uring();
	fexecve(program, argv, clean_environment(channel));
	refuse(WIRE_FAULT_NONE, record.target, strerror(errno));
}
