#include "endpoint.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "sys.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool endpoint_parse(struct endpoint *endpoint, const void *address, socklen_t length) {
	sa_family_t family;
	memset(endpoint, 0, sizeof *endpoint);
	if (address == NULL || length < sizeof family)
		return false;
	memcpy(&family, address, sizeof family);
	if (family == AF_INET && length >= sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *in = address;
		endpoint->family = 4;
		endpoint->port = __builtin_bswap16(in->sin_port);
		memcpy(endpoint->address, &in->sin_addr, 4);
		return true;
	}
	/* The scope is not needed: RFC 2133's shorter sockaddr_in6 is still accepted by the kernel. */
	if (family == AF_INET6 && length >= offsetof(struct sockaddr_in6, sin6_scope_id)) {
		const struct sockaddr_in6 *in6 = address;
		const uint8_t *bytes = (const uint8_t *)&in6->sin6_addr;
		endpoint->port = __builtin_bswap16(in6->sin6_port);
		if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
			endpoint->family = 4;
			memcpy(endpoint->address, bytes + sizeof mapped_prefix, 4);
		} else {
			endpoint->family = 6;
			memcpy(endpoint->address, bytes, 16);
		}
		return true;
	}
	return false;
}

static bool endpoint_of(long call, struct endpoint *endpoint, int fd) {
	union {
		struct sockaddr_in6 in6;
		struct sockaddr_storage storage;
	} address;
	socklen_t length = sizeof address;
	if (sys3(call, fd, sys_ptr(&address), sys_ptr(&length)) != 0)
		return false;
	return endpoint_parse(endpoint, &address, length);
}

bool endpoint_local(struct endpoint *endpoint, int fd) {
	return endpoint_of(SYS_getsockname, endpoint, fd);
}

bool endpoint_remote(struct endpoint *endpoint, int fd) {
	return endpoint_of(SYS_getpeername, endpoint, fd);
}

bool endpoint_listens(int fd) {
	int listens = 0;
	socklen_t length = sizeof listens;
	return sys6(SYS_getsockopt, fd, SOL_SOCKET, SO_ACCEPTCONN, sys_ptr(&listens), sys_ptr(&length),
	            0) == 0 &&
	       listens != 0;
}

static socklen_t to_socket_address(struct sockaddr_storage *to, const struct endpoint *from) {
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
	memset(to, 0, sizeof *to);
	if (from->family == 4) {
		in->sin_family = AF_INET;
		in->sin_port = __builtin_bswap16(from->port);
		memcpy(&in->sin_addr, from->address, 4);
		return sizeof *in;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = __builtin_bswap16(from->port);
	memcpy(&in6->sin6_addr, from->address, 16);
	return sizeof *in6;
}

bool endpoint_route(struct endpoint *local, const struct endpoint *remote) {
	struct sockaddr_storage to;
	struct endpoint found;
	socklen_t length = to_socket_address(&to, remote);
	long fd = sys3(SYS_socket, to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	/* Nothing is sent by this. */
	bool routed = sys3(SYS_connect, fd, sys_ptr(&to), length) == 0 &&
	              endpoint_local(&found, (int)fd) && !endpoint_is_wildcard(&found);
	sys3(SYS_close, fd, 0, 0);
	if (!routed)
		return false;
	found.port = local->port;
	*local = found;
	return true;
}

bool endpoint_is_loopback(const struct endpoint *endpoint) {
	static const uint8_t loopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	if (endpoint->family == 4)
		return endpoint->address[0] == 127;
	return endpoint->family == 6 && memcmp(endpoint->address, loopback6, sizeof loopback6) == 0;
}

bool endpoint_is_wildcard(const struct endpoint *endpoint) {
	for (unsigned i = 0; i < sizeof endpoint->address; i++)
		if (endpoint->address[i] != 0)
			return false;
	return true;
}

bool endpoint_same_address(const struct endpoint *left, const struct endpoint *right) {
	return left->family == right->family &&
	       memcmp(left->address, right->address, sizeof left->address) == 0;
}
