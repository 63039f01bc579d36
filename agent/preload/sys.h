/*
 * System calls without libc: they leave errno alone, are no cancellation points, and work before
 * the constructor ran and in a child of vfork. A result in [-4095, -1] is a negated errno.
 */
#ifndef DIAPER_SYS_H
#define DIAPER_SYS_H

#include <stdint.h>
#include <sys/syscall.h>

#if !defined(__x86_64__)
#error "write the system call instruction of this machine in sys.h and hook_syscall.S"
#endif

static inline long sys6(long number, long a, long b, long c, long d, long e, long f) {
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return result;
}

static inline long sys3(long number, long a, long b, long c) {
	return sys6(number, a, b, c, 0, 0, 0);
}

static inline long sys_ptr(const void *pointer) {
	return (long)(intptr_t)pointer;
}

#endif
