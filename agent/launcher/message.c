#include "message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void die(int exit_code, const char *next, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("diaper: ", stderr);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n  next: %s\n", next);
    va_end(arguments);
    exit(exit_code);
}
