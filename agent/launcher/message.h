/* What a person is told when the launcher cannot start Diaper. */
#ifndef DIAPER_LAUNCHER_MESSAGE_H
#define DIAPER_LAUNCHER_MESSAGE_H

/* Exit codes of the diaper command that the launcher itself gives. */
enum { EXIT_CODE_FAILED = 1, EXIT_CODE_NOT_PERMITTED = 5 };

/* Prints `diaper: MESSAGE` and `  next: NEXT` on stderr, and ends the process. */
_Noreturn void die(int exit_code, const char *next, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
