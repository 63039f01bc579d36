/* Every way to make a process. */
#include "hazard.h"

#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/un.h>

#include "../../../agent/preload/wire.h"

extern char **environ;

static pid_t start(const char *how) {
	if (strcmp(how, "clone") == 0)
		return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (strcmp(how, "clone_newipc") == 0)
		return (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWIPC, NULL, NULL, NULL, NULL);
#ifdef __GLIBC__
	if (strcmp(how, "_Fork") == 0)
		return _Fork();
#endif
	return fork();
}

/* The session of a server, in a process made in this way. */
HAZARD(process) {
	const char *how = count > 0 ? arguments[0] : "fork";
	int listener;
	int client;
	int control = control_from("10.77.0.2", &client, &listener);
	auxiliary("parent before", 3010);
	pid_t child = start(how);
	if (child == 0) {
		close(listener);
		close(control);
		auxiliary("child", 3011);
		pid_t grandchild = start(how);
		if (grandchild == 0) {
			auxiliary("grandchild", 3012);
			_exit(3);
		}
		reap("grandchild", grandchild);
		auxiliary("child again", 3013);
		_exit(4);
	}
	reap("child", child);
	auxiliary("parent after", 3014);
	return 0;
}

/* A server that never touches the control connection of a session, and has two. */
HAZARD(two_sessions) {
	(void)count, (void)arguments;
	int listener = listening(HOST, CONTROL_PORT);
	for (int i = 0; i < 2; i++) {
		const char *source = i == 0 ? "10.77.0.2" : "10.77.0.3";
		connected(source, HOST, CONTROL_PORT);
		int control = must("accept", accept(listener, NULL, NULL));
		pid_t child = fork();
		if (child == 0) {
			close(control);
			auxiliary(source, 3020 + i);
			_exit(0);
		}
		close(control);
		reap("session", child);
	}
	return 0;
}

HAZARD(daemon) {
	(void)count, (void)arguments;
	int report[2];
	char done;
	must("pipe", pipe(report));
	control_from("10.77.0.2", NULL, NULL);
	pid_t child = fork();
	if (child == 0) {
		close(report[0]);
		if (daemon(1, 1) != 0)
			_exit(1);
		auxiliary("daemon", 3015);
		_exit(write(report[1], "x", 1) == 1 ? 0 : 1);
	}
	close(report[1]);
	show("daemon done", read(report[0], &done, 1));
	reap("child", child);
	return 0;
}

/* A child of vfork closes and duplicates before exec: the parent must not notice. */
HAZARD(vfork) {
	(void)count, (void)arguments;
	int listener;
	control_from("10.77.0.2", NULL, &listener);
	pid_t child = vfork();
	if (child == 0) {
		close(listener);
		dup2(1, listener);
		close(listener);
		syscall(SYS_close_range, 3, ~0u, 0);
		_exit(5);
	}
	reap("vfork", child);
	connected("10.77.0.3", HOST, CONTROL_PORT);
	show("accept", accept(listener, NULL, NULL));
	auxiliary("parent", 3016);
	return 0;
}

/* The same with what cannot be learned again from the next call: a UDP control port. */
HAZARD(vfork_udp) {
	(void)count, (void)arguments;
	char byte;
	int control = bound(SOCK_DGRAM, HOST, 6969);
	pid_t child = vfork();
	if (child == 0) {
		close(control);
		dup2(1, control);
		syscall(SYS_close, control);
		syscall(SYS_close_range, 3, ~0u, 0);
		_exit(5);
	}
	reap("vfork", child);
	datagram_from("10.77.0.2", HOST, 6969);
	show("recv", recv(control, &byte, 1, 0));
	show("aux", bound(SOCK_DGRAM, HOST, 3032));
	return 0;
}

HAZARD(spawn) {
	(void)count, (void)arguments;
	pid_t child;
	posix_spawn_file_actions_t actions;
	char *command[] = {own_path, "say", "spawned", NULL};
	control_from("10.77.0.2", NULL, NULL);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, 1, 50);
	posix_spawn_file_actions_addclose(&actions, 50);
	int result = posix_spawn(&child, own_path, &actions, NULL, command, environ);
	reap("spawned", child);
	show("posix_spawn", result);
	auxiliary("parent", 3017);
	return 0;
}

HAZARD(say) {
	printf("says: %s\n", count > 0 ? arguments[0] : "");
	return 0;
}

/* A server that executes itself with the control connection as descriptor 0 (globus, inetd). */
HAZARD(exec) {
	(void)count, (void)arguments;
	int listener;
	int control = control_from("10.77.0.2", NULL, &listener);
	pid_t child = fork();
	if (child == 0) {
		dup2(control, 0);
		close(control);
		close(listener);
		execl(own_path, own_path, "session", (char *)NULL);
		_exit(127);
	}
	reap("session", child);
	return 0;
}

HAZARD(session) {
	(void)count, (void)arguments;
	auxiliary("session", 3018);
	return 0;
}

/*
 * A launcher hands over a channel that it has opened itself (DIAPER_FD), and keeps the path to
 * itself. Arguments: the agent, the broker's socket, and the hazard to run.
 */
HAZARD(handed) {
	struct wire_verdict_message verdict;
	struct wire_hello hello = {.header = {.magic = WIRE_MAGIC, .type = WIRE_HELLO,
	                                      .length = sizeof hello},
	                           .version = WIRE_VERSION, .delegate = "launcher"};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (count < 3 || strlen(arguments[1]) >= sizeof un.sun_path)
		return 2;
	strcpy(un.sun_path, arguments[1]);
	int fd = must("socket", socket(AF_UNIX, SOCK_SEQPACKET, 0));
	must("connect", connect(fd, (struct sockaddr *)&un, sizeof un));
	must("send", (int)send(fd, &hello, sizeof hello, 0));
	must("recv", (int)recv(fd, &verdict, sizeof verdict, 0));
	must("dup2", dup2(fd, 900));
	close(fd);
	setenv("DIAPER_FD", "900", 1);
	setenv("LD_PRELOAD", arguments[0], 1);
	arguments[1] = own_path;
	execv(own_path, arguments + 1);
	return 127;
}

/* A listener that a service manager has bound (LISTEN_FDS, inetd wait). */
HAZARD(activated) {
	(void)count, (void)arguments;
	int listener = listening(HOST, CONTROL_PORT);
	dup2(listener, 0);
	close(listener);
	execl(own_path, own_path, "activated_server", (char *)NULL);
	return 127;
}

HAZARD(activated_server) {
	(void)count, (void)arguments;
	connected("10.77.0.2", HOST, CONTROL_PORT);
	show("accept", accept(0, NULL, NULL));
	auxiliary("server", 3019);
	return 0;
}

/* What vsftpd does to its session: no path, no rights, no way back, another network. */
HAZARD(sandbox) {
	(void)count, (void)arguments;
	control_from("10.77.0.2", NULL, NULL);
	int before = must("socket", socket(AF_INET, SOCK_STREAM, 0));
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWIPC, NULL, NULL, NULL, NULL);
	if (child == 0) {
		must("chroot", chroot("/proc/self/fdinfo"));
		must("setgid", setgid(65534));
		must("setuid", setuid(65534));
		must("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		auxiliary("jailed", 3030);
		_exit(0);
	}
	reap("jailed", child);
	child = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWNET, NULL, NULL, NULL, NULL);
	if (child == 0) {
		struct any_address any = address_of(HOST, 3031);
		must("chroot", chroot("/proc/self/fdinfo"));
		must("setuid", setuid(65534));
		show("bind of the outer socket", bind(before, &any.address, any.length));
		_exit(0);
	}
	reap("other network", child);
	return 0;
}
