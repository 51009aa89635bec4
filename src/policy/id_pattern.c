/*
 * id_pattern: parses a pattern and is its plain definition.
 *
 * An ID that is written as a pattern must be one that spiffe_id_parse accepts, so the checks are
 * the same (SPIFFE-ID 2), only that a segment may also be `*` and the last one `**`. Where a
 * common slip can be told apart, the sentence says what to write instead.
 */
#include "policy/id_pattern.h"

#include <string.h>
#include <strings.h>

static const char SCHEME[] = "spiffe://";

static bool contains(struct strview text, char c)
{
    return text.len > 0 && memchr(text.ptr, c, text.len) != NULL;
}

/* Why text doesn't begin like an ID. */
static const char *why_no_scheme(struct strview text)
{
    if (text.len == 0) {
        return "is empty; write the ID in full: spiffe://TRUST-DOMAIN/PATH";
    }
    if (strview_equal_text(text, "*") || strview_equal_text(text, "**") ||
        strview_equal_text(text, "all")) {
        return "nothing stands for every ID; spiffe://TRUST-DOMAIN/** is every ID of one trust "
               "domain";
    }
    if (text.len >= SPIFFE_SCHEME_LEN && strncasecmp(text.ptr, SCHEME, SPIFFE_SCHEME_LEN) == 0) {
        return "the scheme is written in lower case: spiffe://";
    }
    if (contains(text, ':')) {
        return "must start with \"spiffe://\"";
    }
    return "must start with \"spiffe://\"; write the ID in full: spiffe://TRUST-DOMAIN/PATH";
}

static const char *check_trust_domain(struct strview name)
{
    if (contains(name, '*')) {
        return "no pattern in a trust domain; write one entry for each trust domain";
    }
    const char *why = NULL;
    return spiffe_trust_domain_check(name, &why) == 0 ? NULL : why;
}

static bool is_dots(struct strview segment)
{
    return strview_equal_text(segment, ".") || strview_equal_text(segment, "..");
}

/* What almost all segments are. */
static bool is_plain(struct strview segment)
{
    for (size_t i = 0; i < segment.len; i++) {
        if (!spiffe_segment_char(segment.ptr[i])) {
            return false;
        }
    }
    return true;
}

static const char *check_segment(struct strview segment, bool last)
{
    if (segment.len == 0) {
        return last ? "leave out the slash at the end" : "empty segment; write one slash, not two";
    }
    if (is_plain(segment) && segment.ptr[0] != '.') {
        return NULL;
    }
    if (strview_equal_text(segment, "**")) {
        return last ? NULL
                    : "`**` stands only at the end; `*` is one segment in the middle of a path";
    }
    if (strview_equal_text(segment, "*")) {
        return NULL;
    }
    if (contains(segment, '*')) {
        return "`*` stands for exactly one whole segment, not for a part of one";
    }
    if (is_dots(segment)) {
        return "a \".\" or \"..\" segment; write the path that is meant (SPIFFE-ID 2.2)";
    }
    for (size_t i = 0; i < segment.len; i++) {
        if (!spiffe_segment_char(segment.ptr[i])) {
            return "a segment is made of letters, digits, \".\", \"-\" and \"_\" (SPIFFE-ID 2.2)";
        }
    }
    return NULL;
}

static const char *check_path(struct id_pattern *pattern)
{
    struct strview rest = pattern->path;
    pattern->exact = true;
    while (rest.len > 0) {
        struct strview segment = {rest.ptr + 1, rest.len - 1};
        const char *slash = segment.len > 0 ? memchr(segment.ptr, '/', segment.len) : NULL;
        if (slash != NULL) {
            segment.len = (size_t)(slash - segment.ptr);
        }
        const char *why = check_segment(segment, slash == NULL);
        if (why != NULL) {
            return why;
        }
        if (segment.ptr[0] == '*') {
            pattern->exact = false;
            pattern->tail = segment.len == 2;
        }
        rest.ptr += segment.len + 1;
        rest.len -= segment.len + 1;
    }
    return NULL;
}

/* Characters that are refused wherever they stand, each with a sentence of its own. */
static const char *check_reserved(struct strview text)
{
    if (contains(text, '$')) {
        return "`$` is reserved; write the trust domain itself";
    }
    if (contains(text, '%')) {
        return "percent-encoding is not part of a SPIFFE ID; write the characters themselves "
               "(SPIFFE-ID 2)";
    }
    if (text.len > SPIFFE_ID_MAX) {
        return "longer than 2,048 bytes (SPIFFE-ID 2.3)";
    }
    return NULL;
}

static const char *parse(struct strview text, struct id_pattern *pattern)
{
    if (!strview_starts_with(text, SCHEME)) {
        return why_no_scheme(text);
    }
    const char *why = check_reserved(text);
    if (why != NULL) {
        return why;
    }
    struct strview rest = {text.ptr + SPIFFE_SCHEME_LEN, text.len - SPIFFE_SCHEME_LEN};
    const char *slash = rest.len > 0 ? memchr(rest.ptr, '/', rest.len) : NULL;
    size_t name_len = slash != NULL ? (size_t)(slash - rest.ptr) : rest.len;
    pattern->text = text;
    pattern->trust_domain = (struct strview){rest.ptr, name_len};
    pattern->path = (struct strview){rest.ptr + name_len, rest.len - name_len};
    why = check_trust_domain(pattern->trust_domain);
    if (why != NULL) {
        return why;
    }
    if (pattern->path.len <= 1) {
        return "an ID of a workload has a path; spiffe://TRUST-DOMAIN/** admits the whole trust "
               "domain";
    }
    return check_path(pattern);
}

int id_pattern_parse(struct strview text, struct id_pattern *pattern, const char **why)
{
    memset(pattern, 0, sizeof *pattern);
    *why = parse(text, pattern);
    return *why == NULL ? 0 : -1;
}

bool id_pattern_next_segment(const struct id_pattern *pattern, size_t *cursor,
                             struct strview *segment)
{
    if (*cursor >= pattern->path.len) {
        return false;
    }
    segment->ptr = pattern->path.ptr + *cursor + 1;
    segment->len = pattern->path.len - *cursor - 1;
    const char *slash = memchr(segment->ptr, '/', segment->len);
    if (slash != NULL) {
        segment->len = (size_t)(slash - segment->ptr);
    }
    *cursor += segment->len + 1;
    return true;
}

bool id_pattern_matches(const struct id_pattern *pattern, const struct spiffe_id *id)
{
    if (!strview_equal(pattern->trust_domain, id->trust_domain)) {
        return false;
    }
    size_t pattern_cursor = 0;
    size_t id_cursor = 0;
    struct strview wanted;
    struct strview got;
    while (id_pattern_next_segment(pattern, &pattern_cursor, &wanted)) {
        if (!spiffe_id_next_segment(id, &id_cursor, &got)) {
            return false;
        }
        if (strview_equal_text(wanted, "**")) {
            return true;
        }
        if (!strview_equal_text(wanted, "*") && !strview_equal(wanted, got)) {
            return false;
        }
    }
    return !spiffe_id_next_segment(id, &id_cursor, &got);
}
