/*
 * A new thread deals with whom its maker dealt with, until it accepts or reads something itself.
 * What it has to be told is in one of a few slots, since nothing may be allocated here; threads that
 * find none free start without.
 */
#include <errno.h>
#include <stddef.h>

#include "export.h"
#include "peer.h"
#include "pinhole.h"
#include "process.h"
#include "real.h"

#define SLOTS 256

static struct start {
	_Atomic int taken;
	union {
		void *(*posix)(void *);
		thrd_start_t c11;
	} run;
	void *argument;
	peer_id peer;
} slots[SLOTS];

static struct start *take(void *argument) {
	peer_id peer = pinhole_active ? peer_of_thread() : 0;
	if (peer == 0 || process_is_shared())
		return NULL;
	for (unsigned i = 0; i < SLOTS; i++)
		if (__atomic_exchange_n(&slots[i].taken, 1, __ATOMIC_ACQUIRE) == 0) {
			slots[i].argument = argument;
			slots[i].peer = peer;
			return &slots[i];
		}
	return NULL;
}

static void give_back(struct start *start) {
	__atomic_store_n(&start->taken, 0, __ATOMIC_RELEASE);
}

static void *run_posix(void *slot) {
	struct start start = *(struct start *)slot;
	give_back(slot);
	peer_read(start.peer);
	return start.run.posix(start.argument);
}

static int run_c11(void *slot) {
	struct start start = *(struct start *)slot;
	give_back(slot);
	peer_read(start.peer);
	return start.run.c11(start.argument);
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                   void *(*run)(void *), void *restrict argument) {
	if (real.fclose == NULL)
		real_resolve();
	if (real.pthread_create == NULL)
		return EAGAIN;
	struct start *start = take(argument);
	if (start == NULL)
		return real.pthread_create(thread, attributes, run, argument);
	start->run.posix = run;
	int error = real.pthread_create(thread, attributes, run_posix, start);
	if (error != 0)
		give_back(start);
	return error;
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *argument) {
	if (real.fclose == NULL)
		real_resolve();
	if (real.thrd_create == NULL)
		return thrd_error;
	struct start *start = take(argument);
	if (start == NULL)
		return real.thrd_create(thread, run, argument);
	start->run.c11 = run;
	int result = real.thrd_create(thread, run_c11, start);
	if (result != thrd_success)
		give_back(start);
	return result;
}
