#include "autobind.h"

#include <netinet/in.h>
#include <stddef.h>

#include "sys.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

void autobind(int fd) {
	union {
		struct sockaddr address;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} own;
	socklen_t length = sizeof own;
	int late = 0;
	socklen_t late_length = sizeof late;
	if (sys3(SYS_getsockname, fd, sys_ptr(&own), sys_ptr(&length)) != 0)
		return;
	/* The port is at one place in both families; the address is kept, as it may have been bound. */
	_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
	               "port");
	if ((own.address.sa_family != AF_INET && own.address.sa_family != AF_INET6) ||
	    own.in.sin_port != 0)
		return;
	sys6(SYS_getsockopt, fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, sys_ptr(&late),
	     sys_ptr(&late_length), 0);
	const int no = 0;
	if (late != 0)
		sys6(SYS_setsockopt, fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, sys_ptr(&no), sizeof no, 0);
	sys3(SYS_bind, fd, sys_ptr(&own), length);
	if (late != 0)
		sys6(SYS_setsockopt, fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, sys_ptr(&late), sizeof late, 0);
}
