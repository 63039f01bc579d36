/*
 * Asking the broker. A process asks over channels of its own: one end of a socketpair, whose other
 * end it sent over the trunk together with what it first asked for. That works after chroot and setuid and in another network namespace,
 * and the kernel names the right process to the broker. They are made when they are first needed.
 */
#ifndef DIAPER_CHANNEL_H
#define DIAPER_CHANNEL_H

#include <stdbool.h>

#include "wire.h"

/*
 * Fills in the header, sends OPEN (or CHANNEL) with a descriptor, and waits for the verdict. False when there
 * was none within the time limit, or there is no way to the broker: then there is no pinhole, and
 * the program goes on. Handlers of signals run during the wait, and may ask themselves.
 */
bool channel_ask(struct wire_open *message, int fd, struct wire_verdict_message *verdict);

#endif
