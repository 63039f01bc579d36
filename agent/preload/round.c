#include "round.h"

#include "config.h"
#include "fdtable.h"
#include "pinhole.h"

static _Thread_local peer_id current;
static _Thread_local int last_chosen;

bool round_limited(void) {
	if (!pinhole_active || config.limit == CONFIG_LIMIT_NEVER)
		return false;
	return peer_multiplexed() || config.limit == CONFIG_LIMIT_ALWAYS;
}

void round_end(void) {
	current = 0;
	peer_next_round();
}

/* Whoever comes to a control port is somebody else each time: accept and recvfrom will tell. */
static peer_id peer_of(struct fd_entry entry) {
	return entry.kind == FD_CONTROL ? 0 : entry.peer;
}

void round_begin(int fd) {
	current = peer_of(fdtable_get(fd));
	last_chosen = fd;
}

peer_id round_peer(void) {
	return current;
}

struct round_choice round_choose(void) {
	return (struct round_choice){.last = last_chosen, .chosen = -1};
}

/* The next number after the last one, then from the beginning. */
static bool comes_before(const struct round_choice *choice, int left, int right) {
	bool left_later = left > choice->last;
	bool right_later = right > choice->last;
	return left_later == right_later ? left < right : left_later;
}

void round_add(struct round_choice *choice, int fd) {
	struct fd_entry entry = fdtable_get(fd);
	bool control = entry.kind == FD_CONTROL;
	if (choice->seen == 0)
		choice->peer = peer_of(entry);
	else if (control || choice->control || peer_of(entry) != choice->peer)
		choice->mixed = true;
	choice->control |= control;
	choice->seen++;
	if (choice->chosen < 0 || comes_before(choice, fd, choice->chosen))
		choice->chosen = fd;
}

bool round_decide(struct round_choice *choice) {
	if (choice->seen == 0)
		return false;
	if (choice->seen == 1 || choice->mixed) {
		round_begin(choice->chosen);
		return choice->seen > 1;
	}
	current = choice->peer;
	return false;
}
