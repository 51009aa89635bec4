/* One header at a time; every length is compared with what is left before anything is read. */
#include "der.h"

#include <string.h>

enum { LENGTH_BYTES_MAX = 4, TAG_NUMBER = 0x1f, LONG_FORM = 0x80 };

/* Reads the length at at->ptr and steps behind it. */
static bool take_length(struct der *at, size_t *length)
{
    if (at->len == 0) {
        return false;
    }
    uint8_t first = *at->ptr;
    at->ptr++;
    at->len--;
    if (first < LONG_FORM) {
        *length = first;
        return true;
    }
    size_t count = first & ~(unsigned)LONG_FORM;
    /* 0 is the indefinite form; a leading zero would be a longer form than needed. */
    if (count == 0 || count > LENGTH_BYTES_MAX || count > at->len || *at->ptr == 0) {
        return false;
    }
    *length = 0;
    for (size_t i = 0; i < count; i++) {
        *length = *length << 8 | at->ptr[i];
    }
    at->ptr += count;
    at->len -= count;
    return *length >= LONG_FORM;
}

bool der_next(struct der *in, struct der_value *value)
{
    struct der at = *in;
    size_t length = 0;
    if (at.len == 0 || (*at.ptr & TAG_NUMBER) == TAG_NUMBER) {
        return false;
    }
    uint8_t tag = *at.ptr;
    at.ptr++;
    at.len--;
    if (!take_length(&at, &length) || length > at.len) {
        return false;
    }
    value->tag = tag;
    value->body = (struct der){at.ptr, length};
    value->whole = (struct der){in->ptr, (size_t)(at.ptr - in->ptr) + length};
    in->ptr = at.ptr + length;
    in->len = at.len - length;
    return true;
}

bool der_next_is(const struct der *in, uint8_t tag)
{
    return in->len > 0 && *in->ptr == tag;
}

bool der_next_tagged(struct der *in, uint8_t tag, struct der_value *value)
{
    return der_next_is(in, tag) && der_next(in, value);
}

bool der_equal(struct der a, struct der b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
