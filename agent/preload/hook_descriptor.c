/* Calls that close and duplicate descriptors: they keep the table right, and the agent's own
 * descriptors out of the program's hands. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "control.h"
#include "export.h"
#include "fdtable.h"
#include "ownfd.h"
#include "pending.h"
#include "process.h"
#include "real.h"
#include "sys.h"

static int fail(int error) {
	errno = error;
	return -1;
}

static bool is_ours(int fd) {
	return fdtable_kind(fd) == FD_OURS;
}

int close(int fd) {
	enum fd_kind kind = fdtable_kind(fd);
	if (kind == FD_OURS)
		return fail(EBADF);
	/* Before the call: afterwards another thread may have the number already. */
	if (kind != FD_UNKNOWN && !process_is_shared())
		fdtable_forget(fd);
	return real.close(fd);
}

int __close(int fd) {
	return close(fd);
}

/* The range without the agent's own descriptors, piece by piece. */
static int close_around_own(unsigned first, unsigned last, int flags) {
	unsigned from = first;
	bool called = false;
	for (;;) {
		int own = ownfd_next(from);
		bool reaches = own >= 0 && (unsigned)own <= last;
		unsigned to = reaches ? (unsigned)own - 1 : last;
		if (!reaches || (unsigned)own > from) {
			if (real.close_range(from, to, flags) != 0)
				return -1;
			called = true;
		}
		if (!reaches)
			return 0;
		if ((unsigned)own == last)
			break;
		from = (unsigned)own + 1;
	}
	/* Nothing but own ones: the flags are still to be judged. No descriptor has this number. */
	return called ? 0 : real.close_range(UINT_MAX, UINT_MAX, flags);
}

int close_range(unsigned first, unsigned last, int flags) {
	if (first > last)
		return real.close_range(first, last, flags);
	int result = close_around_own(first, last, flags);
	if (result == 0 && (flags & (int)CLOSE_RANGE_CLOEXEC) == 0 && !process_is_shared())
		for (unsigned from = first;;) {
			int own = ownfd_next(from);
			bool reaches = own >= 0 && (unsigned)own <= last;
			if (!reaches || (unsigned)own > from)
				fdtable_forget_range(from, reaches ? (unsigned)own - 1 : last);
			if (!reaches || (unsigned)own == last)
				break;
			from = (unsigned)own + 1;
		}
	return result;
}

/* Not libc's: that one would close the agent's descriptors with the others. */
void closefrom(int lowest) {
	int saved = errno;
	unsigned first = lowest < 0 ? 0 : (unsigned)lowest;
	if (close_range(first, UINT_MAX, 0) != 0) {
		struct rlimit limit = {.rlim_cur = 1024};
		sys3(SYS_getrlimit, RLIMIT_NOFILE, sys_ptr(&limit), 0);
		unsigned end = limit.rlim_cur < INT_MAX ? (unsigned)limit.rlim_cur : INT_MAX;
		for (unsigned fd = first; fd < end; fd++)
			close((int)fd);
	}
	errno = saved;
}

int fclose(FILE *stream) {
	if (real.fclose == NULL)
		real_resolve();
	int saved = errno;
	int fd = real.fileno(stream);
	errno = saved;
	enum fd_kind kind = fdtable_kind(fd);
	if (kind != FD_UNKNOWN && kind != FD_OURS && !process_is_shared())
		fdtable_forget(fd);
	return real.fclose(stream);
}

static void copy_entry(int from, int to) {
	struct fd_entry entry = fdtable_get(from);
	if ((entry.kind == FD_UNKNOWN && fdtable_kind(to) == FD_UNKNOWN) || process_is_shared())
		return;
	fdtable_set(to, entry);
	if (entry.kind == FD_PENDING || (entry.kind == FD_CONTROL && !control_confirmed()))
		pending_add(to);
}

int dup(int fd) {
	if (is_ours(fd))
		return fail(EBADF);
	int copy = real.dup(fd);
	if (copy >= 0)
		copy_entry(fd, copy);
	return copy;
}

/*
 * Whether a program's dup2 has to be turned down because the agent sits on the target. EBUSY is
 * what dup2(2) gives for a number that is just being used. Own descriptors are where nobody
 * duplicates to, except in a sweep over all numbers, or in a child of vfork, which has a table of
 * descriptors of its own and may do as it likes.
 */
static int obstacle(int from, int to) {
	if (is_ours(from))
		return EBADF;
	if (from == to || !is_ours(to) || process_is_shared())
		return 0;
	return sys3(SYS_fcntl, from, F_GETFD, 0) < 0 ? EBADF : EBUSY;
}

int dup2(int from, int to) {
	int error = obstacle(from, to);
	if (error != 0)
		return fail(error);
	int result = real.dup2(from, to);
	if (result >= 0 && from != to)
		copy_entry(from, to);
	return result;
}

int __dup2(int from, int to) {
	return dup2(from, to);
}

int dup3(int from, int to, int flags) {
	int error = obstacle(from, to);
	if (error != 0)
		return fail(error);
	int result = real.dup3(from, to, flags);
	if (result >= 0)
		copy_entry(from, to);
	return result;
}

static int do_fcntl(int (*call)(int, int, ...), int fd, int command, void *argument) {
	if (is_ours(fd))
		return fail(EBADF);
	int result = call(fd, command, argument);
	if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
		copy_entry(fd, result);
	return result;
}

#define DEFINE_FCNTL(name, call)                                                                   \
	int name(int fd, int command, ...) {                                                       \
		va_list list;                                                                      \
		va_start(list, command);                                                           \
		void *argument = va_arg(list, void *);                                             \
		va_end(list);                                                                      \
		return do_fcntl(call, fd, command, argument);                                      \
	}

DEFINE_FCNTL(fcntl, real.fcntl)
DEFINE_FCNTL(fcntl64, real.fcntl64)
DEFINE_FCNTL(__fcntl, real.fcntl)
