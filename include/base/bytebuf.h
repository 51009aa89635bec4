/*
 * bytebuf: a growing queue of bytes: append at the end, take from the front.
 *
 * For what can't be sent at once: empty it owns no memory. One thread at a time.
 */
#ifndef BULKHEAD_BASE_BYTEBUF_H
#define BULKHEAD_BASE_BYTEBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytebuf {
    uint8_t *memory;
    size_t start;
    size_t end;
    size_t capacity;
};

/* A zeroed struct is an empty bytebuf. */
static inline size_t bytebuf_len(const struct bytebuf *buf)
{
    return buf->end - buf->start;
}
/* NULL when empty. Good until the next append or consume. */
static inline const uint8_t *bytebuf_data(const struct bytebuf *buf)
{
    /* NULL + 0 is undefined in C11. */
    return buf->memory != NULL ? buf->memory + buf->start : NULL;
}
/* False when memory is out; then nothing was appended. */
bool bytebuf_append(struct bytebuf *buf, const void *data, size_t len)
    __attribute__((warn_unused_result));
/* Drops len bytes from the front; the memory is given back when nothing is left. */
void bytebuf_consume(struct bytebuf *buf, size_t len);
/* Gives the memory back. The struct is empty and may be used again. */
void bytebuf_clear(struct bytebuf *buf);

#endif
