/* What somebody without a wrapper may try on the broker and on a wrapped client. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../agent/preload/wire.h"

static int connect_to(const char *path, int type) {
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type, 0);
	strncpy(name.sun_path, path, sizeof name.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&name, sizeof name) != 0)
		perror("connect");
	return fd;
}

static struct wire_header header(int type, size_t length) {
	return (struct wire_header){.magic = WIRE_MAGIC, .type = (uint16_t)type, .length = (uint16_t)length};
}

/* With one descriptor, or with two. */
static void send_with(int fd, const void *message, size_t length, int first, int second) {
	struct iovec data = {(void *)(uintptr_t)message, length};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr out = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
	                     .msg_controllen = sizeof control};
	control.header.cmsg_len = CMSG_LEN((second < 0 ? 1 : 2) * sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.header), (int[]){first, second}, 2 * sizeof(int));
	if (sendmsg(fd, &out, MSG_NOSIGNAL) < 0)
		perror("sendmsg");
}

static void show_answer(int fd) {
	struct wire_verdict_message answer = {0};
	ssize_t n = recv(fd, &answer, sizeof answer, 0);
	if (n <= 0)
		puts("closed");
	else if (answer.header.type == WIRE_VERDICT)
		printf("verdict %u %.160s\n", answer.verdict, answer.reason);
	else
		printf("answer of type %x\n", answer.header.type);
	fflush(stdout);
}

static int bound_socket(int port) {
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
	                           .sin_addr.s_addr = htonl(0x0a4d0001)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return bind(fd, (struct sockaddr *)&name, sizeof name) == 0 ? fd : -1;
}

static struct wire_open open_message(int type) {
	struct wire_open open = {.header = header(type, sizeof open), .source_family = 4};
	memcpy(open.source, (uint8_t[]){10, 77, 0, 9}, 4);
	return open;
}

static void ask(int channel, int fd) {
	struct wire_open open = open_message(WIRE_OPEN);
	send_with(channel, &open, sizeof open, fd, -1);
	show_answer(channel);
}

/* Takes a channel that a client gave away, and asks over it, or over a new one made by it. */
static void be_friend(const char *path, const char *how) {
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(name.sun_path, path, sizeof name.sun_path - 1);
	if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 1) != 0)
		perror("listen");
	puts("ready");
	fflush(stdout);
	char byte;
	struct iovec data = {&byte, 1};
	char space[CMSG_SPACE(sizeof(int))];
	struct msghdr in = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space,
	                    .msg_controllen = sizeof space};
	int channel = -1, ends[2];
	if (recvmsg(accept(listener, NULL, NULL), &in, 0) == 1 && CMSG_FIRSTHDR(&in) != NULL)
		memcpy(&channel, CMSG_DATA(CMSG_FIRSTHDR(&in)), sizeof channel);
	printf("got %d\n", channel >= 0);
	if (strcmp(how, "ask") == 0) {
		ask(channel, bound_socket(0));
	} else {
		struct wire_open first = open_message(WIRE_CHANNEL);
		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0)
			perror("socketpair");
		setsockopt(ends[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
		send_with(channel, &first, sizeof first, ends[1], bound_socket(0));
		close(ends[1]);
		show_answer(ends[0]);
	}
}

/* Runs a program traced; its exit code is ours. */
static int run_traced(char **command) {
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		execv(command[0], command);
		_exit(2);
	}
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		ptrace(PTRACE_CONT, pid, NULL, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

static void attack_process(pid_t pid) {
	char path[64];
	long traced = ptrace(PTRACE_ATTACH, pid, NULL, NULL);
	printf("ptrace %ld %s\n", traced, traced == 0 ? "" : strerrorname_np(errno));
	if (traced == 0) {
		waitpid(pid, NULL, 0);
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
	}
	for (const char **file = (const char *[]){"mem", "environ", "maps", "fd", "exe", NULL}; *file; file++) {
		snprintf(path, sizeof path, "/proc/%d/%s", pid, *file);
		printf("%s %s\n", *file, open(path, O_RDONLY) < 0 ? strerrorname_np(errno) : "open");
	}
	int handle = (int)syscall(SYS_pidfd_open, pid, 0);
	long fd = -1;
	for (int i = 3; i < 1024 && fd < 0; i++)
		fd = syscall(SYS_pidfd_getfd, handle, i, 0);
	printf("pidfd_getfd %s\n", fd < 0 ? strerrorname_np(errno) : "taken");
}

int main(int argc, char **argv) {
	if (argc > 2 && strcmp(argv[1], "wrap") == 0) {
		struct wire_wrap wrap = {.header = header(WIRE_WRAP, sizeof wrap), .version = 1};
		int fd = connect_to(argv[2], SOCK_SEQPACKET);
		send(fd, &wrap, sizeof wrap, 0);
		show_answer(fd);
	} else if (argc > 3 && strcmp(argv[1], "join") == 0) {
		struct wire_join join = {.header = header(WIRE_JOIN, sizeof join)};
		int fd = connect_to(argv[2], SOCK_SEQPACKET);
		for (size_t i = 0; i < sizeof join.ticket; i++)
			sscanf(argv[3] + 2 * i, "%2hhx", &join.ticket[i]);
		send(fd, &join, sizeof join, 0);
		show_answer(fd);
	} else if (argc > 3 && strcmp(argv[1], "hello") == 0) {
		struct wire_hello hello = {.header = header(WIRE_HELLO, sizeof hello), .version = 1};
		int fd = connect_to(argv[2], SOCK_SEQPACKET);
		strncpy(hello.delegate, argv[3], sizeof hello.delegate - 1);
		send(fd, &hello, sizeof hello, 0);
		show_answer(fd);
	} else if (argc > 3 && strcmp(argv[1], "friend") == 0) {
		be_friend(argv[2], argv[3]);
	} else if (argc > 2 && strcmp(argv[1], "trace") == 0) {
		return run_traced(argv + 2);
	} else if (argc > 2 && strcmp(argv[1], "bind") == 0) {
		int fd = bound_socket(atoi(argv[2]));
		printf("bind %s\n", fd < 0 ? strerrorname_np(errno) : "done");
	} else if (argc > 3 && strcmp(argv[1], "own") == 0) {
		struct wire_hello hello = {.header = header(WIRE_HELLO, sizeof hello), .version = 1};
		struct wire_verdict_message verdict;
		int fd = connect_to(argv[2], SOCK_SEQPACKET);
		send(fd, &hello, sizeof hello, 0);
		if (recv(fd, &verdict, sizeof verdict, 0) == sizeof verdict)
			ask(fd, bound_socket(atoi(argv[3])));
	} else if (argc > 2 && strcmp(argv[1], "process") == 0) {
		attack_process(atoi(argv[2]));
	} else {
		return 2;
	}
	return 0;
}
