#include "notice.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.6. */
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

static int listener = -1;
/* Room for what later kernels add (SECCOMP_GET_NOTIF_SIZES). */
static union {
	struct seccomp_notif notice;
	char room[512];
} request;
static union {
	struct seccomp_notif_resp answer;
	char room[512];
} response;

bool notice_start(int fd) {
	struct seccomp_notif_sizes sizes;
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0 ||
	    sizes.seccomp_notif > sizeof request || sizes.seccomp_notif_resp > sizeof response)
		return false;
	listener = fd;
	/* The two threads take turns: no need for another processor. Without it, it takes a little longer. */
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, 0);
	return true;
}

const struct seccomp_notif *notice_take(void) {
	memset(&request, 0, sizeof request);
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) == 0 ? &request.notice : NULL;
}

bool notice_is_valid(uint64_t id) {
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static void respond(uint64_t id, int error, uint32_t flags) {
	memset(&response, 0, sizeof response);
	response.answer.id = id;
	response.answer.error = -error;
	response.answer.flags = flags;
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void notice_answer(uint64_t id, int error) {
	respond(id, error, 0);
}

void notice_continue(uint64_t id) {
	respond(id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

bool notice_replace(uint64_t id, int ours, int theirs, bool close_on_exec) {
	struct seccomp_notif_addfd add = {
	    .id = id,
	    .flags = SECCOMP_ADDFD_FLAG_SETFD,
	    .srcfd = (uint32_t)ours,
	    .newfd = (uint32_t)theirs,
	    .newfd_flags = close_on_exec ? O_CLOEXEC : 0,
	};
	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0;
}
