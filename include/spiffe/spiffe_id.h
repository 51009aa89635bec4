/*
 * spiffe_id: parse and compare SPIFFE IDs (SPIFFE-ID 2). Pure, any thread.
 *
 * Nothing is normalised: upper case in scheme or trust domain, percent-encoding, empty, "." and
 * ".." segments are refused, and two IDs are equal when their bytes are.
 */
#ifndef BULKHEAD_SPIFFE_SPIFFE_ID_H
#define BULKHEAD_SPIFFE_SPIFFE_ID_H

#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SPIFFE_ID_MAX = 2048,          /* SPIFFE-ID 2.3 */
    SPIFFE_TRUST_DOMAIN_MAX = 255, /* SPIFFE-ID 2.3 */
    SPIFFE_SCHEME_LEN = 9          /* "spiffe://" */
};

/* A view: the bytes stay with whoever was parsed. */
struct spiffe_id {
    struct strview text;         /* the whole ID */
    struct strview trust_domain; /* within text */
    struct strview path;         /* within text: empty or starting with '/' */
};

/* -1 and a sentence in *why (a constant) when text is no SPIFFE ID. A path is not demanded here. */
int spiffe_id_parse(struct strview text, struct spiffe_id *id, const char **why)
    __attribute__((warn_unused_result));
/* The same for a bare trust domain name such as "prod.example". */
int spiffe_trust_domain_check(struct strview name, const char **why)
    __attribute__((warn_unused_result));
/* True for a byte that a path segment may hold: [A-Za-z0-9._-]. Asked of every byte of every ID. */
static inline bool spiffe_segment_char(char c)
{
    unsigned lower = (unsigned char)c | 0x20U;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
}
/*
 * Walks the path's segments: start with *cursor = 0; false at the end.
 *     size_t cursor = 0; struct strview segment;
 *     while (spiffe_id_next_segment(&id, &cursor, &segment)) …
 */
bool spiffe_id_next_segment(const struct spiffe_id *id, size_t *cursor, struct strview *segment);

#endif
