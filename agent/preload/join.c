#include "join.h"

#include <linux/time_types.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "message.h"
#include "sys.h"
#include "wire.h"

/* The wrapper has seen it come: it is there at once or never. */
static bool take_ticket(int wrapper, struct wire_join *join) {
	struct wire_ticket ticket;
	long n = sys6(SYS_recvfrom, wrapper, sys_ptr(&ticket), sizeof ticket, MSG_DONTWAIT | MSG_TRUNC, 0, 0);
	if (n != (long)sizeof ticket || ticket.header.magic != WIRE_MAGIC ||
	    ticket.header.type != WIRE_TICKET || ticket.header.length != sizeof ticket)
		return false;
	join->header = message_header(WIRE_JOIN, sizeof *join);
	memcpy(join->ticket, ticket.ticket, sizeof join->ticket);
	memset(&ticket, 0, sizeof ticket);
	return true;
}

bool join_client(int wrapper, int fd) {
	struct __kernel_timespec left = message_time_limit();
	struct wire_verdict_message verdict;
	struct wire_join join;
	/* The kernel has done so already where the wrapper made the program unreadable (execve(2)). */
	sys6(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
	bool joined = take_ticket(wrapper, &join) &&
	              message_send(fd, &join.header, NULL, 0, &left) == MESSAGE_DONE &&
	              message_receive(fd, join.header.sequence, &verdict, &left) == MESSAGE_DONE &&
	              verdict.verdict == WIRE_VERDICT_OPEN;
	memset(&join, 0, sizeof join);
	return joined;
}
