/* Duplicates, and programs that close everything there is. */
#include "hazard.h"

#include <dirent.h>
#include <sys/resource.h>

HAZARD(dup) {
	(void)count, (void)arguments;
	int listener = listening(HOST, CONTROL_PORT);
	int copy = (int)show("dup", dup(listener));
	show("close", close(listener));
	show("dup2", dup2(copy, 20));
	show("dup3", dup3(20, 21, O_CLOEXEC));
	show("flags", fcntl(21, F_GETFD));
	show("dup2 same", dup2(21, 21));
	show("dup3 same", dup3(21, 21, 0));
	show("dup2 bad", dup2(555, 22));
	show("F_DUPFD", fcntl(21, F_DUPFD, 30));
	show("F_DUPFD_CLOEXEC", fcntl(30, F_DUPFD_CLOEXEC, 40));
	close(copy), close(20), close(21), close(30);
	int client = connected("10.77.0.2", HOST, CONTROL_PORT);
	int fd = (int)show("accept", accept(40, NULL, NULL));
	show("close control", close(fd));
	show("close client", close(client));
	show("double close", close(client));
	auxiliary("aux", 3001);
	return 0;
}

/* Bound before there is a peer, then known by its duplicate alone: asked for once. */
HAZARD(dup_pending) {
	(void)count, (void)arguments;
	int listener = listening(HOST, CONTROL_PORT);
	int early = bound(SOCK_STREAM, HOST, 3002);
	int copy = dup(early);
	int third = dup(copy);
	close(early);
	connected("10.77.0.2", HOST, CONTROL_PORT);
	show("accept", accept(listener, NULL, NULL));
	show("listen", listen(copy, 1));
	show("close", close(third));
	return 0;
}

static void close_loop(void) {
	for (int fd = 3; fd < 1100; fd++)
		close(fd);
}

static void close_raw_loop(void) {
	for (int fd = 3; fd < 1100; fd++)
		syscall(SYS_close, fd);
}

static void close_listed(void) {
	int numbers[256];
	int found = 0;
	DIR *directory = opendir("/proc/self/fd");
	if (directory == NULL)
		must("opendir", -1);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL && found < 256;)
		if (atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(directory))
			numbers[found++] = atoi(entry->d_name);
	closedir(directory);
	while (found-- > 0)
		close(numbers[found]);
}

static void dup2_loop(void) {
	int null = must("open", open("/dev/null", O_RDWR));
	for (int fd = 3; fd < 1024; fd++)
		dup2(null, fd);
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
}

/* The number of descriptors that are open as far as the program can see. */
static long visible(void) {
	long open = 0;
	for (int fd = 0; fd < 1100; fd++)
		open += fcntl(fd, F_GETFD) >= 0;
	return open;
}

HAZARD(close_all) {
	const char *how = count > 0 ? arguments[0] : "loop";
	close_loop();
	int fd = control_from("10.77.0.2", NULL, NULL);
	show("control", fd);
	show("visible", visible());
	if (strcmp(how, "loop") == 0)
		close_loop();
	else if (strcmp(how, "raw") == 0)
		close_raw_loop();
	else if (strcmp(how, "close_range") == 0)
		show("close_range", syscall(SYS_close_range, 3, ~0u, 0));
	else if (strcmp(how, "listed") == 0)
		close_listed();
	else if (strcmp(how, "dup2") == 0)
		dup2_loop();
#ifdef __GLIBC__
	else if (strcmp(how, "closefrom") == 0)
		closefrom(3);
	else if (strcmp(how, "libc_close_range") == 0)
		show("close_range", close_range(3, ~0u, 0));
#endif
	else
		return 2;
	show("visible", visible());
	show("bad range", syscall(SYS_close_range, 9, 8, 0));
	show("bad flags", syscall(SYS_close_range, 2000, 3000, 64));
	show("bad flags on one", syscall(SYS_close_range, 960, 960, 64));
	auxiliary("aux", 3003);
	return 0;
}

/* fclose closes inside libc; the number then belongs to something else. */
HAZARD(fclose) {
	(void)count, (void)arguments;
	int listener;
	int control = control_from("10.77.0.2", NULL, &listener);
	int aux = bound(SOCK_STREAM, HOST, 3004);
	FILE *stream = fdopen(aux, "r+");
	show("fclose", fclose(stream));
	stream = fdopen(listener, "r+");
	show("fclose listener", fclose(stream));
	show("again", bound(SOCK_STREAM, HOST, 3005));
	show("unix", socket(AF_UNIX, SOCK_STREAM, 0));
	show("control", control);
	return 0;
}

/* Bound before there is a peer, closed inside libc, and the number used for something local. */
HAZARD(early_reuse) {
	(void)count, (void)arguments;
	int listener = listening(HOST, CONTROL_PORT);
	int early = bound(SOCK_STREAM, HOST, 3007);
	show("fclose", fclose(fdopen(early, "r+")));
	show("again", bound(SOCK_STREAM, "127.0.0.1", 3008) == early);
	connected("10.77.0.2", HOST, CONTROL_PORT);
	show("accept", accept(listener, NULL, NULL));
	return 0;
}

/* Few numbers: the agent has to make do with low ones. */
HAZARD(small_limit) {
	(void)count, (void)arguments;
	struct rlimit limit = {.rlim_cur = 16, .rlim_max = 16};
	must("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
	control_from("10.77.0.2", NULL, NULL);
	pid_t child = fork();
	if (child == 0) {
		auxiliary("aux", 3006);
		exit(0);
	}
	reap("child", child);
	return 0;
}
