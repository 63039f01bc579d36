/* What may happen while bind waits for the broker. */
#include "hazard.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>

static volatile sig_atomic_t ticks;

static void on_tick(int number) {
	(void)number;
	ticks++;
}

static void start_ticks(void (*handler)(int), int flags, long interval_us) {
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
	struct itimerval timer = {.it_interval = {.tv_usec = interval_us},
	                          .it_value = {.tv_usec = interval_us}};
	must("sigaction", sigaction(SIGALRM, &action, NULL));
	must("setitimer", setitimer(ITIMER_REAL, &timer, NULL));
}

static void stop_ticks(void) {
	struct itimerval none = {.it_value = {0}};
	setitimer(ITIMER_REAL, &none, NULL);
}

static volatile int tried;

static int try_bind(int port) {
	struct any_address any = address_of(HOST, port);
	int fd = must("socket", socket(AF_INET, SOCK_STREAM, 0));
	tried = fd;
	int result = bind(fd, &any.address, any.length);
	close(fd);
	return result;
}

/* A storm of signals without SA_RESTART: bind is never interrupted, and handlers run. */
HAZARD(storm) {
	int binds = count > 0 ? atoi(arguments[0]) : 200;
	int failed = 0;
	sigset_t before = {0};
	sigset_t after = {0};
	control_from("10.77.0.2", NULL, NULL);
	sigprocmask(SIG_SETMASK, NULL, &before);
	start_ticks(on_tick, 0, 97);
	for (int i = 0; i < binds; i++)
		failed += try_bind(4000 + i) != 0;
	stop_ticks();
	sigprocmask(SIG_SETMASK, NULL, &after);
	show("failed", failed);
	show("mask kept", memcmp(&before, &after, sizeof before) == 0);
	show("handler ran in a bind", count > 1 ? ticks > binds : 1);
	return 0;
}

/* errno, mask and blocking mode after a bind. */
HAZARD(state) {
	(void)count, (void)arguments;
	struct any_address any = address_of(HOST, 3110);
	sigset_t mask;
	sigset_t after;
	control_from("10.77.0.2", NULL, NULL);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	raise(SIGUSR1);
	errno = 77;
	show("bind", bind(fd, &any.address, any.length));
	show("errno", errno);
	show("listen", listen(fd, 1));
	show("errno", errno);
	sigpending(&after);
	show("still pending", sigismember(&after, SIGUSR1));
	show("O_NONBLOCK", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	show("bind again", bind(fd, &any.address, any.length));
	return 0;
}

static sigjmp_buf away;

static void on_jump(int number) {
	(void)number;
	siglongjmp(away, 1);
}

/* A handler that leaves the held bind for good. */
HAZARD(longjmp) {
	(void)count, (void)arguments;
	control_from("10.77.0.2", NULL, NULL);
	for (volatile int i = 0; i < 8; i++) {
		if (sigsetjmp(away, 1) == 0) {
			start_ticks(on_jump, 0, 5000);
			try_bind(3120 + i);
			for (;;)
				pause();
		}
		stop_ticks();
		close(tried);
	}
	auxiliary("after", 3130);
	return 0;
}

static void on_nested(int number) {
	(void)number;
	if (ticks++ == 0)
		try_bind(3141);
}

/* A handler that binds itself. */
HAZARD(nested) {
	(void)count, (void)arguments;
	control_from("10.77.0.2", NULL, NULL);
	start_ticks(on_nested, 0, 5000);
	show("outer", try_bind(3140));
	while (ticks == 0)
		pause();
	stop_ticks();
	return 0;
}

static pthread_barrier_t barrier;

static void *bind_many(void *argument) {
	long number = (long)argument;
	long failed = 0;
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 20; i++)
		failed += try_bind(5000 + (int)number * 20 + i) != 0;
	return (void *)failed;
}

HAZARD(threads) {
	(void)count, (void)arguments;
	enum { THREADS = 100 };
	pthread_t threads[THREADS];
	long failed = 0;
	control_from("10.77.0.2", NULL, NULL);
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		must("thread", -pthread_create(&threads[i], NULL, bind_many, (void *)i));
	for (long i = 0; i < THREADS; i++) {
		void *result = NULL;
		pthread_join(threads[i], &result);
		failed += (long)result;
	}
	show("failed", failed);
	return 0;
}

static int shared_listener;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *serve(void *argument) {
	struct any_address any = {.length = sizeof any.storage};
	(void)argument;
	pthread_mutex_lock(&turn);
	int fd = must("accept", accept(shared_listener, &any.address, &any.length));
	pthread_mutex_unlock(&turn);
	/* All have accepted before the first of them binds. */
	pthread_barrier_wait(&barrier);
	int host = (int)(ntohl(any.in.sin_addr.s_addr) & 0xff);
	long failed = try_bind(3150 + host);
	close(fd);
	return (void *)failed;
}

/* A thread for each client: the port is for the client of the thread. */
HAZARD(thread_peers) {
	(void)count, (void)arguments;
	enum { CLIENTS = 4 };
	pthread_t threads[CLIENTS];
	long failed = 0;
	shared_listener = listening(HOST, CONTROL_PORT);
	pthread_barrier_init(&barrier, NULL, CLIENTS);
	for (long i = 0; i < CLIENTS; i++) {
		char source[32];
		snprintf(source, sizeof source, "10.77.0.%ld", i + 2);
		connected(source, HOST, CONTROL_PORT);
		must("thread", -pthread_create(&threads[i], NULL, serve, NULL));
	}
	for (long i = 0; i < CLIENTS; i++) {
		void *result = NULL;
		pthread_join(threads[i], &result);
		failed += (long)result;
	}
	show("failed", failed);
	return 0;
}

static void *wait_for_ever(void *argument) {
	accept(*(int *)argument, NULL, NULL);
	return NULL;
}

/* accept is a cancellation point. */
HAZARD(cancel) {
	(void)count, (void)arguments;
	pthread_t thread;
	void *result = NULL;
	int listener = listening(HOST, CONTROL_PORT);
	must("thread", -pthread_create(&thread, NULL, wait_for_ever, &listener));
	show("cancel", pthread_cancel(thread));
	pthread_join(thread, &result);
	show("cancelled", result == PTHREAD_CANCELED);
	return 0;
}

/* Waits for a line before each step, for tests that do something to the broker in between. */
HAZARD(steps) {
	(void)count, (void)arguments;
	char line[16];
	int listener;
	control_from("10.77.0.2", NULL, &listener);
	puts("ready");
	fflush(stdout);
	for (int i = 0; fgets(line, sizeof line, stdin) != NULL; i++) {
		if (line[0] == 'c') {
			connected("10.77.0.3", HOST, CONTROL_PORT);
			show("accept", must("accept", accept(listener, NULL, NULL)) >= 0);
		} else {
			show("bind", try_bind(3160 + i));
		}
	}
	return 0;
}
