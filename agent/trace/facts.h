/* What the kernel says about a socket. */
#ifndef DIAPER_TRACE_FACTS_H
#define DIAPER_TRACE_FACTS_H

#include <stdint.h>

/* AF_INET and so on; -1 with errno, such as ENOTSOCK. */
int facts_domain(int fd);

/* IPPROTO_TCP (also for multipath TCP), IPPROTO_UDP, or 0 for what no pinhole is made for. */
uint8_t facts_protocol(int fd);

/* The socket's identity, or 0. */
uint64_t facts_cookie(int fd);

/* The network namespace's identity, or 0 where the kernel has none (before Linux 5.14). */
uint64_t facts_namespace(int fd);

#endif
