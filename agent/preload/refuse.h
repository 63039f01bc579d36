/*
 * bind that has to fail after the kernel did it.
 *
 * Linux has no call that unbinds: connect(AF_UNSPEC) keeps a port that was asked for by number.
 * The agent cannot ask before, since the broker judges the bound socket and nothing else. So the
 * descriptor gets a fresh socket of the same kind, with the options that programs commonly set
 * before bind, which is what a failed bind leaves. What cannot be carried over: duplicates of the
 * old descriptor, which go on holding the (unreachable) port, its place in epoll sets, and options
 * that are not in the list. When no socket can be made (a sandbox, no descriptors left), the bound
 * one stays; without its pinhole nobody outside can reach it either.
 */
#ifndef DIAPER_REFUSE_H
#define DIAPER_REFUSE_H

void refuse_binding(int fd);

#endif
