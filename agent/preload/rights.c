#include "rights.h"

#include <stddef.h>
#include <string.h>

#include "meet.h"

void rights_received(struct msghdr *message) {
	if (message == NULL || message->msg_control == NULL)
		return;
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
	     part = CMSG_NXTHDR(message, part)) {
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS ||
		    part->cmsg_len < CMSG_LEN(0))
			continue;
		for (size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
			meet_passed(fd);
		}
	}
}
