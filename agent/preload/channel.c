#include "channel.h"

#include <stddef.h>
#include <sys/socket.h>

#include "message.h"
#include "ownfd.h"
#include "process.h"
#include "sys.h"
#include "trunk.h"

/*
 * An ask has a channel for itself, so that there is no lock, and no answer for somebody else to
 * hand on. A process keeps a few channels; more threads (or handlers) that ask at the same time
 * get one that is closed afterwards. A handler that leaves by longjmp keeps its channel busy.
 */
#define NO_SLOT PROCESS_CHANNELS

/* A new channel of this process, over which the message's answer will come; or -1. */
static int ask_with_channel(struct wire_open *message, int fd, struct __kernel_timespec *left) {
	int ends[2];
	int on = 1;
	if (sys6(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sys_ptr(ends), 0, 0) != 0)
		return -1;
	/* The kernel adds the sender's credentials to a message only when the receiving end asks for
	 * them, and the broker gets to see that end after the first message was sent. */
	sys6(SYS_setsockopt, ends[1], SOL_SOCKET, SO_PASSCRED, sys_ptr(&on), sizeof on, 0);
	message->header = message_header(WIRE_CHANNEL, sizeof *message);
	enum message_result sent =
	    message_send(trunk_fd(), &message->header, (int[]){ends[1], fd}, 2, left);
	sys3(SYS_close, ends[1], 0, 0);
	if (sent != MESSAGE_DONE) {
		sys3(SYS_close, ends[0], 0, 0);
		return -1;
	}
	return ownfd_adopt(ends[0], OWNFD_PROCESS);
}

static unsigned take_slot(void) {
	for (unsigned i = 0; i < PROCESS_CHANNELS; i++)
		if (__atomic_exchange_n(&process_page->channel[i].busy, 1, __ATOMIC_ACQUIRE) == 0)
			return i;
	return NO_SLOT;
}

static int kept_channel(unsigned slot) {
	if (slot == NO_SLOT)
		return -1;
	/* Slot 0 of the process that made the trunk is the trunk. */
	if (slot == 0 && trunk_is_own())
		return trunk_fd();
	return __atomic_load_n(&process_page->channel[slot].fd_plus_one, __ATOMIC_RELAXED) - 1;
}

static void keep_channel(unsigned slot, int fd) {
	__atomic_store_n(&process_page->channel[slot].fd_plus_one, fd + 1, __ATOMIC_RELAXED);
}

static enum message_result exchange(unsigned slot, struct wire_open *message, int fd,
                                    struct wire_verdict_message *verdict,
                                    struct __kernel_timespec *left) {
	int channel = kept_channel(slot);
	bool is_trunk = channel >= 0 && channel == trunk_fd();
	enum message_result result = MESSAGE_DONE;
	if (channel < 0) {
		channel = ask_with_channel(message, fd, left);
		if (channel < 0)
			return MESSAGE_DEAD;
	} else {
		message->header = message_header(WIRE_OPEN, sizeof *message);
		result = message_send(channel, &message->header, &fd, 1, left);
	}
	if (result == MESSAGE_DONE)
		result = message_receive(channel, message->header.sequence, verdict, left);
	if (is_trunk)
		return result;
	bool keep = result != MESSAGE_DEAD && slot != NO_SLOT;
	if (slot != NO_SLOT)
		keep_channel(slot, keep ? channel : -1);
	if (!keep)
		ownfd_close(channel);
	return result;
}

bool channel_ask(struct wire_open *message, int fd, struct wire_verdict_message *verdict) {
	struct __kernel_timespec left = message_time_limit();
	unsigned slot = take_slot();
	enum message_result result = exchange(slot, message, fd, verdict, &left);
	if (result == MESSAGE_DEAD) {
		/* The broker may have been restarted. */
		trunk_refresh();
		result = exchange(slot, message, fd, verdict, &left);
	}
	if (slot != NO_SLOT)
		__atomic_store_n(&process_page->channel[slot].busy, 0, __ATOMIC_RELEASE);
	return result == MESSAGE_DONE;
}
