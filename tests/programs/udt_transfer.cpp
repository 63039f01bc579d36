/*
 * A file over UDT, asked for by a datagram: control by UDP, data by UDP.
 *
 *   udt_transfer serve ADDRESS PORT FILE    one process for all; a UDT port for each request
 *   udt_transfer fetch ADDRESS PORT FILE
 */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <udt/udt.h>

static void fail(const char *what) {
	std::fprintf(stderr, "%s: %s\n", what, UDT::getlasterror().getErrorMessage());
	std::exit(1);
}

static sockaddr_in endpoint(const char *address, int port) {
	sockaddr_in result{};
	result.sin_family = AF_INET;
	result.sin_port = htons(static_cast<uint16_t>(port));
	if (inet_pton(AF_INET, address, &result.sin_addr) != 1)
		fail("address");
	return result;
}

static void send_file(UDTSOCKET listener, std::string path) {
	UDTSOCKET connection = UDT::accept(listener, nullptr, nullptr);
	if (connection == UDT::INVALID_SOCK)
		return;
	std::fstream file(path, std::ios::in | std::ios::binary | std::ios::ate);
	int64_t size = file.tellg();
	int64_t offset = 0;
	file.seekg(0);
	UDT::send(connection, reinterpret_cast<char *>(&size), sizeof size, 0);
	UDT::sendfile(connection, file, offset, size);
	char end;
	UDT::recv(connection, &end, 1, 0); /* until the other end has it all and closes */
	UDT::close(connection);
	UDT::close(listener);
}

static void serve(const char *address, int port, const char *path) {
	sockaddr_in local = endpoint(address, port);
	int control = socket(AF_INET, SOCK_DGRAM, 0);
	if (control < 0 || bind(control, reinterpret_cast<sockaddr *>(&local), sizeof local) != 0) {
		std::perror("bind");
		std::exit(1);
	}
	for (;;) {
		char request[16];
		sockaddr_in peer{};
		socklen_t length = sizeof peer;
		if (recvfrom(control, request, sizeof request, 0, reinterpret_cast<sockaddr *>(&peer),
		             &length) < 0)
			continue;
		UDTSOCKET listener = UDT::socket(AF_INET, SOCK_STREAM, 0);
		sockaddr_in data = endpoint(address, 0);
		if (UDT::bind(listener, reinterpret_cast<sockaddr *>(&data), sizeof data) == UDT::ERROR ||
		    UDT::listen(listener, 4) == UDT::ERROR)
			fail("listen");
		int size = sizeof data;
		if (UDT::getsockname(listener, reinterpret_cast<sockaddr *>(&data), &size) == UDT::ERROR)
			fail("getsockname");
		sendto(control, &data.sin_port, sizeof data.sin_port, 0, reinterpret_cast<sockaddr *>(&peer),
		       length);
		std::thread(send_file, listener, std::string(path)).detach();
	}
}

static void fetch(const char *address, int port, const char *path) {
	sockaddr_in server = endpoint(address, port);
	int control = socket(AF_INET, SOCK_DGRAM, 0);
	if (control < 0 || connect(control, reinterpret_cast<sockaddr *>(&server), sizeof server) != 0 ||
	    send(control, "get", 3, 0) != 3 ||
	    recv(control, &server.sin_port, sizeof server.sin_port, 0) != sizeof server.sin_port) {
		std::perror("control");
		std::exit(1);
	}
	UDTSOCKET data = UDT::socket(AF_INET, SOCK_STREAM, 0);
	if (UDT::connect(data, reinterpret_cast<sockaddr *>(&server), sizeof server) == UDT::ERROR)
		fail("connect");
	int64_t size = 0;
	if (UDT::recv(data, reinterpret_cast<char *>(&size), sizeof size, 0) != sizeof size)
		fail("size");
	std::fstream file(path, std::ios::out | std::ios::binary | std::ios::trunc);
	int64_t offset = 0;
	if (UDT::recvfile(data, file, offset, size) != size)
		fail("file");
	UDT::close(data);
}

int main(int count, char **args) {
	if (count != 5) {
		std::fprintf(stderr, "usage: udt_transfer serve|fetch ADDRESS PORT FILE\n");
		return 2;
	}
	UDT::startup();
	(std::strcmp(args[1], "serve") == 0 ? serve : fetch)(args[2], std::atoi(args[3]), args[4]);
	UDT::cleanup();
	return 0;
}
