#include "check.h"

#include "real.h"

void check_room(size_t size, size_t room) {
	if (size <= room)
		return;
	if (real.chk_fail != NULL)
		real.chk_fail();
	__builtin_trap();
}
