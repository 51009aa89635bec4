/*
 * errbuf: the text of one error on a cold path (start, reload, load).
 *
 * The callee states the fact, each caller may prefix its context, only control and cli print.
 * A caller owns the struct, normally on its stack. Longer texts are cut, never overrun.
 */
#ifndef BULKHEAD_BASE_ERRBUF_H
#define BULKHEAD_BASE_ERRBUF_H

struct errbuf {
    char text[1024];
};

/* Replaces the text. */
void errbuf_set(struct errbuf *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " before the text that is there. */
void errbuf_prefix(struct errbuf *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Replaces the text by "<formatted>: <strerror(errno)>". Takes errno at the call. */
void errbuf_set_errno(struct errbuf *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
