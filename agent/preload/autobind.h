/*
 * A datagram socket that sends without having been bound gets its port from the kernel in sendto,
 * too late for a pinhole: the answer may come at once. So the agent gets it the port just before,
 * in the way the kernel would.
 */
#ifndef DIAPER_AUTOBIND_H
#define DIAPER_AUTOBIND_H

/* Does nothing when there is a port already. A failure is sendto's to tell. */
void autobind(int fd);

#endif
