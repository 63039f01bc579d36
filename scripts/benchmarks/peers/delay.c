/*
 * Passes DNS queries on to a server after a delay, and its answers back at once: a server that is far away.
 * Usage: delay PORT SERVER-PORT MICROSECONDS (both on loopback)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAITING 1024
#define SIZE 1500

struct datagram {
	uint64_t due;
	size_t length;
	char data[SIZE];
};

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
	perror(what);
	exit(1);
}

int main(int argc, char **argv) {
	static struct datagram queue[WAITING];
	struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
	/* Who asked, by the query's identification: the first two bytes. */
	static struct sockaddr_in clients[65536];
	size_t first = 0, last = 0;
	if (argc != 4) {
		fprintf(stderr, "usage: %s PORT SERVER-PORT MICROSECONDS\n", argv[0]);
		return 2;
	}
	uint64_t delay = strtoull(argv[3], NULL, 10) * 1000;
	here.sin_port = htons((uint16_t)atoi(argv[1]));
	there.sin_port = htons((uint16_t)atoi(argv[2]));
	here.sin_addr.s_addr = there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
	int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
	if (in < 0 || out < 0 || bind(in, (struct sockaddr *)&here, sizeof here) != 0 ||
	    connect(out, (struct sockaddr *)&there, sizeof there) != 0)
		fail("socket");
	for (;;) {
		struct pollfd fds[2] = {{.fd = in, .events = POLLIN}, {.fd = out, .events = POLLIN}};
		struct timespec wait = {0}, *limit = NULL;
		uint64_t t = now();
		if (first != last) {
			uint64_t due = queue[first % WAITING].due;
			limit = &wait;
			wait.tv_nsec = due > t ? (long)(due - t) : 0;
		}
		if (ppoll(fds, 2, limit, NULL) < 0)
			fail("ppoll");
		if (fds[0].revents && last - first < WAITING) {
			struct datagram *d = &queue[last % WAITING];
			struct sockaddr_in client;
			socklen_t length = sizeof client;
			ssize_t n = recvfrom(in, d->data, SIZE, 0, (struct sockaddr *)&client, &length);
			if (n >= 2) {
				clients[(unsigned char)d->data[0] << 8 | (unsigned char)d->data[1]] = client;
				d->due = now() + delay;
				d->length = (size_t)n;
				last++;
			}
		}
		if (fds[1].revents) {
			char data[SIZE];
			ssize_t n = recv(out, data, SIZE, 0);
			if (n < 2)
				continue;
			struct sockaddr_in *client = &clients[(unsigned char)data[0] << 8 | (unsigned char)data[1]];
			if (client->sin_port != 0)
				sendto(in, data, (size_t)n, 0, (struct sockaddr *)client, sizeof *client);
		}
		for (t = now(); first != last && queue[first % WAITING].due <= t; first++)
			if (send(out, queue[first % WAITING].data, queue[first % WAITING].length, 0) < 0)
				perror("send");
	}
}
