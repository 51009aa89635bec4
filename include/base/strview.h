/*
 * strview: bytes that somebody else owns, with an explicit length. May hold NUL bytes.
 *
 * Comparisons go by length and bytes, never by a terminating NUL: a name that holds a NUL byte
 * equals nothing shorter (CVE-2009-2408). They stand here so that a comparison with a constant
 * becomes one of its length and a few bytes.
 */
#ifndef BULKHEAD_BASE_STRVIEW_H
#define BULKHEAD_BASE_STRVIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct strview {
    const char *ptr;
    size_t len;
};

/* NULL gives the empty view. */
static inline struct strview strview_from(const char *text)
{
    struct strview view = {.ptr = text, .len = text != NULL ? strlen(text) : 0};
    return view;
}

static inline bool strview_equal(struct strview a, struct strview b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool strview_equal_text(struct strview a, const char *text)
{
    return strview_equal(a, strview_from(text));
}

/* Letters of ASCII alone have a case. */
static inline bool strview_equal_no_case(struct strview a, const char *text)
{
    return a.len == strlen(text) && (a.len == 0 || strncasecmp(a.ptr, text, a.len) == 0);
}

static inline bool strview_starts_with(struct strview a, const char *prefix)
{
    struct strview front = strview_from(prefix);
    return a.len >= front.len && (front.len == 0 || memcmp(a.ptr, front.ptr, front.len) == 0);
}

/* Whether it is one of those, which a blank each parts. */
static inline bool strview_is_one_of(struct strview word, const char *words)
{
    for (const char *at = words; *at != '\0';) {
        size_t len = strcspn(at, " ");
        if (strview_equal(word, (struct strview){at, len})) {
            return true;
        }
        at += len + (at[len] == ' ');
    }
    return false;
}

#endif
