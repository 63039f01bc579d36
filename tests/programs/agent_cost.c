/*
 * What calls cost that need no pinhole: for each line that it reads, it prints a JSON object with the
 * nanoseconds of each, the lower tenth of many batches. Run with and without the agent, in turns, the
 * difference is what the agent adds.
 *
 *   agent_cost ADDRESS CONTROL-PORT
 *
 * Waits for a control connection first, so that the agent has a peer and all its tables in use.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 21
#define CALLS 400

static int zero, pair[2], set, session, local_udp;
static struct sockaddr_in loopback, nowhere;

static void die(const char *what)
{
	fprintf(stderr, "agent_cost: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void must(const char *what, long result)
{
	if (result < 0)
		die(what);
}

static void call_read(void)
{
	char byte;

	must("read", read(zero, &byte, 1));
}

/* Of a connection whose peer is known, and has closed its end. */
static void call_recv(void)
{
	char byte;

	if (recv(session, &byte, 1, MSG_DONTWAIT) > 0)
		die("recv");
}

static void call_send_and_recv(void)
{
	char byte = 0;

	must("send", send(pair[0], &byte, 1, 0));
	must("recv", recv(pair[1], &byte, 1, 0));
}

static void call_sendto(void)
{
	must("sendto", sendto(local_udp, "x", 1, 0, (struct sockaddr *)&loopback, sizeof loopback));
}

static void call_socket_and_close(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must("socket", fd);
	must("close", close(fd));
}

static void call_bind_loopback(void)
{
	struct sockaddr_in any = loopback;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	any.sin_port = 0;
	must("socket", fd);
	must("bind", bind(fd, (struct sockaddr *)&any, sizeof any));
	must("close", close(fd));
}

static void call_dup_and_close(void)
{
	int fd = dup(zero);

	must("dup", fd);
	must("close", close(fd));
}

static void call_close_unknown(void)
{
	if (close(500) == 0 || errno != EBADF)
		die("close");
}

static void call_fcntl(void)
{
	must("fcntl", fcntl(zero, F_GETFL));
}

static void call_poll(void)
{
	struct pollfd one = {.fd = pair[0], .events = POLLOUT};

	must("poll", poll(&one, 1, 0));
}

static void call_select(void)
{
	struct timeval now = {0};
	fd_set out;

	FD_ZERO(&out);
	FD_SET(pair[0], &out);
	must("select", select(pair[0] + 1, NULL, &out, NULL, &now));
}

static void call_epoll_wait(void)
{
	struct epoll_event events[8];

	must("epoll_wait", epoll_wait(set, events, 8, 0));
}

static const struct {
	const char *name;
	void (*call)(void);
} table[] = {
    {"read", call_read},
    {"recv of a session", call_recv},
    {"send and recv", call_send_and_recv},
    {"sendto", call_sendto},
    {"socket and close", call_socket_and_close},
    {"socket, bind to loopback, close", call_bind_loopback},
    {"dup and close", call_dup_and_close},
    {"close of nothing", call_close_unknown},
    {"fcntl", call_fcntl},
    {"poll", call_poll},
    {"select", call_select},
    {"epoll_wait", call_epoll_wait},
};

static int order(const void *left, const void *right)
{
	double l = *(const double *)left, r = *(const double *)right;

	return (l > r) - (l < r);
}

static double measure(void (*call)(void))
{
	static double batch[BATCHES];

	for (int i = 0; i < BATCHES; i++) {
		struct timespec start, end;

		clock_gettime(CLOCK_MONOTONIC, &start);
		for (int j = 0; j < CALLS; j++)
			call();
		clock_gettime(CLOCK_MONOTONIC, &end);
		batch[i] = ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
		           CALLS;
	}
	qsort(batch, BATCHES, sizeof batch[0], order);
	/* The lower tenth: what others do on the machine makes calls slower, never faster. */
	return batch[BATCHES / 10];
}

int main(int count, char **arguments)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	struct epoll_event event = {.events = EPOLLOUT};
	int on = 1;

	if (count != 3 || inet_pton(AF_INET, arguments[1], &own.sin_addr) != 1)
		return 2;
	own.sin_port = htons((uint16_t)atoi(arguments[2]));
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	must("socket", listener);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	must("bind", bind(listener, (struct sockaddr *)&own, sizeof own));
	must("listen", listen(listener, 5));
	puts("ready");
	fflush(stdout);
	session = accept(listener, NULL, NULL);
	must("accept", session);
	zero = open("/dev/zero", O_RDONLY);
	must("open", zero);
	must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	set = epoll_create1(0);
	event.data.fd = pair[0];
	must("epoll_ctl", epoll_ctl(set, EPOLL_CTL_ADD, pair[0], &event));
	loopback.sin_family = nowhere.sin_family = AF_INET;
	loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	loopback.sin_port = htons(9);
	local_udp = socket(AF_INET, SOCK_DGRAM, 0);
	must("socket", local_udp);
	for (int byte; (byte = getchar()) != EOF;) {
		if (byte != '\n')
			continue;
		for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
			printf("%s\"%s\":%.1f", i == 0 ? "{" : ",", table[i].name,
			       measure(table[i].call));
		puts("}");
		fflush(stdout);
	}
	return 0;
}
