/* A client that a wrapper starts: does what its first argument says. Lines go to standard output. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_in inet(const char *address, int port) {
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	inet_pton(AF_INET, address, &name.sin_addr);
	return name;
}

/* A control connection to an outside host, then a port for its auxiliary one. */
static void ask(void) {
	struct sockaddr_in outside = inet("10.77.0.9", 2121), inside = inet("10.77.0.1", 0);
	socklen_t length = sizeof inside;
	int control = socket(AF_INET, SOCK_STREAM, 0);
	int data = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(control, (struct sockaddr *)&inside, sizeof inside) != 0 ||
	    connect(control, (struct sockaddr *)&outside, sizeof outside) != 0)
		perror("connect");
	int bound = bind(data, (struct sockaddr *)&inside, sizeof inside);
	getsockname(data, (struct sockaddr *)&inside, &length);
	printf("bind %d port %d\n", bound, ntohs(inside.sin_port));
}

static void show_rights(void) {
	uid_t r, e, s;
	gid_t rg, eg, sg;
	char link[64] = "";
	getresuid(&r, &e, &s);
	getresgid(&rg, &eg, &sg);
	printf("uids %u %u %u gids %u %u %u\n", r, e, s, rg, eg, sg);
	printf("dumpable %d no_new_privs %d\n", prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	long ring = syscall(425, 1, NULL);
	printf("io_uring %ld %s\n", ring, ring >= 0 ? "made" : errno == ENOSYS ? "ENOSYS" : "other");
	printf("readable %d\n", access("/proc/self/exe", R_OK));
	printf("exe %zd\n", readlink("/proc/self/exe", link, sizeof link));
}

/* What a server does that root has started: puts on a user's rights, and asks. */
static void drop(const char *how, uid_t user) {
	int result = -1;
	if (setegid(user) != 0)
		perror("setegid");
	if (strcmp(how, "setuid") == 0)
		result = setuid(user);
	else if (strcmp(how, "seteuid") == 0)
		result = seteuid(user);
	else if (strcmp(how, "setreuid") == 0)
		result = setreuid((uid_t)-1, user);
	else if (strcmp(how, "setresuid") == 0)
		result = setresuid(user, user, user);
	else if (strcmp(how, "setresuid-saved") == 0)
		result = setresuid(user, user, 0);
	printf("%s %d\n", how, result);
	ask();
	if (strcmp(how, "seteuid") == 0) {
		printf("back %d\n", seteuid(0));
		ask();
	}
}

static int is_channel(int fd) {
	int type = 0, domain = 0;
	socklen_t length = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET &&
	       getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

/* Hands the agent's channel to whoever listens at a path. */
static void leak(const char *path) {
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	strncpy(name.sun_path, path, sizeof name.sun_path - 1);
	int to = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(to, (struct sockaddr *)&name, sizeof name) != 0)
		perror("connect");
	for (int fd = 3; fd < 65536; fd++) {
		if (!is_channel(fd))
			continue;
		char byte = 0;
		struct iovec data = {&byte, 1};
		union {
			struct cmsghdr header;
			char space[CMSG_SPACE(sizeof(int))];
		} control = {0};
		struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
		                         .msg_controllen = sizeof control};
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
		printf("leaked %zd\n", sendmsg(to, &message, 0));
		break;
	}
	fflush(stdout);
	while (read(to, &(char){0}, 1) > 0)
		;
}

int main(int argc, char **argv) {
	const char *what = argc > 1 ? argv[1] : "";
	printf("started as %s\n", argv[0]);
	if (strcmp(what, "ask") == 0)
		ask();
	else if (strcmp(what, "fork") == 0) {
		fflush(stdout);
		if (fork() == 0)
			return ask(), fflush(stdout), 0;
	} else if (strcmp(what, "drop") == 0)
		drop(argv[2], (uid_t)atoi(argv[3]));
	else if (strcmp(what, "rights") == 0)
		show_rights();
	else if (strcmp(what, "crash") == 0)
		fflush(stdout), abort();
	else if (strcmp(what, "leak") == 0)
		leak(argv[2]);
	else if (strcmp(what, "load") == 0)
		for (char **name = argv + 2; *name != NULL; name++)
			printf("load %s\n", dlopen(*name, RTLD_NOW) != NULL ? "done" : dlerror());
	else if (strcmp(what, "shell") == 0)
		fflush(stdout), printf("shell %d\n", system(argv[2]));
	else if (strcmp(what, "replace") == 0)
		fflush(stdout), execv(argv[2], argv + 2);
	else if (strcmp(what, "environment") == 0)
		for (char **entry = environ; *entry != NULL; entry++)
			puts(*entry);
	fflush(stdout);
	while (read(0, &(char){0}, 1) > 0)
		;
	return 0;
}
