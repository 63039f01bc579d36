/*
 * Keeps a user's own code out of a program that the setuid wrapper started: it may load libraries that
 * root alone can change, and no others (lftp's `module`, PKCS#11 modules of a home directory, ...).
 * Programs without a wrapper load what they like.
 */
#ifndef DIAPER_LIBRARY_H
#define DIAPER_LIBRARY_H

/*
 * What dlopen is to load instead of `name`: the same, or a name that cannot be found and says why.
 * hook_dlopen.S calls it, also before the constructor.
 */
const char *library_choose(const char *name);

/* libc's own, which hook_dlopen.S goes on to. */
extern void *library_dlopen;

/* Decides for the rest of this process whether libraries are looked at. */
void library_start(void);

#endif
