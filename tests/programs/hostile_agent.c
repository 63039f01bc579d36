/*
 * An agent with bad manners, to see that the broker serves the others on.
 *
 *   hostile_agent PATH connect COUNT   opens COUNT connections and keeps them
 *   hostile_agent PATH garbage COUNT   opens COUNT connections and sends noise on each
 *   hostile_agent PATH hello           says HELLO and prints the answer's verdict and text
 *
 * Prints one line when done; connect then waits until its input ends.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int open_channel(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static long flood(long count, int noise)
{
	unsigned char bytes[200];
	long opened = 0;

	srand(1);
	for (long i = 0; i < count; i++) {
		int fd = open_channel();

		if (fd < 0)
			continue;
		opened++;
		if (!noise)
			continue;
		for (size_t k = 0; k < sizeof bytes; k++)
			bytes[k] = (unsigned char)rand();
		/* A broker that has hung up already is what this program wants to see. */
		(void)!send(fd, bytes, 1 + (size_t)rand() % sizeof bytes, MSG_NOSIGNAL);
		close(fd);
	}
	return opened;
}

static int hello(void)
{
	uint32_t words[24] = {0x31525044, 1 | 96u << 16, 1, 0, 1, 0};
	unsigned char answer[512];
	int fd = open_channel();
	ssize_t n;

	if (fd < 0 || send(fd, words, 96, MSG_NOSIGNAL) != 96) {
		perror("hostile_agent");
		return 1;
	}
	n = recv(fd, answer, sizeof answer - 1, 0);
	if (n < 33) {
		printf("no answer\n");
		return 0;
	}
	answer[n] = 0;
	printf("verdict %u: %s\n", answer[16], (char *)answer + 32);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	long count = argc > 3 ? atol(argv[3]) : 0;
	char byte;

	if (argc < 3 || strlen(argv[1]) >= sizeof address.sun_path) {
		fprintf(stderr, "usage: hostile_agent PATH connect|garbage|hello [COUNT]\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (strcmp(argv[2], "hello") == 0)
		return hello();
	printf("%ld connected\n", flood(count, strcmp(argv[2], "garbage") == 0));
	fflush(stdout);
	if (strcmp(argv[2], "connect") == 0)
		while (read(0, &byte, 1) > 0)
			;
	return 0;
}
