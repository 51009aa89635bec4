/*
 * strview: bytes that somebody else owns, with an explicit length. May hold NUL bytes.
 */
#ifndef BULKHEAD_BASE_STRVIEW_H
#define BULKHEAD_BASE_STRVIEW_H

#include <stdbool.h>
#include <stddef.h>

struct strview {
    const char *ptr;
    size_t len;
};

struct strview strview_from(const char *text); /* NULL gives the empty view */
bool strview_equal(struct strview a, struct strview b);
bool strview_equal_text(struct strview a, const char *text);
bool strview_starts_with(struct strview a, const char *prefix);

#endif
