/*
 * Pinholes for programs that the preloaded agent cannot get into: static ones, those written in Go,
 * and all that make system calls by themselves.
 *
 *   diaper-trace --socket PATH [--delegate NAME] [--control PORTS] -- PROGRAM [ARGUMENT...]
 *
 * Starts a supervisor, which is no child of this process, installs a filter that has bind and listen
 * wait for it, and becomes the program. Started by `diaper run --trace seccomp`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "options.h"
#include "supervisor.h"

/* As lib/cli/exit.ts has them. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_PERMITTED = 5 };

static int fail(int code, const char *message, const char *next) {
	fprintf(stderr, "diaper: %s\n  next: %s\n", message, next);
	return code;
}

/* The program's process may wait for children of its own, and for no others. */
static bool start_supervisor(int ends[2]) {
	pid_t program = getpid();
	pid_t between = fork();
	if (between == 0) {
		/* Out of the way of signals to the program's group. Not to a session of its own, which the
		 * kernel would give a share of the processor of its own, and so longer waits (sched(7)). */
		setpgid(0, 0);
		pid_t supervisor = fork();
		if (supervisor != 0)
			_exit(supervisor < 0);
		supervisor_run(ends[1], program, ends[0]);
	}
	int status = 1;
	close(ends[1]);
	if (between < 0)
		return false;
	while (waitpid(between, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0;
}

static enum supervisor_word hear(int link) {
	char byte;
	ssize_t n;
	do
		n = recv(link, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1 ? (enum supervisor_word)byte : SUPERVISOR_BROKEN;
}

static bool hand_over(int link, int listener) {
	char byte = 'l';
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof listener)];
	} control;
	struct msghdr message = {
	    .msg_iov = &data,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof control,
	};
	memset(&control, 0, sizeof control);
	control.header.cmsg_len = CMSG_LEN(sizeof listener);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.header), &listener, sizeof listener);
	return sendmsg(link, &message, MSG_NOSIGNAL) == 1;
}

/* -1 with errno. Without the rights of root the kernel wants the program to give up setuid too. */
static int install(void) {
	int listener = filter_install();
	if (listener >= 0 || errno != EACCES)
		return listener;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? filter_install() : -1;
}

static int become_program(void) {
	execv(options.program, options.arguments);
	fprintf(stderr, "diaper: cannot run %s: %s\n  next: is it a program?\n", options.program,
	        strerror(errno));
	return EXIT_FAILED;
}

static int watch(int link) {
	int listener = install();
	if (listener < 0) {
		switch (errno) {
		case EBUSY:
			return fail(EXIT_FAILED, "somebody supervises this process's system calls already",
			            "start it outside of that container or of the other diaper run");
		case EINVAL:
		case ENOSYS:
			return fail(EXIT_FAILED, "this kernel has no user notification of Linux 5.19",
			            "use a newer kernel, or a dynamically linked program without --trace");
		default:
			return fail(EXIT_FAILED, strerror(errno), "is seccomp allowed here?");
		}
	}
	if (!hand_over(link, listener))
		return fail(EXIT_FAILED, "the supervisor is gone", "run it again; dmesg may say why");
	close(listener);
	switch (hear(link)) {
	case SUPERVISOR_WATCHING:
		close(link);
		return become_program();
	case SUPERVISOR_BLIND:
		return fail(EXIT_NOT_PERMITTED, "this account may not look into its own processes",
		            "run it as root, or set sysctl kernel.yama.ptrace_scope=0");
	default:
		return fail(EXIT_FAILED, "the supervisor cannot work here",
		            "is /proc mounted, and seccomp allowed?");
	}
}

int main(int argc, char **argv) {
	int ends[2];
	if (!options_read(argc, argv))
		return EXIT_USAGE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0 || !start_supervisor(ends))
		return fail(EXIT_FAILED, "cannot start a supervisor", "free some memory or processes");
	switch (hear(ends[0])) {
	case SUPERVISOR_READY:
		return watch(ends[0]);
	case SUPERVISOR_NO_BROKER:
		/* As with the agent: the program runs all the same, only without pinholes. */
		close(ends[0]);
		return become_program();
	default:
		return fail(EXIT_FAILED, "the supervisor cannot work here", "is /proc mounted?");
	}
}
