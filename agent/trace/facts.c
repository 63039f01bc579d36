#include "facts.h"

#include <netinet/in.h>
#include <sys/socket.h>

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int number(int fd, int name, int otherwise) {
	int value = 0;
	socklen_t length = sizeof value;
	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : otherwise;
}

static uint64_t large_number(int fd, int name) {
	uint64_t value = 0;
	socklen_t length = sizeof value;
	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : 0;
}

int facts_domain(int fd) {
	return number(fd, SO_DOMAIN, -1);
}

uint8_t facts_protocol(int fd) {
	int domain = number(fd, SO_DOMAIN, -1);
	int protocol = number(fd, SO_PROTOCOL, 0);
	if (domain != AF_INET && domain != AF_INET6)
		return 0;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
		return IPPROTO_TCP;
	return protocol == IPPROTO_UDP ? IPPROTO_UDP : 0;
}

uint64_t facts_cookie(int fd) {
	return large_number(fd, SO_COOKIE);
}

uint64_t facts_namespace(int fd) {
	return large_number(fd, SO_NETNS_COOKIE);
}
