/* The same over UDP. */
#include "hazard.h"

/* How a TFTP server receives its requests, in all the ways there are to receive. */
HAZARD(udp_server) {
	(void)count, (void)arguments;
	char buffer[16];
	char control[64];
	struct any_address any = {.length = sizeof any.storage};
	struct iovec data = {.iov_base = buffer, .iov_len = sizeof buffer};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
	                         .msg_controllen = sizeof control};
	int fd = bound(SOCK_DGRAM, HOST, 6969);
	datagram_from("10.77.0.2", HOST, 6969);
	show("recvfrom", recvfrom(fd, buffer, sizeof buffer, 0, &any.address, &any.length));
	printf("%s %u\n", inet_ntoa(any.in.sin_addr), any.length);
	show("aux", bound(SOCK_DGRAM, HOST, 3100));
	datagram_from("10.77.0.3", HOST, 6969);
	show("recvfrom", recvfrom(fd, buffer, sizeof buffer, 0, NULL, NULL));
	show("aux", bound(SOCK_DGRAM, "0.0.0.0", 3101));
	datagram_from("10.77.0.4", HOST, 6969);
	show("recv", recv(fd, buffer, 2, MSG_TRUNC));
	show("aux", bound(SOCK_DGRAM, HOST, 3102));
	datagram_from("10.77.0.5", HOST, 6969);
	show("recvmsg", recvmsg(fd, &message, 0));
	printf("%u %zu %d\n", message.msg_namelen, (size_t)message.msg_controllen, message.msg_flags);
	show("aux", bound(SOCK_DGRAM, HOST, 3103));
	datagram_from("10.77.0.2", HOST, 6969);
	message.msg_name = &any.storage;
	message.msg_namelen = 4;
	show("recvmsg short", recvmsg(fd, &message, 0));
	show("length", message.msg_namelen);
	show("aux", bound(SOCK_STREAM, HOST, 3104));
	show("nothing", recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT, NULL, NULL));
	return 0;
}

/* The number of the control port in the other protocol, twice. */
HAZARD(udp_same_number) {
	(void)count, (void)arguments;
	control_from("10.77.0.2", NULL, NULL);
	show("udp", bound(SOCK_DGRAM, HOST, CONTROL_PORT));
	show("udp again", bound(SOCK_DGRAM, HOST, CONTROL_PORT));
	return 0;
}

/* A TFTP client: binds a port that it did not choose, and sends to the server's known port. */
HAZARD(udp_client) {
	(void)count, (void)arguments;
	struct any_address to = address_of("10.77.0.5", 6969);
	int server = bound(SOCK_DGRAM, HOST, 0);
	show("sendto", sendto(server, "x", 1, 0, &to.address, to.length));
	show("sendto", sendto(server, "x", 1, 0, &to.address, to.length));
	return 0;
}
