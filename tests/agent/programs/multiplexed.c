/* One thread, many hosts: for whom is the port? */
#include "hazard.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <threads.h>

#define CLIENTS 20
#define TURNS 2
#define FIRST_PORT 3200

/* Reads and writes that no agent sees, as those of libc's streams. */
static long unseen(long number, int fd, void *buffer, long size) {
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"((long)fd), "S"(buffer), "d"(size)
	                 : "rcx", "r11", "memory");
	return result;
}

static struct {
	int fd;     /* the server's end */
	int client; /* the client's end */
	int served;
} sessions[CLIENTS];

static int listener;

/* Seconds to wait for the next one. */
static int patience = 10;

static void greet(int i) {
	char byte = (char)i;
	must("client write", (int)unseen(SYS_write, sessions[i].client, &byte, 1));
}

/* All clients are connected, and all have said something. */
static void start(void) {
	listener = listening(HOST, CONTROL_PORT);
	for (int i = 0; i < CLIENTS; i++) {
		char source[32];
		snprintf(source, sizeof source, "10.77.0.%d", i + 10);
		sessions[i].client = connected(source, HOST, CONTROL_PORT);
		sessions[i].fd = must("accept", accept(listener, NULL, NULL));
	}
	for (int i = 0; i < CLIENTS; i++)
		greet(i);
}

static bool seen_reads;

/* What a server does when a client asks for a port. */
static void serve(int i) {
	char byte = -1;
	int fd = sessions[i].fd;
	long got = seen_reads ? read(fd, &byte, 1) : unseen(SYS_read, fd, &byte, 1);
	if (got != 1 || byte != i)
		must("read", -1);
	close(bound(SOCK_STREAM, HOST, FIRST_PORT + i * TURNS + sessions[i].served));
	if (++sessions[i].served < TURNS)
		greet(i);
}

static int by_poll(int *ready, bool other) {
	struct pollfd list[CLIENTS + 2];
	struct timespec second = {.tv_sec = patience};
	int found = 0;
	for (int i = 0; i < CLIENTS; i++)
		list[i] = (struct pollfd){.fd = sessions[i].fd, .events = POLLIN};
	list[CLIENTS] = (struct pollfd){.fd = listener, .events = POLLIN};
	list[CLIENTS + 1] = (struct pollfd){.fd = -1, .events = POLLIN};
	int count = other ? ppoll(list, CLIENTS + 2, &second, NULL) : poll(list, CLIENTS + 2, patience * 1000);
	for (int i = 0; i < CLIENTS; i++)
		if (list[i].revents != 0)
			ready[found++] = i;
	return must("poll", found == count ? found : -1);
}

static int by_raw_poll(int *ready) {
	struct pollfd list[CLIENTS];
	int found = 0;
	for (int i = 0; i < CLIENTS; i++)
		list[i] = (struct pollfd){.fd = sessions[i].fd, .events = POLLIN};
	long count = syscall(SYS_poll, list, CLIENTS, patience * 1000);
	for (int i = 0; i < CLIENTS; i++)
		if (list[i].revents != 0)
			ready[found++] = i;
	return must("poll", found == count ? found : -1);
}

static int by_select(int *ready, bool other) {
	fd_set in;
	fd_set special;
	struct timeval second = {.tv_sec = patience};
	struct timespec same = {.tv_sec = patience};
	int highest = 0;
	int found = 0;
	FD_ZERO(&in);
	FD_ZERO(&special);
	for (int i = 0; i < CLIENTS; i++) {
		FD_SET(sessions[i].fd, &in);
		FD_SET(sessions[i].fd, &special);
		highest = sessions[i].fd > highest ? sessions[i].fd : highest;
	}
	int count = other ? pselect(highest + 1, &in, NULL, &special, &same, NULL)
	                  : select(highest + 1, &in, NULL, &special, &second);
	for (int i = 0; i < CLIENTS; i++) {
		if (FD_ISSET(sessions[i].fd, &in))
			ready[found++] = i;
		if (FD_ISSET(sessions[i].fd, &special))
			must("nothing special", -1);
	}
	return must("select", found == count ? found : -1);
}

static int set = -1;
static uint32_t how_to_wait;

static void watch(int i, int command) {
	struct epoll_event event = {.events = EPOLLIN | how_to_wait, .data.ptr = &sessions[i]};
	must("epoll_ctl", epoll_ctl(set, command, sessions[i].fd, &event));
}

static int by_epoll(int *ready, const char *way) {
	struct epoll_event events[CLIENTS];
	struct timespec second = {.tv_sec = patience};
	int count;
	(void)second;
	if (set < 0) {
		set = must("epoll_create1", epoll_create1(0));
		how_to_wait = strcmp(way, "epoll_edge") == 0      ? EPOLLET
		              : strcmp(way, "epoll_oneshot") == 0 ? EPOLLONESHOT
		                                                  : 0;
		for (int i = 0; i < CLIENTS; i++)
			watch(i, EPOLL_CTL_ADD);
	}
	if (strcmp(way, "epoll_pwait") == 0)
		count = epoll_pwait(set, events, CLIENTS, patience * 1000, NULL);
#ifdef __GLIBC__ /* 2.35 */
	else if (strcmp(way, "epoll_pwait2") == 0)
		count = epoll_pwait2(set, events, CLIENTS, &second, NULL);
#endif
	else if (strcmp(way, "raw_epoll") == 0)
		count = (int)syscall(SYS_epoll_wait, set, events, CLIENTS, patience * 1000);
	else
		count = epoll_wait(set, events, CLIENTS, patience * 1000);
	for (int i = 0; i < count; i++)
		ready[i] = (int)((char *)events[i].data.ptr - (char *)sessions) / (int)sizeof sessions[0];
	return must("epoll", count);
}

static int wait_by(const char *way, int *ready) {
	if (strcmp(way, "poll") == 0 || strcmp(way, "ppoll") == 0)
		return by_poll(ready, way[1] == 'p');
	if (strcmp(way, "raw_poll") == 0)
		return by_raw_poll(ready);
	if (strcmp(way, "select") == 0 || strcmp(way, "pselect") == 0)
		return by_select(ready, way[0] == 'p');
	return by_epoll(ready, way);
}

/*
 * All clients ask again and again, and the agent does not see the reads, unless the second argument
 * wants it to. Port and client have the same number.
 */
HAZARD(multiplexed) {
	const char *way = count > 0 ? arguments[0] : "poll";
	int ready[CLIENTS];
	int left = CLIENTS * TURNS;
	seen_reads = count > 1;
	start();
	while (left > 0) {
		int found = wait_by(way, ready);
		if (found == 0)
			must("somebody is ready", -1);
		for (int i = 0; i < found; i++) {
			serve(ready[i]);
			left--;
			/* The next request is there before the descriptor is armed again. */
			if (how_to_wait == EPOLLONESHOT)
				watch(ready[i], EPOLL_CTL_MOD);
		}
	}
	patience = 0;
	show("nobody is left", wait_by(way, ready) == 0);
	return 0;
}

/* One client is always ready, as nobody reads what it says: all others get their turn. */
HAZARD(starving) {
	const char *way = count > 0 ? arguments[0] : "poll";
	int ready[CLIENTS];
	int left = CLIENTS;
	int rounds = 0;
	start();
	while (left > 1 && rounds < 3 * CLIENTS) {
		int found = wait_by(way, ready);
		rounds++;
		for (int i = 0; i < found; i++) {
			if (ready[i] == 0 || sessions[ready[i]].served > 0)
				continue;
			char byte;
			if (unseen(SYS_read, sessions[ready[i]].fd, &byte, 1) == 1)
				left--;
			sessions[ready[i]].served = 1;
		}
	}
	show("left over", left);
	return 0;
}

/* In the round of one client the program reads from another one. */
HAZARD(disputed) {
	(void)count, (void)arguments;
	char byte;
	struct pollfd one = {.events = POLLIN};
	start();
	one.fd = sessions[3].fd;
	show("poll", poll(&one, 1, 1000));
	show("read", read(sessions[3].fd, &byte, 1));
	show("read", read(sessions[7].fd, &byte, 1));
	close(bound(SOCK_STREAM, HOST, 3300));
	/* Read again: both say the same. */
	greet(3);
	show("poll", poll(&one, 1, 1000));
	show("read", read(sessions[3].fd, &byte, 1));
	close(bound(SOCK_STREAM, HOST, 3301));
	/* A round of something else, here a pipe, says nothing: the last read decides. */
	int ends[2];
	must("pipe", pipe(ends));
	show("write", write(ends[1], "x", 1));
	one.fd = ends[0];
	show("read", read(sessions[9].fd, &byte, 1));
	show("poll", poll(&one, 1, 1000));
	show("read", read(ends[0], &byte, 1));
	close(bound(SOCK_STREAM, HOST, 3302));
	return 0;
}

static pthread_barrier_t step;

/* A thread of a pool that serves one client after the other. */
static void *pooled(void *argument) {
	char byte;
	int *fds = argument;
	/* One host is connected, and this thread has never heard of it. */
	pthread_barrier_wait(&step);
	close(bound(SOCK_STREAM, HOST, 3310));
	pthread_barrier_wait(&step);
	/* Several hosts, and nothing tells which. */
	pthread_barrier_wait(&step);
	close(bound(SOCK_STREAM, HOST, 3311));
	/* It reads from one of them. */
	show("read", read(fds[1], &byte, 1));
	close(bound(SOCK_STREAM, HOST, 3312));
	pthread_barrier_wait(&step);
	/* That one has gone: what is left is the other one. */
	pthread_barrier_wait(&step);
	close(bound(SOCK_STREAM, HOST, 3313));
	return NULL;
}

HAZARD(pool) {
	(void)count, (void)arguments;
	pthread_t thread;
	int fds[2];
	char byte = 'x';
	pthread_barrier_init(&step, NULL, 2);
	must("thread", -pthread_create(&thread, NULL, pooled, fds));
	int l = listening(HOST, CONTROL_PORT);
	connected("10.77.0.2", HOST, CONTROL_PORT);
	fds[0] = must("accept", accept(l, NULL, NULL));
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	int client = connected("10.77.0.3", HOST, CONTROL_PORT);
	fds[1] = must("accept", accept(l, NULL, NULL));
	must("write", (int)unseen(SYS_write, client, &byte, 1));
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	close(fds[1]);
	pthread_barrier_wait(&step);
	pthread_join(thread, NULL);
	return 0;
}

static int made_c11(void *argument) {
	pthread_barrier_wait(&step);
	close(bound(SOCK_STREAM, HOST, (int)(long)argument));
	return (int)(long)argument;
}

static void *made(void *argument) {
	pthread_barrier_wait(&step);
	close(bound(SOCK_STREAM, HOST, (int)(long)argument));
	return NULL;
}

/* Threads that are made for a client, and neither accept nor read. */
HAZARD(thread_for_each) {
	(void)arguments;
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	thrd_t c11[THREADS];
	int l = listening(HOST, CONTROL_PORT);
	pthread_barrier_init(&step, NULL, THREADS);
	for (long i = 0; i < THREADS; i++) {
		char source[32];
		snprintf(source, sizeof source, "10.77.0.%ld", i + 10);
		connected(source, HOST, CONTROL_PORT);
		must("accept", accept(l, NULL, NULL));
		if (count > 0)
			must("thread", -thrd_create(&c11[i], made_c11, (void *)(3320 + i)));
		else
			must("thread", -pthread_create(&threads[i], NULL, made, (void *)(3320 + i)));
	}
	for (long i = 0; i < THREADS; i++) {
		int result = 0;
		if (count > 0)
			show("result", thrd_join(c11[i], &result) == thrd_success ? result : -1);
		else
			pthread_join(threads[i], NULL);
	}
	show("joined", THREADS);
	return 0;
}

static void pass(int channel, int fd) {
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
	                        .cmsg_type = SCM_RIGHTS}};
	struct iovec data = {.iov_base = "x", .iov_len = 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
	                         .msg_controllen = sizeof control.space};
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	must("sendmsg", (int)sendmsg(channel, &message, 0));
}

static int take(int channel) {
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	int fd;
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
	                         .msg_controllen = sizeof control};
	must("recvmsg", (int)recvmsg(channel, &message, 0));
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	return fd;
}

/* A worker that was there before the clients came gets their connections over a socket. */
HAZARD(rights) {
	(void)count, (void)arguments;
	int channel[2];
	must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
	int l = listening(HOST, CONTROL_PORT);
	pid_t worker = fork();
	if (worker == 0) {
		char byte;
		int first = take(channel[1]);
		auxiliary("first", 3330);
		int second = take(channel[1]);
		auxiliary("second", 3331);
		show("read", read(first, &byte, 1));
		auxiliary("first again", 3332);
		close(first);
		close(second);
		_exit(0);
	}
	for (int i = 0; i < 2; i++) {
		char byte = 'x';
		int client = connected(i == 0 ? "10.77.0.2" : "10.77.0.3", HOST, CONTROL_PORT);
		int fd = must("accept", accept(l, NULL, NULL));
		must("write", (int)unseen(SYS_write, client, &byte, 1));
		pass(channel[0], fd);
		close(fd);
	}
	reap("worker", worker);
	return 0;
}

/* Results and errors of waiting, with one client: as without an agent in every respect. */
HAZARD(waits) {
	(void)count, (void)arguments;
	int l;
	int client;
	int session = control_from("10.77.0.2", &client, &l);
	int ends[2];
	must("pipe", pipe(ends));
	must("write", (int)write(ends[1], "x", 1));
	must("write", (int)write(client, "x", 1));
	struct pollfd list[] = {
	    {.fd = session, .events = POLLIN | POLLOUT}, {.fd = -1, .events = POLLIN, .revents = 77},
	    {.fd = ends[0], .events = POLLIN},           {.fd = 777, .events = POLLIN},
	    {.fd = session, .events = POLLIN},           {.fd = l, .events = POLLIN},
	};
	show("poll", poll(list, 6, 1000));
	for (int i = 0; i < 6; i++)
		show("revents", list[i].revents);
	show("nothing", poll(NULL, 0, 1));
	volatile nfds_t many = 1u << 30; /* more than the limit of descriptors */
	show("too many", poll(list, many, 0));
	struct timespec wrong = {.tv_nsec = -1};
	show("wrong time", ppoll(list, 1, &wrong, NULL));
	struct pollfd quiet = {.fd = l, .events = POLLIN};
	show("time out", poll(&quiet, 1, 1));
	fd_set in;
	fd_set out;
	fd_set special;
	struct timeval moment = {.tv_usec = 1000};
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&special);
	FD_SET(session, &in);
	FD_SET(session, &out);
	FD_SET(session, &special);
	FD_SET(ends[0], &in);
	FD_SET(l, &in);
	show("select", select(50, &in, &out, &special, NULL));
	show("in", FD_ISSET(session, &in) && FD_ISSET(ends[0], &in) && !FD_ISSET(l, &in));
	show("out", FD_ISSET(session, &out));
	show("special", FD_ISSET(session, &special));
	show("negative", select(-1, &in, NULL, NULL, &moment));
	FD_SET(45, &in);
	show("bad", select(50, &in, NULL, NULL, &moment));
	show("only time", select(0, NULL, NULL, NULL, &moment));
	int e = must("epoll_create1", epoll_create1(0));
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u64 = 0x123456789abcdefull};
	struct epoll_event got[8];
	show("add", epoll_ctl(e, EPOLL_CTL_ADD, session, &event));
	show("add again", epoll_ctl(e, EPOLL_CTL_ADD, session, &event));
	event.data.u64 = 5;
	show("add pipe", epoll_ctl(e, EPOLL_CTL_ADD, ends[0], &event));
	show("add bad", epoll_ctl(e, EPOLL_CTL_ADD, 777, &event));
	show("add null", epoll_ctl(e, EPOLL_CTL_DEL, 777, NULL));
	show("wait", epoll_wait(e, got, 8, 1000));
	show("sum", (long)(got[0].data.u64 + got[1].data.u64));
	show("wait for one", epoll_wait(e, got, 1, 1000));
	show("no room", epoll_wait(e, got, 0, 0));
	show("bad set", epoll_wait(777, got, 1, 0));
	show("delete", epoll_ctl(e, EPOLL_CTL_DEL, session, NULL));
	show("delete", epoll_ctl(e, EPOLL_CTL_DEL, ends[0], NULL));
	show("time out", epoll_wait(e, got, 8, 1));
	show("raw", syscall(SYS_epoll_wait, e, got, 8, 0));
	auxiliary("aux", 3340);
	return 0;
}

static volatile sig_atomic_t alarms;

static void on_alarm(int number) {
	(void)number;
	alarms++;
}

/* A signal ends a wait, and the mask of pselect and ppoll holds only inside it. */
HAZARD(interrupted) {
	(void)count, (void)arguments;
	struct sigaction action = {.sa_handler = on_alarm};
	sigset_t none;
	sigset_t alarm_only;
	sigset_t after;
	control_from("10.77.0.2", NULL, NULL);
	must("sigaction", sigaction(SIGALRM, &action, NULL));
	sigemptyset(&none);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm_only, NULL);
	int e = must("epoll_create1", epoll_create1(0));
	struct epoll_event event;
	raise(SIGALRM);
	show("ppoll", ppoll(NULL, 0, NULL, &none));
	raise(SIGALRM);
	show("pselect", pselect(0, NULL, NULL, NULL, NULL, &none));
	raise(SIGALRM);
	show("epoll_pwait", epoll_pwait(e, &event, 1, -1, &none));
	show("alarms", alarms);
	sigprocmask(SIG_SETMASK, NULL, &after);
	show("still blocked", sigismember(&after, SIGALRM));
	return 0;
}
