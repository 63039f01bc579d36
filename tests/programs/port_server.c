/*
 * A server with a control port and a data port for each client, a process a client: port_server ADDRESS
 * PORT FILE. It tells the data port on the control connection and sends the file to who comes there.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static int listener(const char *address, int port) {
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1;
	if (inet_pton(AF_INET, address, &local.sin_addr) != 1)
		fail("address");
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, (struct sockaddr *)&local, sizeof local) != 0 || listen(fd, 64) != 0)
		fail("listen");
	return fd;
}

static void serve(int control, const char *address, const char *file) {
	struct sockaddr_in local;
	socklen_t length = sizeof local;
	char buffer[65536];
	ssize_t got;
	int data = listener(address, 0);
	if (getsockname(data, (struct sockaddr *)&local, &length) != 0)
		fail("getsockname");
	dprintf(control, "%d\n", ntohs(local.sin_port));
	int connection = accept(data, NULL, NULL);
	int source = open(file, O_RDONLY);
	if (connection < 0 || source < 0)
		fail("data");
	while ((got = read(source, buffer, sizeof buffer)) > 0)
		for (ssize_t sent = 0, now; sent < got; sent += now)
			if ((now = write(connection, buffer + sent, (size_t)(got - sent))) <= 0)
				fail("write");
	exit(0);
}

int main(int count, char **args) {
	if (count != 4) {
		fprintf(stderr, "usage: port_server ADDRESS PORT FILE\n");
		return 2;
	}
	signal(SIGCHLD, SIG_IGN);
	int control = listener(args[1], atoi(args[2]));
	for (;;) {
		int fd = accept(control, NULL, NULL);
		if (fd < 0)
			continue;
		if (fork() == 0) {
			close(control);
			serve(fd, args[1], args[3]);
		}
		close(fd);
	}
}
