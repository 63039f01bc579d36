/*
 * A broker for tests of the agent: it checks every message against docs/protocols/agent-broker.md
 * to the byte, reads what the real one reads from the kernel, prints one JSON object a line, and
 * gives the answer that its arguments ask for.
 *
 *   broker PATH [verdict=N] [flags=N] [delay_ms=N] [mute] [garbage] [refuse_hello] [quiet]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../../agent/preload/wire.h"

#define CHANNELS 65536

static struct {
	bool used;
	bool greeted;
	struct ucred made_by;
} channels[CHANNELS];

static struct {
	uint32_t verdict, flags;
	long delay_ms;
	bool mute, garbage, refuse_hello, quiet;
} options;

static int poll_set;
static uint32_t pinholes;

static void say(const char *format, ...) {
	va_list list;
	if (options.quiet)
		return;
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
	fflush(stdout);
}

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void end_channel(int fd, const char *why) {
	say("{\"event\":\"end\",\"channel\":%d,\"why\":\"%s\"}", fd, why);
	channels[fd].used = false;
	close(fd);
}

static void add_channel(int fd, bool by_connect) {
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	socklen_t length = sizeof(struct ucred);
	int on = 1;
	if (fd >= CHANNELS)
		die("too many channels");
	channels[fd].used = true;
	channels[fd].greeted = !by_connect;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &channels[fd].made_by, &length);
	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (epoll_ctl(poll_set, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
	say("{\"event\":\"channel\",\"channel\":%d,\"by\":\"%s\",\"pid\":%d,\"uid\":%d}", fd,
	    by_connect ? "connect" : "passed", channels[fd].made_by.pid, channels[fd].made_by.uid);
}

static bool zero(const void *bytes, size_t size) {
	for (size_t i = 0; i < size; i++)
		if (((const unsigned char *)bytes)[i] != 0)
			return false;
	return true;
}

static void answer(int fd, uint32_t sequence, uint32_t verdict, uint32_t flags, uint32_t pinhole) {
	struct wire_verdict_message message = {
	    .header = {.magic = WIRE_MAGIC, .type = WIRE_VERDICT, .length = sizeof message,
	               .sequence = sequence},
	    .verdict = verdict,
	    .flags = flags,
	    .pinhole = pinhole,
	    .reason = "as the test asked",
	};
	struct timespec pause = {.tv_sec = options.delay_ms / 1000,
	                         .tv_nsec = options.delay_ms % 1000 * 1000000};
	if (options.delay_ms > 0)
		nanosleep(&pause, NULL);
	if (options.garbage)
		message.header.magic = 0;
	if (send(fd, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof message)
		end_channel(fd, "no answer taken");
}

static void print_address(char *text, size_t size, int family, const void *address) {
	if (family == 0 || inet_ntop(family == 4 ? AF_INET : AF_INET6, address, text, (socklen_t)size) == NULL)
		snprintf(text, size, "%s", "");
}

static void on_open(int fd, const struct wire_open *open, int passed, const struct ucred *sender) {
	struct sockaddr_storage bound;
	char local[INET6_ADDRSTRLEN], source[INET6_ADDRSTRLEN], control[INET6_ADDRSTRLEN],
	    other[INET6_ADDRSTRLEN];
	socklen_t length = sizeof bound;
	uint64_t cookie = 0;
	int protocol = 0;
	uint16_t port = 0;
	memset(&bound, 0, sizeof bound);
	if (getsockname(passed, (struct sockaddr *)&bound, &length) != 0) {
		end_channel(fd, "not a socket");
		close(passed);
		return;
	}
	length = sizeof cookie;
	getsockopt(passed, SOL_SOCKET, SO_COOKIE, &cookie, &length);
	length = sizeof protocol;
	getsockopt(passed, SOL_SOCKET, SO_PROTOCOL, &protocol, &length);
	if (bound.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&bound;
		print_address(local, sizeof local, 4, &in->sin_addr);
		port = ntohs(in->sin_port);
	} else {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&bound;
		print_address(local, sizeof local, 6, &in6->sin6_addr);
		port = ntohs(in6->sin6_port);
	}
	print_address(source, sizeof source, open->source_family, open->source);
	print_address(control, sizeof control, open->control_family, open->control);
	print_address(other, sizeof other, open->other_family, open->other);
	say("{\"event\":\"open\",\"channel\":%d,\"pid\":%d,\"channel_pid\":%d,\"uid\":%d,"
	    "\"proto\":\"%s\",\"local\":\"%s\",\"port\":%u,\"cookie\":\"%" PRIu64 "\","
	    "\"source\":\"%s\",\"source_port\":%u,\"control\":\"%s\",\"control_port\":%u,"
	    "\"flags\":%u,\"other\":\"%s\"}",
	    fd, sender->pid, channels[fd].made_by.pid, sender->uid,
	    protocol == IPPROTO_UDP ? "udp" : "tcp", local, port, cookie, source, open->source_port,
	    control, open->control_port, open->flags, other);
	/* The copy keeps the socket alive: dropped before the program can go on to close its own. */
	close(passed);
	if (!options.mute)
		answer(fd, open->header.sequence, options.verdict, options.flags,
		       options.verdict == 0 ? ++pinholes : 0);
}

/* The flags, and which addresses have to be there with them. */
static bool flags_fit(const struct wire_open *open) {
	bool unclear = open->flags == WIRE_OPEN_UNCLEAR;
	bool disputed = open->flags == WIRE_OPEN_DISPUTED;
	return (open->flags == 0 || unclear || disputed) && unclear == (open->source_family == 0) &&
	       disputed == (open->other_family != 0) && (disputed || zero(open->other, sizeof open->other));
}

static const char *judge(int fd, const void *message, ssize_t size, const int passed[2]) {
	const struct wire_header *header = message;
	const struct wire_hello *hello = message;
	const struct wire_open *open = message;
	if (size < (ssize_t)sizeof *header || header->magic != WIRE_MAGIC || header->length != size ||
	    header->zero != 0)
		return "header";
	if (!channels[fd].greeted && header->type != WIRE_HELLO)
		return "no HELLO first";
	switch (header->type) {
	case WIRE_HELLO:
		if (size != sizeof *hello || passed[0] >= 0 || channels[fd].greeted ||
		    hello->version != WIRE_VERSION || hello->flags != 0 || hello->zero != 0 ||
		    hello->delegate[sizeof hello->delegate - 1] != 0)
			return "HELLO";
		return NULL;
	case WIRE_CHANNEL:
	case WIRE_TRACED:
	case WIRE_OPEN:
		if (size != sizeof *open || passed[0] < 0 ||
		    (header->type != WIRE_OPEN) != (passed[1] >= 0) || open->bound_at == 0 || !flags_fit(open) ||
		    (open->source_family != 4 && open->source_family != 6 && open->source_family != 0) ||
		    (open->control_family != 0 && open->control_family != 4 && open->control_family != 6) ||
		    (open->source_family == 4 && !zero(open->source + 4, 12)) ||
		    (open->control_family == 4 && !zero(open->control + 4, 12)) ||
		    !zero(open->zero, sizeof open->zero))
			return "OPEN";
		return NULL;
	default:
		return "type";
	}
}

/* Two descriptors at most go with a message. */
static void take(int fds[2], const struct cmsghdr *rights) {
	size_t size = rights->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(rights), size < 2 * sizeof(int) ? size : 2 * sizeof(int));
}

static void on_message(int fd) {
	union {
		struct wire_header header;
		struct wire_hello hello;
		struct wire_open open;
		char bytes[256];
	} message;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec data = {.iov_base = &message, .iov_len = sizeof message};
	struct msghdr received = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
	                          .msg_controllen = sizeof control};
	struct ucred sender = {.pid = 0};
	int fds[2] = {-1, -1};
	ssize_t size = recvmsg(fd, &received, MSG_CMSG_CLOEXEC);
	if (size <= 0) {
		if (size < 0 && errno == EAGAIN)
			return;
		end_channel(fd, "closed");
		return;
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&received); c != NULL; c = CMSG_NXTHDR(&received, c)) {
		if (c->cmsg_type == SCM_RIGHTS)
			take(fds, c);
		if (c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&sender, CMSG_DATA(c), sizeof sender);
	}
	const char *wrong = judge(fd, &message, size, fds);
	if (wrong != NULL) {
		say("{\"event\":\"error\",\"channel\":%d,\"why\":\"%s\"}", fd, wrong);
		end_channel(fd, wrong);
	} else if (message.header.type == WIRE_CHANNEL) {
		add_channel(fds[0], false);
		on_open(fds[0], &message.open, fds[1], &sender);
		return;
	} else if (message.header.type == WIRE_HELLO) {
		say("{\"event\":\"hello\",\"channel\":%d,\"delegate\":\"%s\"}", fd, message.hello.delegate);
		channels[fd].greeted = true;
		answer(fd, message.header.sequence, options.refuse_hello, 0, 0);
	} else {
		on_open(fd, &message.open, fds[0], &sender);
		/* A supervisor's requests have a descriptor of the process with them, which is not needed here. */
		if (fds[1] >= 0)
			close(fds[1]);
		return;
	}
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static bool option(const char *argument, const char *name, long *value) {
	size_t length = strlen(name);
	if (strncmp(argument, name, length) != 0 || argument[length] != '=')
		return false;
	*value = strtol(argument + length + 1, NULL, 10);
	return true;
}

static void read_options(int count, char **arguments) {
	for (int i = 0; i < count; i++) {
		long value;
		if (option(arguments[i], "verdict", &value))
			options.verdict = (uint32_t)value;
		else if (option(arguments[i], "flags", &value))
			options.flags = (uint32_t)value;
		else if (option(arguments[i], "delay_ms", &value))
			options.delay_ms = value;
		else if (strcmp(arguments[i], "mute") == 0)
			options.mute = true;
		else if (strcmp(arguments[i], "garbage") == 0)
			options.garbage = true;
		else if (strcmp(arguments[i], "refuse_hello") == 0)
			options.refuse_hello = true;
		else if (strcmp(arguments[i], "quiet") == 0)
			options.quiet = true;
		else
			exit(2);
	}
}

int main(int count, char **arguments) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (count < 2 || strlen(arguments[1]) >= sizeof address.sun_path)
		return 2;
	read_options(count - 2, arguments + 2);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	strcpy(address.sun_path, arguments[1]);
	unlink(arguments[1]);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
	    listen(listener, 4096) != 0)
		die(arguments[1]);
	poll_set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
	if (epoll_ctl(poll_set, EPOLL_CTL_ADD, listener, &event) != 0)
		die("epoll_ctl");
	puts("{\"event\":\"ready\"}");
	fflush(stdout);
	for (;;) {
		if (epoll_wait(poll_set, &event, 1, -1) != 1)
			continue;
		if (event.data.fd != listener) {
			on_message(event.data.fd);
			continue;
		}
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			add_channel(fd, true);
	}
}
