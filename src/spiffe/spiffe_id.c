/*
 * One pass from left to right over bytes with an explicit length: no URL parser, no
 * normalisation, no C string. What is not written in SPIFFE-ID 2 is refused.
 */
#include "spiffe/spiffe_id.h"

#include <string.h>

static const char SCHEME[] = "spiffe://";

/* SPIFFE-ID 2.1: lower-case letters, digits, dot, dash, underscore. */
static bool trust_domain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

/* Why a byte may not stand in a trust domain: the mistakes that people make get words. */
static const char *trust_domain_char_problem(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return "the trust domain has upper case; write it in lower case";
    }
    switch (c) {
    case '\0':
        return "a NUL byte in the trust domain";
    case ':':
        return "the trust domain has a port or a colon; write the name alone";
    case '@':
        return "the trust domain has user information";
    case '%':
        return "percent-encoding in the trust domain";
    case '?':
        return "a query is not allowed";
    case '#':
        return "a fragment is not allowed";
    case '*':
        return "a wildcard in the trust domain";
    default:
        return "the trust domain may hold only a-z, 0-9, '.', '-' and '_'";
    }
}

static const char *segment_char_problem(char c)
{
    switch (c) {
    case '\0':
        return "a NUL byte in the path";
    case '%':
        return "percent-encoding in the path";
    case '?':
        return "a query is not allowed";
    case '#':
        return "a fragment is not allowed";
    default:
        return "a path segment may hold only letters, digits, '.', '-' and '_'";
    }
}

static int fail(const char **why, const char *sentence)
{
    *why = sentence;
    return -1;
}

int spiffe_trust_domain_check(struct strview name, const char **why)
{
    if (name.len == 0) {
        return fail(why, "the trust domain is empty");
    }
    if (name.len > SPIFFE_TRUST_DOMAIN_MAX) {
        return fail(why, "the trust domain is longer than 255 bytes");
    }
    if (strview_starts_with(name, SCHEME)) {
        return fail(why, "write the trust domain alone, without spiffe://");
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!trust_domain_char(name.ptr[i])) {
            return fail(why, trust_domain_char_problem(name.ptr[i]));
        }
    }
    return 0;
}

static int check_segment(const char *segment, size_t len, const char **why)
{
    if (len == 0) {
        return fail(why, "an empty path segment or a '/' at the end");
    }
    if (segment[0] == '.' && (len == 1 || (len == 2 && segment[1] == '.'))) {
        return fail(why, "a path segment \".\" or \"..\"");
    }
    for (size_t i = 0; i < len; i++) {
        if (!spiffe_segment_char(segment[i])) {
            return fail(why, segment_char_problem(segment[i]));
        }
    }
    return 0;
}

/* path is empty or starts with '/'. */
static int check_path(struct strview path, const char **why)
{
    size_t start = 1;
    while (start <= path.len && path.len > 0) {
        const char *from = path.ptr + start;
        size_t left = path.len - start;
        const char *slash = left > 0 ? memchr(from, '/', left) : NULL;
        size_t len = slash != NULL ? (size_t)(slash - from) : left;
        if (check_segment(from, len, why) < 0) {
            return -1;
        }
        start += len + 1;
    }
    return 0;
}

static int check_scheme(struct strview text, const char **why)
{
    if (text.len >= SPIFFE_SCHEME_LEN && memcmp(text.ptr, SCHEME, SPIFFE_SCHEME_LEN) == 0) {
        return 0;
    }
    for (size_t i = 0; i < text.len && i < SPIFFE_SCHEME_LEN; i++) {
        if (text.ptr[i] >= 'A' && text.ptr[i] <= 'Z') {
            return fail(why, "the scheme must be \"spiffe://\", in lower case");
        }
    }
    return fail(why, "the scheme must be \"spiffe://\"");
}

int spiffe_id_parse(struct strview text, struct spiffe_id *id, const char **why)
{
    if (text.len == 0) {
        return fail(why, "the ID is empty");
    }
    if (text.len > SPIFFE_ID_MAX) {
        return fail(why, "the ID is longer than 2048 bytes");
    }
    if (check_scheme(text, why) < 0) {
        return -1;
    }
    const char *rest = text.ptr + SPIFFE_SCHEME_LEN;
    size_t rest_len = text.len - SPIFFE_SCHEME_LEN;
    const char *slash = rest_len > 0 ? memchr(rest, '/', rest_len) : NULL;
    size_t domain_len = slash != NULL ? (size_t)(slash - rest) : rest_len;
    struct strview domain = {rest, domain_len};
    struct strview path = {rest + domain_len, rest_len - domain_len};

    if (spiffe_trust_domain_check(domain, why) < 0 || check_path(path, why) < 0) {
        return -1;
    }
    id->text = text;
    id->trust_domain = domain;
    id->path = path;
    return 0;
}

bool spiffe_id_next_segment(const struct spiffe_id *id, size_t *cursor, struct strview *segment)
{
    if (*cursor >= id->path.len) {
        return false;
    }
    size_t start = *cursor + 1; /* past the '/' that every segment has before it */
    const char *from = id->path.ptr + start;
    const char *slash = memchr(from, '/', id->path.len - start);
    segment->ptr = from;
    segment->len = slash != NULL ? (size_t)(slash - from) : id->path.len - start;
    *cursor = start + segment->len;
    return true;
}
