/*
 * id_matcher: many patterns, one lookup whose cost does not grow with their number.
 *
 * A trie over (trust domain, segments) with an edge for `*` and an end for `**`; each pattern
 * grants under a key (a listener's number) with a rank (the rule's number) and an effect. Built
 * once (id_matcher_add, then id_matcher_freeze), then immutable and read by any thread.
 *
 * The bound: a lookup follows, at each depth, at most one node for every arrangement of `*` among
 * the segments so far: patterns with the same arrangement differ in a plain segment, of which an
 * ID has only one. id_matcher_add refuses the pattern that would make more than
 * ID_MATCHER_FRONTIER_MAX arrangements at one depth of one trust domain; patterns of up to six
 * segments (a final `**` not counted) never do. So a lookup costs at most two steps for each of
 * those in each segment, whatever the patterns and the ID are.
 */
#ifndef BULKHEAD_POLICY_ID_MATCHER_H
#define BULKHEAD_POLICY_ID_MATCHER_H

#include "policy/id_pattern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct id_matcher;

enum { ID_MATCHER_KEY_ALL = 0 }; /* grants under every key */
enum id_effect { ID_EFFECT_ALLOW = 0, ID_EFFECT_DENY };
#define ID_RANK_NONE UINT32_MAX
enum { ID_MATCHER_FRONTIER_MAX = 64 };

/* The lowest rank of each effect that matched; ID_RANK_NONE where none did. */
struct id_match {
    uint32_t allow;
    uint32_t deny;
    uint32_t probes; /* slots of the edge table that were looked at: the work done */
};

/* Where a failed lookup came closest, among the patterns that allow under the key. Those with the
   longest run of equal segments win; among them the lowest rank. The views point into the patterns
   and the ID. */
struct id_near {
    bool found;
    uint32_t rank;
    bool wrong_key;        /* the pattern matches, but under another key */
    bool trust_domain;     /* differs already in the trust domain */
    unsigned segment;      /* 1-based: the first that differs */
    struct strview wanted; /* the pattern's segment there; empty: the pattern ends before it */
    struct strview got;    /* the ID's segment there; empty: the ID ends before it.
                              With trust_domain both are trust domains */
};

struct id_matcher *id_matcher_new(void);
void id_matcher_free(struct id_matcher *matcher);
/* pattern's bytes must outlive the matcher. key is ID_MATCHER_KEY_ALL or 1…; rank < ID_RANK_NONE.
   False when the pattern would break the bound above; then it grants nothing. */
bool id_matcher_add(struct id_matcher *matcher, const struct id_pattern *pattern, uint32_t key,
                    uint32_t rank, enum id_effect effect) __attribute__((warn_unused_result));
void id_matcher_freeze(struct id_matcher *matcher);
void id_matcher_match(const struct id_matcher *matcher, const struct spiffe_id *id, uint32_t key,
                      struct id_match *match);
/* For the sentence of a denial, when id_matcher_match found no allow: bounded work too, not a walk
   over all rules. */
void id_matcher_near(const struct id_matcher *matcher, const struct spiffe_id *id, uint32_t key,
                     struct id_near *near);

#endif
