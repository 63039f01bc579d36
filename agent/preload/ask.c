#include "ask.h"

#include <errno.h>
#include <linux/time_types.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "channel.h"
#include "config.h"
#include "fdtable.h"
#include "refuse.h"
#include "sys.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

uint8_t ask_protocol(int fd) {
	int protocol = 0;
	socklen_t length = sizeof protocol;
	if (sys6(SYS_getsockopt, fd, SOL_SOCKET, SO_PROTOCOL, sys_ptr(&protocol), sys_ptr(&length), 0) != 0)
		return 0;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
		return IPPROTO_TCP;
	return protocol == IPPROTO_UDP ? IPPROTO_UDP : 0;
}

static uint64_t now(void) {
	struct __kernel_timespec time = {0};
	sys3(SYS_clock_gettime, CLOCK_REALTIME, sys_ptr(&time), 0);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fill(struct wire_open *message, const struct ask *ask) {
	memset(message, 0, sizeof *message);
	message->bound_at = now();
	if (ask->peer == NULL) {
		message->flags = WIRE_OPEN_UNCLEAR;
		return;
	}
	message->source_family = ask->peer->remote.family;
	memcpy(message->source, ask->peer->remote.address, sizeof message->source);
	if (ask->exact_port)
		message->source_port = ask->peer->remote.port;
	message->control_family = ask->peer->local.family;
	memcpy(message->control, ask->peer->local.address, sizeof message->control);
	message->control_port = ask->peer->local.port;
	if (ask->other != NULL && config.log == CONFIG_LOG_BROKER) {
		message->flags = WIRE_OPEN_DISPUTED;
		message->other_family = ask->other->remote.family;
		memcpy(message->other, ask->other->remote.address, sizeof message->other);
	}
}

/*
 * The end of a pinhole needs nothing here: the broker learns from the kernel when the socket is
 * released for good, whatever way that happens (close, exit, a signal, the last of several
 * processes). A hint at close could be wrong, as a raw clone shares a descriptor unseen.
 */
int ask_pinhole(struct ask ask) {
	struct wire_verdict_message verdict;
	struct wire_open message;
	struct fd_entry entry = fdtable_get(ask.fd);
	if (entry.kind != FD_CONTROL) {
		entry.kind = FD_DONE;
		entry.peer = ask.peer == NULL ? 0 : ask.peer->id;
	}
	if (ask.protocol == IPPROTO_UDP)
		entry.flags |= FD_FLAG_UDP;
	fdtable_set(ask.fd, entry);
	if (ask.peer != NULL && endpoint_is_loopback(&ask.peer->remote))
		return 0;
	if (config.log == CONFIG_LOG_STDERR && ask.peer == NULL)
		config_say("several hosts are connected, and nothing tells which of them a port is for\n");
	if (config.log == CONFIG_LOG_STDERR && ask.other != NULL)
		config_say("the round and the last read tell of different hosts: the round is right\n");
	fill(&message, &ask);
	if (channel_ask(&message, ask.fd, &verdict) && verdict.verdict != WIRE_VERDICT_OPEN &&
	    (verdict.flags & WIRE_FLAG_MUST_FAIL) != 0 && ask.may_fail) {
		refuse_binding(ask.fd);
		fdtable_forget(ask.fd);
		return EACCES;
	}
	return 0;
}
