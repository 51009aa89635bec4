#include "load/faults.h"

#include <stdarg.h>
#include <stdio.h>

enum { TOLD_MAX = 5 };

void faults_add(struct faults *faults, const char *format, ...)
{
    faults->errors++;
    if (faults->errors > TOLD_MAX) {
        return;
    }
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    if (faults->errors == TOLD_MAX) {
        fputs("load: further errors are only counted\n", stderr);
    }
}
