#include "supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker.h"
#include "call.h"
#include "filter.h"
#include "held.h"
#include "notice.h"
#include "rights.h"
#include "target.h"

#define LINK 3

static void say(enum supervisor_word word) {
	char byte = (char)word;
	if (send(LINK, &byte, 1, MSG_NOSIGNAL) != 1)
		_exit(1);
}

static _Noreturn void give_up(enum supervisor_word word) {
	say(word);
	_exit(1);
}

/*
 * Of what was inherited nothing stays but the link: a pipe kept open would keep its reader waiting.
 * The program's end ends us, and no signal meant for its group or terminal does.
 */
static void stand_alone(int link) {
	sigset_t all;
	struct rlimit limit;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (link != LINK && dup2(link, LINK) != LINK)
		_exit(1);
	fcntl(LINK, F_SETFD, FD_CLOEXEC);
	syscall(SYS_close_range, LINK + 1, ~0u, 0);
	int null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || chdir("/") != 0)
		give_up(SUPERVISOR_BROKEN);
	close(null);
	prctl(PR_SET_NAME, "diaper-trace", 0, 0, 0);
	/* The traced processes may be the same user's. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int receive_listener(void) {
	char byte;
	int fd = -1;
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof fd)];
	} control;
	struct msghdr message = {
	    .msg_iov = &data,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof control,
	};
	if (recvmsg(LINK, &message, MSG_CMSG_CLOEXEC) != 1 ||
	    message.msg_controllen < CMSG_LEN(sizeof fd) || control.header.cmsg_type != SCM_RIGHTS)
		_exit(0); /* the filter was not possible; the program's process says why */
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	return fd;
}

static bool can_look(pid_t program, int program_link) {
	struct target target;
	bool can = false;
	if (target_open(&target, program)) {
		int fd = target_descriptor(&target, program_link);
		can = fd >= 0;
		if (can)
			close(fd);
		target_close(&target);
	}
	return can;
}

static _Noreturn void serve(int listener) {
	for (;;) {
		/* A dead channel is looked at when it is needed next. */
		struct pollfd ready[] = {
		    {.fd = listener, .events = POLLIN},
		    {.fd = broker_fd(), .events = POLLIN},
		};
		if (poll(ready, 2, held_expire()) < 0)
			continue;
		if (ready[1].revents != 0 && !held_take_verdicts())
			held_ask_again();
		if ((ready[0].revents & POLLIN) != 0) {
			const struct seccomp_notif *notice = notice_take();
			if (notice != NULL)
				call_handle(notice);
		} else if ((ready[0].revents & (POLLHUP | POLLERR)) != 0) {
			_exit(0); /* nobody is traced any more */
		}
	}
}

_Noreturn void supervisor_run(int link, pid_t program, int program_link) {
	stand_alone(link);
	if (!broker_start())
		give_up(SUPERVISOR_NO_BROKER);
	say(SUPERVISOR_READY);
	int listener = receive_listener();
	if (!rights_reduce() || !notice_start(listener))
		give_up(SUPERVISOR_BROKEN);
	if (!can_look(program, program_link))
		give_up(SUPERVISOR_BLIND);
	call_start();
	if (filter_confine_supervisor() != 0)
		give_up(SUPERVISOR_BROKEN);
	say(SUPERVISOR_WATCHING);
	close(LINK);
	serve(listener);
}
