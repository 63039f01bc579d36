/* The system call filters: that of the traced program, and that of the supervisor itself. */
#ifndef DIAPER_TRACE_FILTER_H
#define DIAPER_TRACE_FILTER_H

/*
 * From now on bind and listen of this process, and of all that it ever starts, wait for whoever
 * holds the descriptor that is returned, and io_uring_setup fails with ENOSYS, since rings bind
 * sockets past every filter. -1 with errno: EBUSY when another program holds such a descriptor for
 * this process already, EINVAL where the kernel is older than 5.19.
 */
int filter_install(void);

/* Leaves the supervisor the calls that it makes, and no others. -1 with errno. */
int filter_confine_supervisor(void);

#endif
