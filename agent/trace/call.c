#include "call.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "endpoint.h"
#include "facts.h"
#include "held.h"
#include "notice.h"
#include "ports.h"
#include "rights.h"
#include "target.h"

static uint64_t own_namespace;

void call_start(void) {
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	own_namespace = facts_namespace(fd);
	close(fd);
}

/* The call in hand. */
struct call {
	uint64_t id;
	struct target target;
	int fd;     /* in the thread */
	int socket; /* our duplicate */
	bool is_bind;
};

static uint64_t real_time(void) {
	struct timespec time;
	clock_gettime(CLOCK_REALTIME, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* True when the broker was asked, and the call waits for its answer. */
static bool ask(const struct call *call, enum peers peers, const struct peer *peer, bool may_fail) {
	struct held held = {
	    .id = call->id,
	    .cookie = facts_cookie(call->socket),
	    .thread = call->target.thread,
	    .fd = call->fd,
	    .may_fail = may_fail,
	};
	struct wire_open *message = &held.message;
	message->descriptor = (uint32_t)call->fd;
	message->bound_at = real_time();
	if (peers == PEERS_SEVERAL) {
		message->flags = WIRE_OPEN_UNCLEAR;
	} else {
		message->source_family = peer->remote.family;
		memcpy(message->source, peer->remote.address, sizeof message->source);
		message->control_family = peer->local.family;
		memcpy(message->control, peer->local.address, sizeof message->control);
		message->control_port = peer->local.port;
	}
	message->header = broker_header(WIRE_TRACED, sizeof *message);
	return held_ask(&held, &call->target, call->socket);
}

/*
 * The socket has a port. True when the call waits for the broker.
 *
 * chosen: the program asked for this number.
 */
static bool port_is_known(const struct call *call, bool chosen, bool may_fail) {
	struct endpoint local;
	struct peer peer;
	uint8_t protocol = facts_protocol(call->socket);
	if (protocol == 0 || !endpoint_local(&local, call->socket) || local.port == 0 ||
	    endpoint_is_loopback(&local) || ports_is_control(protocol, local.port))
		return false;
	enum peers peers = ports_peers(&call->target, &peer);
	if (peers == PEERS_NONE) {
		/* A port that the kernel chose may still be a client's: its listen decides. */
		if (chosen || !call->is_bind)
			ports_claim_control(protocol, local.port);
		return false;
	}
	if (peers == PEERS_ONE && endpoint_is_loopback(&peer.remote))
		return false;
	return ask(call, peers, &peer, may_fail);
}

static int bind_as_thread(const struct call *call, const void *address, socklen_t length) {
	int error = bind(call->socket, address, length) == 0 ? 0 : errno;
	if (error != EACCES || !rights_thread_has_ports(call->target.thread) ||
	    !notice_is_valid(call->id) || !rights_lend_ports())
		return error;
	error = bind(call->socket, address, length) == 0 ? 0 : errno;
	rights_return_ports();
	return error;
}

/* An error number, 0, or -1 when the call waits for the broker. */
static int make_bind(const struct call *call, const __u64 *arguments) {
	struct sockaddr_storage address;
	struct endpoint asked;
	int length = (int)arguments[2];
	if (length < 0 || (size_t)length > sizeof address)
		return EINVAL;
	if (length > 0 && !target_read(&call->target, arguments[1], &address, (size_t)length))
		return EFAULT;
	/* What was read may be another process's, that got the number of one that was killed. */
	if (!notice_is_valid(call->id))
		return 0;
	int error = bind_as_thread(call, &address, (socklen_t)length);
	if (error != 0)
		return error;
	if (!endpoint_parse(&asked, &address, (socklen_t)length) || endpoint_is_loopback(&asked))
		return 0;
	return port_is_known(call, asked.port != 0, true) ? -1 : 0;
}

static int make_listen(const struct call *call, const __u64 *arguments) {
	struct endpoint before;
	bool had_port = endpoint_local(&before, call->socket) && before.port != 0;
	if (!notice_is_valid(call->id))
		return 0;
	if (listen(call->socket, (int)arguments[1]) != 0)
		return errno;
	if (held_was_asked(facts_cookie(call->socket)))
		return 0;
	return port_is_known(call, false, !had_port) ? -1 : 0;
}

static void handle_socket(const struct call *call, const struct seccomp_data *data) {
	int domain = facts_domain(call->socket);
	if (domain < 0) {
		notice_answer(call->id, errno);
		return;
	}
	/*
	 * No pinhole is ever made for these, so that nothing is gained by having another socket or
	 * address in their place when the kernel looks. Another network namespace's ports are not
	 * for our rights to decide.
	 */
	if ((domain != AF_INET && domain != AF_INET6) ||
	    facts_namespace(call->socket) != own_namespace) {
		notice_continue(call->id);
		return;
	}
	int result = call->is_bind ? make_bind(call, data->args) : make_listen(call, data->args);
	if (result >= 0)
		notice_answer(call->id, result);
}

void call_handle(const struct seccomp_notif *notice) {
	struct call call = {
	    .id = notice->id,
	    .fd = (int)notice->data.args[0],
	    .is_bind = notice->data.nr == SYS_bind,
	};
	if (!target_open(&call.target, (pid_t)notice->pid)) {
		/* Gone, or not to be looked at. */
		notice_answer(call.id, EACCES);
		return;
	}
	call.socket = target_descriptor(&call.target, call.fd);
	if (call.socket < 0) {
		/* What cannot be looked at (a process that hides itself from its own user) is refused. */
		notice_answer(call.id, errno == EBADF ? EBADF : EACCES);
	} else {
		handle_socket(&call, &notice->data);
		close(call.socket);
	}
	target_close(&call.target);
}
