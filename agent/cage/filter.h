/*
 * System calls that a scanner has no need of are refused: those that make sockets or processes, change mounts or
 * other processes, or reach rarely used parts of the kernel.
 */
#ifndef DIAPER_CAGE_FILTER_H
#define DIAPER_CAGE_FILTER_H

/* Ends the process when the kernel does not take it. */
void filter_install(void);

#endif
