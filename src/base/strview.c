/*
 * strview: comparisons go by length and bytes, never by a terminating NUL: a name that holds a
 * NUL byte equals nothing shorter (CVE-2009-2408).
 */
#include "base/strview.h"

#include <string.h>

struct strview strview_from(const char *text)
{
    struct strview view = {.ptr = text, .len = text != NULL ? strlen(text) : 0};
    return view;
}

bool strview_equal(struct strview a, struct strview b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool strview_equal_text(struct strview a, const char *text)
{
    return strview_equal(a, strview_from(text));
}

bool strview_starts_with(struct strview a, const char *prefix)
{
    struct strview front = strview_from(prefix);
    return a.len >= front.len && (front.len == 0 || memcmp(a.ptr, front.ptr, front.len) == 0);
}
