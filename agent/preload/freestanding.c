/*
 * What the compiler calls by itself. Own copies, since memcpy is GLIBC_2.14 and __stack_chk_fail
 * GLIBC_2.4 in libc, and the agent has to load below both.
 */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *left, const void *right, size_t size);
_Noreturn void __stack_chk_fail(void);

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t size) {
	unsigned char *t = to;
	const unsigned char *f = from;
	if (t <= f)
		return memcpy(to, from, size);
	while (size-- > 0)
		((volatile unsigned char *)t)[size] = f[size];
	return to;
}

void *memset(void *to, int value, size_t size) {
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}

int memcmp(const void *left, const void *right, size_t size) {
	const volatile unsigned char *l = left;
	const volatile unsigned char *r = right;
	for (size_t i = 0; i < size; i++)
		if (l[i] != r[i])
			return l[i] < r[i] ? -1 : 1;
	return 0;
}

_Noreturn void __stack_chk_fail(void) {
	for (;;)
		__builtin_trap();
}
