#include "environment.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"

char *environment_take(const char *name)
{
    const char *value = getenv(name);
    char *copy = value == NULL ? NULL : mem_strdup(value);
    (void)unsetenv(name);
    return copy;
}

bool environment_number(const char *text, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0';
}
