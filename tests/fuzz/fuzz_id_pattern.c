/*
 * fuzz_id_pattern: two lines, a pattern and an ID.
 *
 * What must hold: a pattern without `*` is accepted just when it is a SPIFFE ID with a path; a
 * pattern matches the IDs that are made of it by filling in its stars, and no longer or shorter
 * one; and it never matches across trust domains.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "policy/id_pattern.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parse(struct strview text, struct id_pattern *pattern, bool *accepted)
{
    struct spiffe_id id;
    const char *why = NULL;
    bool is_id = spiffe_id_parse(text, &id, &why) == 0 && id.path.len > 0;
    *accepted = id_pattern_parse(text, pattern, &why) == 0;
    ASSERT(*accepted == (why == NULL));
    ASSERT(!is_id || (*accepted && pattern->exact && id_pattern_matches(pattern, &id)));
    ASSERT(is_id || !*accepted || !pattern->exact);
    ASSERT(!*accepted || pattern->path.ptr[0] == '/');
}

/* The ID that has "x" for each `*` and "x/y" for `**`. The caller frees it. */
static char *fill(const struct id_pattern *pattern, size_t *len)
{
    /* `**` becomes one byte longer, `*` none; two more for a segment behind it. */
    char *text = mem_alloc(pattern->text.len + 4);
    *len = SPIFFE_SCHEME_LEN + pattern->trust_domain.len;
    memcpy(text, pattern->text.ptr, *len);
    size_t cursor = 0;
    struct strview segment;
    while (id_pattern_next_segment(pattern, &cursor, &segment)) {
        if (strview_equal_text(segment, "*")) {
            segment = strview_from("x");
        } else if (strview_equal_text(segment, "**")) {
            segment = strview_from("x/y");
        }
        text[(*len)++] = '/';
        memcpy(text + *len, segment.ptr, segment.len);
        *len += segment.len;
    }
    return text;
}

static void check_filled(const struct id_pattern *pattern)
{
    size_t len = 0;
    char *text = fill(pattern, &len);
    struct spiffe_id id;
    const char *why = NULL;
    if (spiffe_id_parse((struct strview){text, len}, &id, &why) == 0) {
        ASSERT(id_pattern_matches(pattern, &id));
        id.trust_domain.len--;
        ASSERT(!id_pattern_matches(pattern, &id));
        memcpy(text + len, "/z", 2);
        if (spiffe_id_parse((struct strview){text, len + 2}, &id, &why) == 0) {
            ASSERT(id_pattern_matches(pattern, &id) == pattern->tail);
        }
    } else {
        /* Filling in may make it too long, never anything else. */
        ASSERT(len > SPIFFE_ID_MAX);
    }
    mem_free(text);
}

static bool has_star(struct strview text)
{
    return memchr(text.ptr, '*', text.len) != NULL;
}

static void check_match(const struct id_pattern *pattern, struct strview text)
{
    struct spiffe_id id;
    const char *why = NULL;
    if (spiffe_id_parse(text, &id, &why) != 0 || !id_pattern_matches(pattern, &id)) {
        return;
    }
    ASSERT(strview_equal(pattern->trust_domain, id.trust_domain) && id.path.len > 0);
    ASSERT(pattern->exact == !has_star(pattern->text));
    ASSERT(!pattern->exact || strview_equal(pattern->text, id.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strview all = {(const char *)data, size};
    const char *newline = size > 0 ? memchr(all.ptr, '\n', size) : NULL;
    struct strview first = {all.ptr, newline != NULL ? (size_t)(newline - all.ptr) : size};
    struct id_pattern pattern;
    bool accepted = false;
    check_parse(first, &pattern, &accepted);
    if (!accepted) {
        return 0;
    }
    check_filled(&pattern);
    if (newline != NULL) {
        check_match(&pattern, (struct strview){newline + 1, size - first.len - 1});
    }
    return 0;
}
