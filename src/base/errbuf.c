/*
 * errbuf: every text is first made in a local buffer, so that the arguments may point into the
 * very struct that is being written.
 */
#include "base/errbuf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Puts head, separator and tail together in err, cut to its size. None of them is in err. */
static void join(struct errbuf *err, const char *head, const char *separator, const char *tail)
{
    const char *parts[] = {head, separator, tail};
    size_t used = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        size_t len = strnlen(parts[i], sizeof(err->text) - 1 - used);
        memcpy(err->text + used, parts[i], len);
        used += len;
    }
    err->text[used] = '\0';
}

void errbuf_set(struct errbuf *err, const char *format, ...)
{
    struct errbuf made;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(made.text, sizeof(made.text), format, args);
    va_end(args);
    join(err, made.text, "", "");
}

void errbuf_prefix(struct errbuf *err, const char *format, ...)
{
    struct errbuf prefix;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(prefix.text, sizeof(prefix.text), format, args);
    va_end(args);
    struct errbuf old = *err;
    join(err, prefix.text, ": ", old.text);
}

void errbuf_set_errno(struct errbuf *err, const char *format, ...)
{
    int saved = errno;
    struct errbuf made;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(made.text, sizeof(made.text), format, args);
    va_end(args);
    char reason[128];
    join(err, made.text, ": ", strerror_r(saved, reason, sizeof(reason)));
    errno = saved;
}
