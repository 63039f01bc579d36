/* Calls that wait for descriptors: a program that serves several hosts gets one ready one a round. */
#include "check.h"
#include "epollmap.h"
#include "export.h"
#include "real.h"
#include "round.h"

/* --- poll --- */

static int limit_poll(struct pollfd *list, nfds_t count, int ready) {
	struct round_choice choice = round_choose();
	if (ready <= 0)
		return ready;
	for (nfds_t i = 0; i < count; i++)
		if (list[i].revents != 0)
			round_add(&choice, list[i].fd);
	if (!round_decide(&choice))
		return ready;
	int kept = 0;
	for (nfds_t i = 0; i < count; i++) {
		if (list[i].fd != choice.chosen)
			list[i].revents = 0;
		kept += list[i].revents != 0;
	}
	return kept;
}

int poll(struct pollfd *list, nfds_t count, int timeout) {
	round_end();
	int ready = real.poll(list, count, timeout);
	return round_limited() ? limit_poll(list, count, ready) : ready;
}

int __poll(struct pollfd *list, nfds_t count, int timeout) {
	return poll(list, count, timeout);
}

int ppoll(struct pollfd *list, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
	round_end();
	int ready = real.ppoll(list, count, timeout, mask);
	return round_limited() ? limit_poll(list, count, ready) : ready;
}

int __poll_chk(struct pollfd *list, nfds_t count, int timeout, size_t room) {
	check_room(count, room / sizeof *list);
	return poll(list, count, timeout);
}

int __ppoll_chk(struct pollfd *list, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t room) {
	check_room(count, room / sizeof *list);
	return ppoll(list, count, timeout, mask);
}

long hook_poll(long number, long a, long b, long c, long d, long e) {
	round_end();
	int ready = (int)real.syscall(number, a, b, c, d, e);
	return round_limited() ? limit_poll((struct pollfd *)a, (nfds_t)b, ready) : ready;
}

/* --- select --- */

#define WORD_BITS (8 * (int)sizeof(unsigned long))

/* Programs may pass sets that are larger than fd_set; the kernel takes words. */
static bool has(const fd_set *set, int fd) {
	const unsigned long *words = (const unsigned long *)set;
	return words != NULL && (words[fd / WORD_BITS] >> (fd % WORD_BITS) & 1) != 0;
}

/* The number of bits that stay: 1 when `fd` was in the set. */
static int keep_only(fd_set *set, int count, int fd) {
	unsigned long *words = (unsigned long *)set;
	bool was = has(set, fd);
	for (int i = 0; words != NULL && i * WORD_BITS < count; i++)
		words[i] = 0;
	if (was)
		words[fd / WORD_BITS] = 1ul << (fd % WORD_BITS);
	return was;
}

static int limit_select(int count, fd_set *in, fd_set *out, fd_set *special, int ready) {
	struct round_choice choice = round_choose();
	int left = ready;
	for (int fd = 0; fd < count && left > 0; fd++) {
		int bits = has(in, fd) + has(out, fd) + has(special, fd);
		if (bits > 0)
			round_add(&choice, fd);
		left -= bits;
	}
	if (!round_decide(&choice))
		return ready;
	return keep_only(in, count, choice.chosen) + keep_only(out, count, choice.chosen) +
	       keep_only(special, count, choice.chosen);
}

int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict special,
           struct timeval *restrict timeout) {
	round_end();
	int ready = real.select(count, in, out, special, timeout);
	return round_limited() ? limit_select(count, in, out, special, ready) : ready;
}

int __select(int count, fd_set *in, fd_set *out, fd_set *special, struct timeval *timeout) {
	return select(count, in, out, special, timeout);
}

int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict special,
            const struct timespec *restrict timeout, const sigset_t *restrict mask) {
	round_end();
	int ready = real.pselect(count, in, out, special, timeout, mask);
	return round_limited() ? limit_select(count, in, out, special, ready) : ready;
}

long hook_select(long number, long a, long b, long c, long d, long e, long f) {
	round_end();
	int ready = (int)real.syscall(number, a, b, c, d, e, f);
	return round_limited()
	           ? limit_select((int)a, (fd_set *)b, (fd_set *)c, (fd_set *)d, ready)
	           : ready;
}

/* --- epoll: the kernel limits and rotates, and keeps what it has not told yet --- */

int epoll_ctl(int set, int command, int fd, struct epoll_event *event) {
	int result = real.epoll_ctl(set, command, fd, event);
	if (result == 0 && command != EPOLL_CTL_DEL)
		epollmap_set(set, event->data.u64, fd);
	return result;
}

static int room_of(int room) {
	round_end();
	return room > 1 && round_limited() ? 1 : room;
}

static int begin(int set, const struct epoll_event *events, int ready) {
	if (ready == 1 && round_limited())
		round_begin(epollmap_get(set, events->data.u64));
	return ready;
}

int epoll_wait(int set, struct epoll_event *events, int room, int timeout) {
	return begin(set, events, real.epoll_wait(set, events, room_of(room), timeout));
}

int epoll_pwait(int set, struct epoll_event *events, int room, int timeout, const sigset_t *mask) {
	return begin(set, events, real.epoll_pwait(set, events, room_of(room), timeout, mask));
}

int epoll_pwait2(int set, struct epoll_event *events, int room, const struct timespec *timeout,
                 const sigset_t *mask) {
	return begin(set, events, real.epoll_pwait2(set, events, room_of(room), timeout, mask));
}

long hook_epoll(long number, long a, long b, long c, long d, long e, long f) {
	return begin((int)a, (struct epoll_event *)b,
	             (int)real.syscall(number, a, b, room_of((int)c), d, e, f));
}
