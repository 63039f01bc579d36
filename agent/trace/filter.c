#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "name this machine's AUDIT_ARCH"
#endif

/* Linux 5.19. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define FIELD(name) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, name))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))

static long install(struct sock_filter *code, unsigned short length, unsigned long flags) {
	struct sock_fprog program = {.len = length, .filter = code};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

#define COUNT(array) ((unsigned short)(sizeof(array) / sizeof((array)[0])))

int filter_install(void) {
	/*
	 * A program of another architecture (32 bits) is let alone but for its rings: what it binds has
	 * no pinhole. io_uring_setup has the same number everywhere.
	 */
	static struct sock_filter code[] = {
	    FIELD(nr),
	    UNLESS(SYS_io_uring_setup, 1),
	    RETURN(SECCOMP_RET_ERRNO | ENOSYS),
	    FIELD(arch),
	    UNLESS(NATIVE_ARCH, 5),
	    FIELD(nr),
	    UNLESS(SYS_bind, 1),
	    RETURN(SECCOMP_RET_USER_NOTIF),
	    UNLESS(SYS_listen, 1),
	    RETURN(SECCOMP_RET_USER_NOTIF),
	    RETURN(SECCOMP_RET_ALLOW),
	};
	return (int)install(code, COUNT(code),
	                    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
}

/* Everything that supervisor.c and what it calls needs, the C library's ways included. */
static const unsigned own_calls[] = {
    SYS_ioctl,       SYS_poll,       SYS_ppoll,       SYS_recvfrom,    SYS_sendmsg,
    SYS_sendto,
    SYS_pidfd_open,  SYS_pidfd_getfd, SYS_process_vm_readv, SYS_bind,  SYS_listen,
    SYS_getsockopt,  SYS_setsockopt, SYS_getsockname, SYS_getpeername, SYS_close,
    SYS_openat,      SYS_open,       SYS_read,        SYS_readlink,    SYS_readlinkat,
    SYS_getdents64,  SYS_clock_gettime, SYS_capset,   SYS_socket,      SYS_connect,
    SYS_dup3,        SYS_fcntl,      SYS_exit_group,  SYS_exit,        SYS_rt_sigreturn,
};

int filter_confine_supervisor(void) {
	struct sock_filter code[4 + 2 * COUNT(own_calls) + 1];
	unsigned short n = 0;
	code[n++] = (struct sock_filter)FIELD(arch);
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
	code[n++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
	code[n++] = (struct sock_filter)FIELD(nr);
	for (unsigned i = 0; i < COUNT(own_calls); i++) {
		code[n++] = (struct sock_filter)UNLESS(own_calls[i], 1);
		code[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
	}
	code[n++] = (struct sock_filter)RETURN(SECCOMP_RET_ERRNO | EPERM);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return (int)install(code, n, 0);
}
