/* One message over a SEQPACKET socket, within what is left of a time limit. */
#ifndef DIAPER_MESSAGE_H
#define DIAPER_MESSAGE_H

#include <linux/time_types.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum message_result {
	MESSAGE_DONE,
	MESSAGE_LATE, /* the time limit is over; the socket is still good */
	MESSAGE_DEAD, /* the other end is gone, or does not keep to the protocol */
};

struct __kernel_timespec message_time_limit(void);

/* Most descriptors that go with a message. */
#define MESSAGE_FDS 2

/* Sends the message that the header begins, with so many descriptors. */
enum message_result message_send(int socket, const struct wire_header *header, const int *fds,
                                 unsigned count, struct __kernel_timespec *left);

/* Waits for the verdict with this sequence number; answers that came too late for earlier ones
 * are passed over. */
enum message_result message_receive(int socket, uint32_t sequence,
                                    struct wire_verdict_message *verdict,
                                    struct __kernel_timespec *left);

/* Header of a message of ours. */
struct wire_header message_header(enum wire_type type, unsigned length);

#endif
