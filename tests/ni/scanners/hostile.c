/* Scanners that do what they must not; the first argument says what. */
#define _GNU_SOURCE
#include "scanner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void alert(const char *json) {
	char body[4096];
	uint32_t length = (uint32_t)strlen(json);
	memset(body, 0, 8);
	memcpy(body + 4, &length, 4);
	memcpy(body + 8, json, length);
	send_message(0x85, body, 8 + length);
}

/* Says by an alert what the kernel let it do. */
static void report(const char *what, int allowed) {
	char json[256];
	snprintf(json, sizeof json, "{\"signature\":\"%s: %s\"}", what, allowed ? "ALLOWED" : "refused");
	alert(json);
}

static void escape(void) {
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	report("fork", child >= 0);
	report("socket", socket(AF_INET, SOCK_STREAM, 0) >= 0);
	report("unix socket", socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	report("read a file", open("/etc/passwd", O_RDONLY) >= 0);
	report("list processes", open("/proc", O_RDONLY) >= 0);
	report("write a file", open("/lib/x", O_WRONLY | O_CREAT, 0600) >= 0 ||
	                           open("/x", O_WRONLY | O_CREAT, 0600) >= 0 ||
	                           open("/tmp/x", O_WRONLY | O_CREAT, 0600) >= 0);
	report("become root", setuid(0) == 0);
	report("kill", kill(1, 0) == 0 || kill(getppid(), 0) == 0);
	report("trace", syscall(SYS_ptrace, 16, getppid(), 0, 0) == 0);
	report("other descriptors", fcntl(3, F_GETFD) >= 0 || fcntl(10, F_GETFD) >= 0);
	report("run a program", execl("/bin/true", "true", NULL) == 0);
}

static void eat_memory(void) {
	for (size_t total = 0; total < (size_t)8 << 30; total += 16 << 20) {
		void *more = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (more == MAP_FAILED) {
			report("memory", 0);
			return;
		}
		memset(more, 1, 16 << 20);
	}
	report("memory", 1);
}

/* Memory that is shared, with nobody, is not counted by the limit of a process's own. */
static void hoard(void) {
	size_t size = (size_t)256 << 20;
	void *more = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (more != MAP_FAILED)
		memset(more, 1, size);
}

int main(int argc, char **argv) {
	const char *deed = argc > 1 ? argv[1] : "";
	unsigned frames = 0;
	if (strcmp(deed, "garbage") == 0) {
		for (unsigned i = 0; i < sizeof message; i++)
			message[i] = (unsigned char)(i * 2654435761u >> 13);
		write_all(message, sizeof message);
	}
	if (strcmp(deed, "silent") != 0)
		hello();
	subscribe(0, 1, strcmp(deed, "read") == 0 ? "" : "udp");
	subscribe(1, 2, strcmp(deed, "contain") == 0 ? "" : "udp");
	if (strcmp(deed, "escape") == 0)
		escape();
	if (strcmp(deed, "memory") == 0)
		eat_memory();
	if (strcmp(deed, "hoard") == 0)
		hoard();
	if (strcmp(deed, "inject") == 0)
		send_message(0x84, "\7\0\0\0\0\0\0\0", 8);
	if (strcmp(deed, "alerts") == 0)
		for (int i = 0; i < 100000; i++)
			alert("{\"signature\":\"flood\"}");
	if (strcmp(deed, "bad-alert") == 0)
		alert("{\"signature\":[1,2,3]}");
	if (strcmp(deed, "foreign") == 0)
		verdict(123456, 1);
	if (strcmp(deed, "verdicts") == 0)
		for (unsigned i = 0; i < 100000; i++)
			verdict(1000 + i, 1 + i % 2);
	if (strcmp(deed, "stuffed") == 0)
		for (;;)
			pause();
	for (;;) {
		uint16_t type = receive_message();
		if (type == 0x05 && strcmp(deed, "deaf") != 0)
			send_message(0x86, message, 4);
		if (type == 0x07)
			return 0;
		if (type != 0x03)
			continue;
		frames++;
		if (strcmp(deed, "twice") == 0) {
			verdict(frame_number(), 1);
			verdict(frame_number(), 1);
		}
		if (strcmp(deed, "reply") == 0)
			send_message(0x84, "\0\0\0\0\1\0\0\0", 8);
		if (strcmp(deed, "never") == 0)
			continue;
		if (strcmp(deed, "die") == 0)
			abort();
		if (strcmp(deed, "spin") == 0)
			for (;;)
				;
		if ((message[25] & 1) != 0)
			verdict(frame_number(), 1);
	}
}
