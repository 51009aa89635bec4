/*
 * assert: prints what was expected and aborts.
 *
 * No allocation and no lock is taken on the way, so that it also works when the heap is what
 * broke. The core then shows the state as it was.
 */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line,
                             const char *function)
{
    char text[512];
    int len = snprintf(text, sizeof(text), "bulkhead: %s:%d: %s: assertion failed: %s\n", file,
                       line, function, expression);
    if (len > 0) {
        size_t size = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
        /* We die in any case; a failed write changes nothing. */
        ssize_t ignored = write(STDERR_FILENO, text, size);
        (void)ignored;
    }
    abort();
}
