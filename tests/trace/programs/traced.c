/*
 * A server that is hard on a supervisor of its system calls. Linked statically, so that nothing but the
 * kernel sees what it does.
 *
 *   traced ADDRESS calls             what calls return, line by line
 *   traced ADDRESS uring             what io_uring_setup returns
 *   traced ADDRESS storm COUNT       binds while a timer interrupts
 *   traced ADDRESS race COUNT        binds while another thread changes address and descriptor
 *   traced ADDRESS threads COUNT     binds in 16 threads at once
 *   traced ADDRESS hold              one auxiliary port, then waits for SIGKILL
 *   traced ADDRESS wait              each line of input is a number of binds to make
 *   traced ADDRESS session           two processes, one for each of two connections
 *   traced ADDRESS client HOST PORT  connects, and listens without bind
 *   traced ADDRESS privileged        one port below 1024
 *
 * All but uring, client and privileged listen on CONTROL-PORT first, print "ready" on stderr, and wait
 * for one connection (session: two).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONTROL_PORT 2121

static struct sockaddr_in host;

static void die(const char *what)
{
	fprintf(stderr, "traced: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int must(const char *what, int result)
{
	if (result < 0)
		die(what);
	return result;
}

static void show(const char *what, int result)
{
	int error = errno;

	printf("%s: %d%s%s\n", what, result < 0 ? -1 : 0, result < 0 ? " " : "",
	       result < 0 ? strerror(error) : "");
}

static struct sockaddr_in at(int port)
{
	struct sockaddr_in address = host;

	address.sin_port = htons((uint16_t)port);
	return address;
}

static int tcp(void)
{
	return must("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int bind_port(int fd, int port)
{
	struct sockaddr_in address = at(port);

	return bind(fd, (struct sockaddr *)&address, sizeof address);
}

static int port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;

	if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
		return -1;
	return ntohs(address.sin_port);
}

static int control(void)
{
	int one = 1, fd = tcp();

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	must("bind control", bind_port(fd, CONTROL_PORT));
	must("listen control", listen(fd, 8));
	fprintf(stderr, "ready\n");
	return fd;
}

static int open_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	while (directory != NULL && readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count - 3;
}

static void errors(void)
{
	struct sockaddr_in address = at(0);
	struct sockaddr *any = (struct sockaddr *)&address;
	int fd = tcp(), pipes[2];

	must("pipe", pipe(pipes));
	show("bind of no descriptor", bind(777, any, sizeof address));
	show("bind of -1", bind(-1, any, sizeof address));
	show("bind of a pipe", bind(pipes[0], any, sizeof address));
	show("listen on a pipe", listen(pipes[0], 1));
	show("listen on no descriptor", listen(777, 1));
	show("bind to a bad pointer", bind(fd, (struct sockaddr *)8, sizeof address));
	show("bind to NULL", bind(fd, NULL, sizeof address));
	show("bind with length -1", bind(fd, any, (socklen_t)-1));
	show("bind with length 0", bind(fd, any, 0));
	show("bind with length 1", bind(fd, any, 1));
	show("bind with length 129", bind(fd, any, 129));
	show("bind with length 16 at the end of memory", syscall(SYS_bind, fd, (1L << 47) - 4096 - 8, 16));
	address.sin_family = AF_INET6;
	show("bind of another family", bind(fd, any, sizeof address));
	address = at(0);
	address.sin_addr.s_addr = inet_addr("192.0.2.99");
	show("bind of a foreign address", bind(fd, any, sizeof address));
	show("bind of a port in use", bind_port(fd, CONTROL_PORT));
	show("bind", bind_port(fd, 0));
	show("bind again", bind_port(fd, 0));
	show("bind of a privileged port", bind_port(tcp(), 80));
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
}

static void families(void)
{
	struct sockaddr_un path = {.sun_family = AF_UNIX};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct sockaddr_in loopback = {.sin_family = AF_INET};
	int fd = must("socket", socket(AF_UNIX, SOCK_STREAM, 0));

	snprintf(path.sun_path + 1, sizeof path.sun_path - 1, "traced-%d", getpid());
	show("bind AF_UNIX", bind(fd, (struct sockaddr *)&path, sizeof path));
	show("listen AF_UNIX", listen(fd, 1));
	close(fd);
	fd = must("socket", socket(AF_INET6, SOCK_STREAM, 0));
	show("bind AF_INET6", bind(fd, (struct sockaddr *)&six, sizeof six));
	show("listen AF_INET6", listen(fd, 1));
	close(fd);
	fd = must("socket", socket(AF_INET, SOCK_DGRAM, 0));
	show("bind UDP", bind_port(fd, 3001));
	show("listen UDP", listen(fd, 1));
	close(fd);
	loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = tcp();
	show("bind loopback", bind(fd, (struct sockaddr *)&loopback, sizeof loopback));
	close(fd);
	fd = tcp();
	show("listen without bind", listen(fd, 1));
	show("its port", port_of(fd) > 0 ? 0 : -1);
	show("listen twice", listen(fd, 5));
	close(fd);
}

static void state(void)
{
	sigset_t mask;
	int fd = tcp(), copy = dup(fd), before, status;
	pid_t child;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	before = open_descriptors();
	show("bind 3002", bind_port(fd, 3002));
	printf("descriptors: %d more\n", open_descriptors() - before);
	printf("flags %x of the duplicate, cloexec %d\n", (unsigned)fcntl(copy, F_GETFL),
	       fcntl(fd, F_GETFD));
	printf("port of the duplicate: %d\n", port_of(copy));
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int i = 1; i < 64; i++)
		if (sigismember(&mask, i) == 1)
			printf("signal %d is blocked\n", i);
	show("wait without a child", waitpid(-1, &status, 0));
	child = must("fork", fork());
	if (child == 0) {
		show("bind 3003 in a child", bind_port(tcp(), 3003));
		fflush(stdout);
		_exit(port_of(copy) == 3002 ? 5 : 6);
	}
	must("waitpid", waitpid(child, &status, 0));
	printf("child: %d\n", WEXITSTATUS(status));
	if (vfork() == 0) {
		bind_port(copy, 3004);
		_exit(0);
	}
	wait(&status);
	close(fd);
	show("bind 3002 of a closed descriptor", bind_port(fd, 3002));
	close(copy);
	show("bind 3002 when it is free again", bind_port(tcp(), 3002));
}

static volatile sig_atomic_t ticks;

static void tick(int number)
{
	(void)number;
	ticks++;
}

/* What an interrupted bind left undone can be done again, and what it did is never told as undone. */
static void storm(long count)
{
	struct sigaction action = {.sa_handler = tick};
	struct itimerval every = {{0, 97}, {0, 97}}, never = {{0, 0}, {0, 0}};
	long interrupted = 0, wrong = 0;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (long i = 0; i < count; i++) {
		int fd = tcp();

		while (bind_port(fd, 0) != 0) {
			if (errno != EINTR) {
				wrong++;
				break;
			}
			interrupted++;
		}
		if (port_of(fd) <= 0)
			wrong++;
		close(fd);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	printf("{\"binds\":%ld,\"interrupted\":%ld,\"wrong\":%ld,\"ticks\":%d}\n", count, interrupted, wrong,
	       (int)ticks);
}

static struct sockaddr_in raced;
static atomic_bool stop_race, race_on;
static int raced_fd, other_fd;

static void *change(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !stop_race; i++) {
		*(volatile uint16_t *)&raced.sin_port = htons((i & 1) != 0 ? 40000 : 50000);
		if ((i & 7) == 0)
			dup2(other_fd, raced_fd);
		race_on = true;
	}
	return NULL;
}

/* Prints the ports that were really bound; every pinhole must be for one of them. */
static void race(long count)
{
	int one = 1;

	for (long i = 0; i < count; i++) {
		pthread_t thread;
		int mine = tcp(), result;

		raced_fd = dup(mine);
		other_fd = tcp();
		setsockopt(mine, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		setsockopt(other_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		raced = at(40000);
		stop_race = race_on = false;
		if (pthread_create(&thread, NULL, change, NULL) != 0)
			die("pthread_create");
		while (!race_on)
			;
		result = bind(raced_fd, (struct sockaddr *)&raced, sizeof raced);
		stop_race = true;
		pthread_join(thread, NULL);
		printf("%d %d %d\n", result, port_of(mine), port_of(other_fd));
		close(mine);
		close(raced_fd);
		close(other_fd);
	}
}

static atomic_int bound, failed;

static void *binder(void *count)
{
	for (long i = 0; i < (long)(intptr_t)count; i++) {
		int fd = tcp();

		if (bind_port(fd, 0) == 0 && listen(fd, 1) == 0 && port_of(fd) > 0)
			bound++;
		else
			failed++;
		close(fd);
	}
	return NULL;
}

static void threads(long count)
{
	pthread_t thread[16];

	for (int i = 0; i < 16; i++)
		if (pthread_create(&thread[i], NULL, binder, (void *)(intptr_t)(count / 16)) != 0)
			die("pthread_create");
	for (int i = 0; i < 16; i++)
		pthread_join(thread[i], NULL);
	printf("{\"bound\":%d,\"failed\":%d}\n", (int)bound, (int)failed);
}

static void hold(void)
{
	int fd = tcp();

	show("bind", bind_port(fd, 3010));
	fflush(stdout);
	for (;;)
		pause();
}

static void wait_for_lines(void)
{
	char line[16];

	while (fgets(line, sizeof line, stdin) != NULL) {
		for (int i = atoi(line); i > 0; i--) {
			int fd = tcp();

			show("bind", bind_port(fd, 0));
		}
		fflush(stdout);
	}
}

static void session(int listener)
{
	for (int i = 0; i < 2; i++) {
		int fd = must("accept", accept(listener, NULL, NULL));

		if (must("fork", fork()) == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(listener);
			show("bind", bind_port(tcp(), 3020 + i));
			fflush(stdout);
			pause();
		}
		if (i == 0)
			close(fd);
	}
	/* Holds the second connection alone. */
	show("bind", bind_port(tcp(), 3022));
	fflush(stdout);
	pause();
}

static void client(const char *name, const char *port)
{
	struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = tcp(), data = tcp();

	inet_pton(AF_INET, name, &server.sin_addr);
	must("connect", connect(fd, (struct sockaddr *)&server, sizeof server));
	show("listen", listen(data, 1));
	printf("port %d\n", port_of(data));
	fflush(stdout);
	pause();
}

int main(int argc, char **argv)
{
	long count = argc > 3 ? atol(argv[3]) : 0;
	const char *mode = argc > 2 ? argv[2] : "";
	int listener;

	if (argc < 3 || inet_pton(AF_INET, argv[1], &host.sin_addr) != 1) {
		fprintf(stderr, "usage: traced ADDRESS MODE [ARGUMENT...]\n");
		return 2;
	}
	host.sin_family = AF_INET;
	if (strcmp(mode, "uring") == 0) {
		char parameters[120] = {0};

		show("io_uring_setup", (int)syscall(425, 4, parameters));
		return 0;
	}
	if (strcmp(mode, "privileged") == 0) {
		int fd = tcp();

		show("bind 81", bind_port(fd, 81));
		printf("port %d\n", port_of(fd));
		return 0;
	}
	if (strcmp(mode, "client") == 0 && argc > 4)
		client(argv[3], argv[4]);
	listener = control();
	if (strcmp(mode, "session") == 0)
		session(listener);
	must("accept", accept(listener, NULL, NULL));
	if (strcmp(mode, "calls") == 0) {
		errors();
		families();
		state();
	} else if (strcmp(mode, "storm") == 0) {
		storm(count);
	} else if (strcmp(mode, "race") == 0) {
		race(count);
	} else if (strcmp(mode, "threads") == 0) {
		threads(count);
	} else if (strcmp(mode, "hold") == 0) {
		hold();
	} else if (strcmp(mode, "wait") == 0) {
		wait_for_lines();
	}
	return 0;
}
