/*
 * A frame forwarder in C, to hold the NI kernel's user-space path against: recvmmsg and sendmmsg over
 * AF_PACKET with virtio-net headers, both ports on one epoll set. Usage: forwarder IF IF
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define SIZE (66 * 1024)
#define VNET_HEADER 10

struct port {
	int fd;
	struct port *other;
	struct mmsghdr messages[BATCH];
	struct iovec vectors[BATCH];
	unsigned char *memory;
};

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static void set(int fd, int level, int option, int value) {
	if (setsockopt(fd, level, option, &value, sizeof value) != 0)
		fail("setsockopt");
}

static void open_port(struct port *port, const char *name) {
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct packet_mreq membership = {.mr_type = PACKET_MR_PROMISC};
	address.sll_ifindex = membership.mr_ifindex = (int)if_nametoindex(name);
	if (address.sll_ifindex == 0)
		fail(name);
	port->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (port->fd < 0)
		fail("socket");
	set(port->fd, SOL_PACKET, PACKET_VNET_HDR, 1);
	set(port->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
	set(port->fd, SOL_SOCKET, SO_RCVBUFFORCE, 32 * 1024 * 1024);
	set(port->fd, SOL_SOCKET, SO_SNDBUFFORCE, 32 * 1024 * 1024);
	if (bind(port->fd, (struct sockaddr *)&address, sizeof address) != 0)
		fail("bind");
	if (setsockopt(port->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) != 0)
		fail("promiscuous mode");
	port->memory = malloc((size_t)BATCH * SIZE);
	if (port->memory == NULL)
		fail("malloc");
}

static void forward(struct port *port) {
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < BATCH; i++) {
			port->vectors[i] = (struct iovec){port->memory + (size_t)i * SIZE, SIZE};
			port->messages[i].msg_hdr =
			    (struct msghdr){.msg_iov = &port->vectors[i], .msg_iovlen = 1};
		}
		int n = recvmmsg(port->fd, port->messages, BATCH, MSG_DONTWAIT, NULL);
		if (n <= 0)
			return;
		for (int i = 0; i < n; i++)
			port->vectors[i].iov_len = port->messages[i].msg_len;
		for (int at = 0; at < n;) {
			int sent = sendmmsg(port->other->fd, port->messages + at, (unsigned)(n - at), MSG_DONTWAIT);
			at += sent > 0 ? sent : 1;
		}
		if (n < BATCH)
			return;
	}
}

int main(int argc, char **argv) {
	static struct port ports[2];
	if (argc != 3) {
		fprintf(stderr, "usage: %s IF IF\n", argv[0]);
		return 2;
	}
	int set_fd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		open_port(&ports[i], argv[1 + i]);
		ports[i].other = &ports[1 - i];
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &ports[i]};
		if (epoll_ctl(set_fd, EPOLL_CTL_ADD, ports[i].fd, &event) != 0)
			fail("epoll_ctl");
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[2];
		int n = epoll_wait(set_fd, events, 2, -1);
		for (int i = 0; i < n; i++)
			forward(events[i].data.ptr);
	}
}
