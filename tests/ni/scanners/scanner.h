/* What the scanners in C share: reading and writing messages of docs/protocols/scanner.md. */
#ifndef SCANNER_H
#define SCANNER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct header {
	uint32_t length;
	uint16_t type;
	uint16_t zero;
};

static unsigned char message[131072];

static void write_all(const void *data, size_t length) {
	for (const char *at = data; length > 0;) {
		ssize_t n = write(1, at, length);
		if (n <= 0)
			exit(0);
		at += n;
		length -= (size_t)n;
	}
}

static void send_message(uint16_t type, const void *body, uint32_t length) {
	static const char padding[4];
	uint32_t padded = (length + 3) & ~3u;
	struct header header = {8 + padded, type, 0};
	write_all(&header, sizeof header);
	write_all(body, length);
	write_all(padding, padded - length);
}

static void read_all(void *data, size_t length) {
	for (char *at = data; length > 0;) {
		ssize_t n = read(0, at, length);
		if (n <= 0)
			exit(0);
		at += n;
		length -= (size_t)n;
	}
}

/* The type of the next message; its body is in `message`. */
static uint16_t receive_message(void) {
	struct header header;
	read_all(&header, sizeof header);
	read_all(message, header.length - sizeof header);
	return header.type;
}

static void hello(void) {
	send_message(0x81, "\1\0\0\0c", 5);
}

static void subscribe(uint32_t number, uint32_t right, const char *filter) {
	char body[512];
	memcpy(body, &number, 4);
	memcpy(body + 4, &right, 4);
	memcpy(body + 8, filter, strlen(filter));
	send_message(0x82, body, (uint32_t)(8 + strlen(filter)));
}

static void verdict(uint64_t frame, uint32_t what) {
	uint64_t body[2] = {frame, what};
	send_message(0x83, body, sizeof body);
}

static uint64_t frame_number(void) {
	uint64_t number;
	memcpy(&number, message, sizeof number);
	return number;
}

#endif
