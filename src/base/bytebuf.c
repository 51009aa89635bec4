/*
 * bytebuf: one block of memory, data between start and end.
 *
 *     memory        start          end            capacity
 *       | consumed    | data         | free         |
 *
 * An append that doesn't fit behind the data first moves the data to the front; only when that
 * does not help the block is doubled. An empty buffer owns nothing: thousands of idle connections
 * have one each.
 */
#include "base/bytebuf.h"

#include "base/assert.h"
#include "base/memory.h"

#include <string.h>

enum { SMALLEST_BLOCK = 4096 };

/* The next block size that holds `needed`, or 0 when there is none. */
static size_t block_size(size_t capacity, size_t needed)
{
    size_t size = capacity > SMALLEST_BLOCK ? capacity : SMALLEST_BLOCK;
    while (size < needed) {
        if (size > SIZE_MAX / 2) {
            return 0;
        }
        size *= 2;
    }
    return size;
}

static bool grow(struct bytebuf *buf, size_t needed)
{
    size_t size = block_size(buf->capacity, needed);
    uint8_t *memory = size > 0 ? mem_try_alloc(size) : NULL;
    if (memory == NULL) {
        return false;
    }
    size_t used = bytebuf_len(buf);
    if (used > 0) {
        memcpy(memory, bytebuf_data(buf), used);
    }
    mem_free(buf->memory);
    *buf = (struct bytebuf){.memory = memory, .end = used, .capacity = size};
    return true;
}

bool bytebuf_append(struct bytebuf *buf, const void *data, size_t len)
{
    if (len == 0) {
        return true;
    }
    size_t used = bytebuf_len(buf);
    if (len > SIZE_MAX - used) {
        return false;
    }
    if (len > buf->capacity - buf->end) {
        if (used + len > buf->capacity) {
            if (!grow(buf, used + len)) {
                return false;
            }
        } else {
            memmove(buf->memory, bytebuf_data(buf), used);
            buf->start = 0;
            buf->end = used;
        }
    }
    memcpy(buf->memory + buf->end, data, len);
    buf->end += len;
    return true;
}

void bytebuf_consume(struct bytebuf *buf, size_t len)
{
    ASSERT(len <= bytebuf_len(buf));
    buf->start += len;
    if (buf->start == buf->end) {
        bytebuf_clear(buf);
    }
}

void bytebuf_clear(struct bytebuf *buf)
{
    mem_free(buf->memory);
    *buf = (struct bytebuf){0};
}
