/*
 * id_pattern: what a rule's `from` and a listener's `expect` may say: an exact SPIFFE ID, or one
 * whose path has `*` (exactly one whole segment) or, last only, `**` (one or more segments).
 *
 * No pattern in a trust domain, no regular expression, no prefix inside a segment, no
 * normalisation; always written in full. `$` is reserved. Pure, any thread.
 */
#ifndef BULKHEAD_POLICY_ID_PATTERN_H
#define BULKHEAD_POLICY_ID_PATTERN_H

#include "base/strview.h"
#include "spiffe/spiffe_id.h"

#include <stdbool.h>
#include <stddef.h>

/* A view into the text it was parsed from. */
struct id_pattern {
    struct strview text;
    struct strview trust_domain;
    struct strview path; /* starts with '/' */
    bool exact;          /* neither * nor ** */
    bool tail;           /* ends in ** */
};

/* -1 and a sentence of what would be right in *why (a constant). A path is demanded: a workload's
   ID has one. */
int id_pattern_parse(struct strview text, struct id_pattern *pattern, const char **why)
    __attribute__((warn_unused_result));
/* Walks the segments, `*` and `**` among them: start with *cursor = 0; false at the end. */
bool id_pattern_next_segment(const struct id_pattern *pattern, size_t *cursor,
                             struct strview *segment);
/* The plain definition, one pattern against one ID: what id_matcher must agree with. */
bool id_pattern_matches(const struct id_pattern *pattern, const struct spiffe_id *id);

#endif
