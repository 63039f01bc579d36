/* What glibc's fortified calls (__read_chk and others) check before they do the plain one. */
#ifndef DIAPER_CHECK_H
#define DIAPER_CHECK_H

#include <stddef.h>

/* Ends the program when a call may write more than there is room for. */
void check_room(size_t size, size_t room);

#endif
