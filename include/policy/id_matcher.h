/*
 * id_matcher: many patterns, one lookup whose cost does not grow with their number.
 *
 * A trie over (trust domain, segments) with an edge for `*` and an end for `**`. A pattern is a
 * member of sets (a rule's own, a group's); a set grants under keys (listeners' numbers) with a
 * rank (the rule's number), an effect and an end in time, and its members may be members of other
 * sets too. Patterns with the same sets share what is granted: a group of many IDs that many rules
 * use costs the sum of both, not the product. Built once, frozen, then immutable and read by any
 * thread.
 *
 * The bound: a lookup follows, at each depth, at most one node for every arrangement of `*` among
 * the segments so far: patterns with the same arrangement differ in a plain segment, of which an
 * ID has only one. id_matcher_set_add refuses the pattern that would make more than
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
enum id_effect {
    ID_EFFECT_ALLOW = 0,
    ID_EFFECT_DENY,
    ID_EFFECT_SHADOW_ALLOW, /* what it would do; told beside the others */
    ID_EFFECT_SHADOW_DENY
};
enum { ID_EFFECTS = 4 };
#define ID_RANK_NONE  UINT32_MAX
#define ID_RANK_MAX   (UINT32_MAX / 2 - 1)
#define ID_ENDS_NEVER INT64_MAX
enum { ID_MATCHER_FRONTIER_MAX = 64 };

/* The lowest rank of each effect that matched and has not ended; ID_RANK_NONE where none did. */
struct id_match {
    uint32_t rank[ID_EFFECTS];
    int64_t allow_ends_s; /* of the one that allows */
    uint32_t probes;      /* slots of the edge table that were looked at: the work done */
};

/* Where a failed lookup came closest, among the patterns that allow under the key. Those with the
   longest run of equal segments win; among them the lowest rank. The views point into the patterns
   and the ID. */
struct id_near {
    bool found;
    uint32_t rank;
    bool ended;            /* the pattern matches under the key, but its time is over */
    bool wrong_key;        /* the pattern matches, but under another key */
    bool trust_domain;     /* differs already in the trust domain */
    unsigned segment;      /* 1-based: the first that differs */
    struct strview wanted; /* the pattern's segment there; empty: the pattern ends before it */
    struct strview got;    /* the ID's segment there; empty: the ID ends before it.
                              With trust_domain both are trust domains */
};

struct id_matcher *id_matcher_new(void);
void id_matcher_free(struct id_matcher *matcher);
/* Room for so many patterns, so that what grows need not be moved again and again. At the start;
   a guess is fine. */
void id_matcher_reserve(struct id_matcher *matcher, size_t patterns);
uint32_t id_matcher_set_new(struct id_matcher *matcher);
/* pattern's bytes must outlive the matcher. False when it would break the bound above; then it is
   no member. */
bool id_matcher_set_add(struct id_matcher *matcher, uint32_t set, const struct id_pattern *pattern)
    __attribute__((warn_unused_result));
/* Members of the set, and those of the sets in it, are members of `outer` too. No cycles. */
void id_matcher_set_join(struct id_matcher *matcher, uint32_t set, uint32_t outer);
/* key is ID_MATCHER_KEY_ALL or 1…; rank <= ID_RANK_MAX; over from ends_s on (seconds since 1970).
 */
void id_matcher_set_grant(struct id_matcher *matcher, uint32_t set, uint32_t key, uint32_t rank,
                          enum id_effect effect, int64_t ends_s);
/* False when the sets overlap in so many ways that what they grant does not fit in memory
   (ID_MATCHER_GRANTS_MAX); then it matches nothing. */
enum { ID_MATCHER_GRANTS_MAX = 1 << 25 };
bool id_matcher_freeze(struct id_matcher *matcher) __attribute__((warn_unused_result));
void id_matcher_match(const struct id_matcher *matcher, const struct spiffe_id *id, uint32_t key,
                      int64_t now_s, struct id_match *match);
/* The same for all IDs that a pattern stands for at once: of each effect the lowest rank among the
   patterns that cover the whole of it, each by itself. */
void id_matcher_match_pattern(const struct id_matcher *matcher, const struct id_pattern *pattern,
                              uint32_t key, int64_t now_s, struct id_match *match);
/* The lowest rank that allows at each pattern which covers the whole of this one, ended or not. */
typedef void id_cover_fn(void *arg, uint32_t rank);
void id_matcher_each_cover(const struct id_matcher *matcher, const struct id_pattern *pattern,
                           id_cover_fn *fn, void *arg);
/* For the sentence of a denial, when id_matcher_match found no allow: bounded work too, not a walk
   over all rules. */
void id_matcher_near(const struct id_matcher *matcher, const struct spiffe_id *id, uint32_t key,
                     int64_t now_s, struct id_near *near);

#endif
