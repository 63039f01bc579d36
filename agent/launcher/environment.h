/* The environment that the runtime is started with. */
#ifndef DIAPER_LAUNCHER_ENVIRONMENT_H
#define DIAPER_LAUNCHER_ENVIRONMENT_H

/*
 * The caller's environment without anything that could make the runtime or its dynamic linker load or do
 * something else. What is taken away is kept under DIAPER_CALLER_NAME, so that a program which Diaper
 * starts can be given the caller's environment whole.
 *
 * runtime_cache: the runtime's own directory, a path that only the user (or nobody) can write
 * launcher: path of the launcher for starting it again, or NULL when it has none any more
 *
 * Returns a new array, or NULL without memory.
 */
char **runtime_environment(char *const *caller, const char *runtime_cache, const char *launcher);

#endif
