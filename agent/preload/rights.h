/* Descriptors that a message brought (SCM_RIGHTS). */
#ifndef DIAPER_RIGHTS_H
#define DIAPER_RIGHTS_H

#include <sys/socket.h>

/* recvmsg has filled this in. */
void rights_received(struct msghdr *message);

#endif
