/* A full disk or a closed pipe may show at any write before the last: ferror remembers. */
#include "cli/output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int output_finish(const char *command, int code)
{
    enum { EXIT_FAILED = 1 };
    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return code;
    }
    fprintf(stderr, "bulkhead %s: can't write to stdout%s%s\n", command, errno != 0 ? ": " : "",
            errno != 0 ? strerror(errno) : "");
    return EXIT_FAILED;
}
