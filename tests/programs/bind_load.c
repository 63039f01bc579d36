/*
 * A server that asks for pinholes as fast as it can, to measure bind() as a program sees it.
 *
 *   bind_load ADDRESS CONTROL-PORT latency COUNT    one process binds COUNT times, one after the other
 *   bind_load ADDRESS CONTROL-PORT rounds COUNT     the same for each line that it reads, so that several
 *                                                   of these can be measured in turns
 *   bind_load ADDRESS CONTROL-PORT storm COUNT      COUNT processes bind once each, at the same moment;
 *                                                   each runs and has its socket before that
 *   bind_load ADDRESS CONTROL-PORT hold COUNT       like storm; the processes then live until killed
 *
 * Waits for one control connection first, whose far end is the host that the pinholes are for. Prints one
 * JSON line (a round): times of bind() in nanoseconds, and the time from the first start to the last end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in local;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bind_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* One timed bind to a port of the kernel's choice. */
static void bind_once(int fd, uint64_t *start, uint64_t *end)
{
	struct sockaddr_in address = local;

	address.sin_port = 0;
	*start = now();
	if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
		die("bind");
	*end = now();
}

static void await_control(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&local, sizeof local) != 0)
		die("bind control");
	if (listen(fd, 8) != 0)
		die("listen");
	fprintf(stderr, "ready\n");
	if (accept(fd, NULL, NULL) < 0)
		die("accept");
}

static void print(const char *mode, const uint64_t *times, long count, uint64_t wall)
{
	printf("{\"mode\":\"%s\",\"count\":%ld,\"wall_ns\":%llu,\"bind_ns\":[", mode, count,
	       (unsigned long long)wall);
	for (long i = 0; i < count; i++)
		printf("%s%llu", i == 0 ? "" : ",", (unsigned long long)times[i]);
	printf("]}\n");
	fflush(stdout);
}

static void latency(long count)
{
	uint64_t *times = calloc((size_t)count, sizeof *times), first = now();

	if (times == NULL)
		die("calloc");
	for (long i = 0; i < count; i++) {
		uint64_t start, end;
		int fd = new_socket();

		bind_once(fd, &start, &end);
		times[i] = end - start;
		close(fd);
	}
	print("latency", times, count, now() - first);
	free(times);
}

static void rounds(long count)
{
	int byte;

	while ((byte = getchar()) != EOF)
		if (byte == '\n')
			latency(count);
}

/* Where the processes of a storm leave their times, and how many of them are done. */
struct shared {
	_Atomic long done;
	uint64_t time[][2];
};

/*
 * Processes start together when the pipe that they all read is closed. The last one to be done says so, since
 * a parent that woke up for each would be measured as well.
 */
static void storm(long count, int hold)
{
	struct shared *shared = mmap(NULL, sizeof *shared + (size_t)count * 16,
				     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t *times = calloc((size_t)count, sizeof *times);
	uint64_t first = UINT64_MAX, last = 0;
	int start[2], done[2], ready[2];
	char byte;

	if (shared == MAP_FAILED || times == NULL || pipe(start) || pipe(done) || pipe(ready))
		die("setup");
	for (long i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid > 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(start[1]);
		int fd = new_socket();
		if (write(ready[1], "r", 1) != 1 || read(start[0], &byte, 1) != 0)
			_exit(1);
		bind_once(fd, &shared->time[i][0], &shared->time[i][1]);
		if (atomic_fetch_add(&shared->done, 1) + 1 == count && write(done[1], "d", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	for (long i = 0; i < count; i++)
		if (read(ready[0], &byte, 1) != 1)
			die("ready");
	close(start[0]);
	close(start[1]);
	if (read(done[0], &byte, 1) != 1)
		die("done");
	for (long i = 0; i < count; i++) {
		uint64_t began = shared->time[i][0], ended = shared->time[i][1];

		times[i] = ended - began;
		first = began < first ? began : first;
		last = ended > last ? ended : last;
	}
	print(hold ? "hold" : "storm", times, count, last - first);
	if (hold)
		pause();
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

int main(int argc, char **argv)
{
	long count = argc == 5 ? atol(argv[4]) : 0;

	if (count < 1 || inet_pton(AF_INET, argv[1], &local.sin_addr) != 1) {
		fprintf(stderr, "usage: bind_load ADDRESS CONTROL-PORT latency|rounds|storm|hold COUNT\n");
		return 2;
	}
	setpgid(0, 0);
	local.sin_family = AF_INET;
	local.sin_port = htons((uint16_t)atoi(argv[2]));
	await_control();
	if (strcmp(argv[3], "latency") == 0)
		latency(count);
	else if (strcmp(argv[3], "rounds") == 0)
		rounds(count);
	else
		storm(count, strcmp(argv[3], "hold") == 0);
	return 0;
}
