/* Calls that read from connections: this thread deals with whom it has last read from. */
#include "check.h"
#include "export.h"
#include "meet.h"
#include "real.h"

ssize_t read(int fd, void *buffer, size_t size) {
	ssize_t result = real.read(fd, buffer, size);
	if (result > 0)
		meet_read(fd);
	return result;
}

ssize_t __read(int fd, void *buffer, size_t size) {
	return read(fd, buffer, size);
}

ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room) {
	check_room(size, room);
	return read(fd, buffer, size);
}

ssize_t readv(int fd, const struct iovec *pieces, int count) {
	ssize_t result = real.readv(fd, pieces, count);
	if (result > 0)
		meet_read(fd);
	return result;
}
