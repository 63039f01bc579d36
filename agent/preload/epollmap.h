/*
 * Which descriptor is it that epoll tells of? The program gave the kernel a word of its own for
 * each (often a pointer), and gets only that back. One table remembers the word of each descriptor,
 * another finds descriptors by word; what is out of date in it is noticed when it is looked up.
 */
#ifndef DIAPER_EPOLLMAP_H
#define DIAPER_EPOLLMAP_H

#include <stdint.h>

void epollmap_set(int set, uint64_t data, int fd);

/* -1: not known. */
int epollmap_get(int set, uint64_t data);

#endif
