/*
 * Traffic for the benchmark of the NI, over UDP.
 *
 *   traffic echo PORT                      answers each datagram; ends when its input does
 *   traffic rtt ADDRESS PORT COUNT         one datagram at a time; prints median and p99 of the round trip, ns
 *   traffic sink PORT                      counts datagrams and tells the sender of every 32nd
 *   traffic flood ADDRESS PORT MS SIZE     sends datagrams of SIZE bytes, at most WINDOW on their way;
 *                                          prints how many arrived in a second
 *
 * The flood waits for what is on its way, so that it measures what a path carries and not what it drops.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 512
#define BATCH 64
#define EVERY 32
/* After so long without an answer, what is on its way counts as lost. */
#define LOST_NS 5000000

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_socket(void) {
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 * 1024 * 1024;
	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	return fd;
}

static struct sockaddr_in address(const char *host, const char *port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		fail(host);
	return a;
}

static int server(const char *port) {
	struct sockaddr_in a = address("0.0.0.0", port);
	int fd = open_socket();
	if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0)
		fail("bind");
	return fd;
}

static int client(const char *host, const char *port) {
	struct sockaddr_in a = address(host, port);
	int fd = open_socket();
	if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
		fail("connect");
	return fd;
}

static int order(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void echo(const char *port) {
	int fd = server(port);
	char data[2048];
	for (;;) {
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		ssize_t n = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &length);
		if (n >= 0)
			sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, length);
	}
}

static void rtt(const char *host, const char *port, int count) {
	int fd = client(host, port), lost = 0, got = 0;
	uint64_t *times = calloc((size_t)count, sizeof *times);
	if (times == NULL)
		fail("calloc");
	for (uint32_t i = 0; i < (uint32_t)count + 20; i++) {
		uint32_t answer = ~i;
		uint64_t start = now();
		send(fd, &i, sizeof i, 0);
		while (answer != i) {
			struct pollfd p = {.fd = fd, .events = POLLIN};
			if (poll(&p, 1, 1000) <= 0 || recv(fd, &answer, sizeof answer, 0) < 0) {
				lost++;
				break;
			}
		}
		/* The first ones find caches cold. */
		if (answer == i && i >= 20)
			times[got++] = now() - start;
		if (lost > 10)
			break;
	}
	qsort(times, (size_t)got, sizeof *times, order);
	printf("{\"median\":%llu,\"p99\":%llu,\"lost\":%d}\n",
	       got > 0 ? (unsigned long long)times[got / 2] : 0,
	       got > 0 ? (unsigned long long)times[got * 99 / 100] : 0, lost);
}

static void sink(const char *port) {
	int fd = server(port);
	static char data[BATCH][2048];
	struct iovec vectors[BATCH];
	struct mmsghdr messages[BATCH];
	struct sockaddr_in from[BATCH];
	uint64_t received = 0, told = 0;
	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			vectors[i] = (struct iovec){data[i], sizeof data[i]};
			messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i],
			                                      .msg_iovlen = 1,
			                                      .msg_name = &from[i],
			                                      .msg_namelen = sizeof from[i]};
		}
		int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		if (n <= 0)
			continue;
		/* A datagram of 1 byte begins a new count. */
		for (int i = 0; i < n; i++) {
			if (messages[i].msg_len == 1)
				received = told = 0;
			else
				received++;
		}
		if (received - told >= EVERY || messages[n - 1].msg_len == 1) {
			told = received;
			sendto(fd, &received, sizeof received, 0, (struct sockaddr *)&from[n - 1],
			       sizeof from[0]);
		}
	}
}

static void flood(const char *host, const char *port, int ms, size_t size) {
	int fd = client(host, port);
	static char data[2048];
	struct iovec vector = {data, size};
	struct mmsghdr messages[EVERY];
	for (int i = 0; i < EVERY; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1};
	send(fd, "", 1, 0);
	uint64_t begin = now(), end = begin + (uint64_t)ms * 1000000, heard = begin;
	uint64_t sent = 0, received = 0, lost = 0;
	for (uint64_t t = begin; t < end; t = now()) {
		if (sent - received - lost + EVERY <= WINDOW) {
			int n = sendmmsg(fd, messages, EVERY, 0);
			if (n > 0)
				sent += (uint64_t)n;
		} else {
			struct pollfd p = {.fd = fd, .events = POLLIN};
			poll(&p, 1, 1);
			t = now();
			if (t - heard > LOST_NS) {
				lost = sent - received;
				heard = t;
			}
		}
		uint64_t count;
		while (recv(fd, &count, sizeof count, MSG_DONTWAIT) == sizeof count) {
			received = count > received ? count : received;
			heard = now();
		}
		if (received + lost > sent)
			lost = sent - received;
	}
	printf("{\"per_second\":%.0f,\"lost\":%llu}\n", (double)received * 1e9 / (double)(now() - begin),
	       (unsigned long long)lost);
}

int main(int argc, char **argv) {
	if (argc == 3 && strcmp(argv[1], "echo") == 0)
		echo(argv[2]);
	else if (argc == 3 && strcmp(argv[1], "sink") == 0)
		sink(argv[2]);
	else if (argc == 5 && strcmp(argv[1], "rtt") == 0)
		rtt(argv[2], argv[3], atoi(argv[4]));
	else if (argc == 6 && strcmp(argv[1], "flood") == 0)
		flood(argv[2], argv[3], atoi(argv[4]), (size_t)atoi(argv[5]));
	else {
		fprintf(stderr, "usage: %s echo|sink PORT, or rtt|flood ADDRESS PORT ...\n", argv[0]);
		return 2;
	}
	return 0;
}
