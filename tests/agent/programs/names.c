/*
 * What a server and a client behind address translation see of their own addresses. 10.77.0.1 is this
 * host; 10.77.0.2 and up are others. Argument: the outside address.
 */
#include "hazard.h"

#include <arpa/inet.h>
#include <stddef.h>

static void name(const char *what, int fd, socklen_t room) {
	struct any_address address = {.length = room};
	char text[INET6_ADDRSTRLEN] = "?";
	memset(&address.storage, 0xee, sizeof address.storage);
	int result = getsockname(fd, &address.address, &address.length);
	if (result == 0 && room >= sizeof(struct sockaddr_in))
		inet_ntop(address.address.sa_family,
		          address.address.sa_family == AF_INET ? (void *)&address.in.sin_addr
		                                               : (void *)&address.in6.sin6_addr,
		          text, sizeof text);
	printf("%s: %d %s %d length %u next %02x\n", what, result, text,
	       result == 0 && room >= 4 ? ntohs(address.in.sin_port) : -1, address.length,
	       ((unsigned char *)&address.storage)[room]);
}

static void bind_to(const char *what, int family, const char *text, int port) {
	struct any_address address = address_of(text, port);
	int fd = must("socket", socket(family, SOCK_STREAM, 0));
	long result = bind(fd, &address.address, address.length);
	show(what, result);
	if (result != 0)
		return;
	name("  its name", fd, 64);
	name("  a duplicate's", dup(fd), 64);
	must("listen", listen(fd, 1));
	int peer = connected("10.77.0.2", "10.77.0.1", port);
	int data = must("accept", accept(fd, NULL, NULL));
	show("  reached at the inside address", data >= 0 ? 0 : -1);
	close(data);
	close(peer);
	close(fd);
}

static void session(const char *source) {
	struct any_address address = address_of(HOST, CONTROL_PORT);
	int listener = must("socket", socket(AF_INET, SOCK_STREAM, 0));
	int one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	must("bind", bind(listener, &address.address, address.length));
	must("listen", listen(listener, 1));
	int peer = connected(source, HOST, CONTROL_PORT);
	int control = must("accept", accept(listener, NULL, NULL));
	printf("session of %s\n", source);
	name("listener", listener, 64);
	name("control connection", control, 64);
	name("with room for 16", control, 16);
	name("with room for 6", control, 6);
	name("with room for 0", control, 0);
	name("no socket", 0, 16);
	close(peer);
	close(control);
	close(listener);
}

int main(int count, char **arguments) {
	char mapped[64];
	if (count < 2)
		return 2;
	snprintf(mapped, sizeof mapped, "::ffff:%s", arguments[1]);
	session("10.77.0.3");
	session("10.77.0.2");
	bind_to("bind outside", AF_INET, arguments[1], 3001);
	bind_to("bind outside, mapped", AF_INET6, mapped, 3002);
	bind_to("bind inside", AF_INET, HOST, 3003);
	bind_to("bind a stranger's", AF_INET, "203.0.113.9", 3004);
	show("bind to nowhere", bind(socket(AF_INET, SOCK_STREAM, 0), (void *)8, 16));
	return 0;
}
