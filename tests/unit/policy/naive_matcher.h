/*
 * naive_matcher: what id_matcher must answer, by looking at every pattern: a model for tests.
 */
#ifndef BULKHEAD_TESTS_NAIVE_MATCHER_H
#define BULKHEAD_TESTS_NAIVE_MATCHER_H

#include "policy/id_matcher.h"

struct naive_grant {
    struct id_pattern pattern;
    uint32_t key;
    uint32_t rank;
    enum id_effect effect;
    int64_t ends_s; /* 0: never */
};

/* A pattern in a set of its own. */
static inline bool naive_add(struct id_matcher *matcher, const struct naive_grant *grant)
{
    uint32_t set = id_matcher_set_new(matcher);
    id_matcher_set_grant(matcher, set, grant->key, grant->rank, grant->effect,
                         grant->ends_s == 0 ? ID_ENDS_NEVER : grant->ends_s);
    return id_matcher_set_add(matcher, set, &grant->pattern);
}

static inline bool naive_has_ended(const struct naive_grant *grant, int64_t now_s)
{
    return grant->ends_s != 0 && grant->ends_s <= now_s;
}

static inline bool naive_has_key(const struct naive_grant *grant, uint32_t key)
{
    return grant->key == ID_MATCHER_KEY_ALL || grant->key == key;
}

static inline struct id_match naive_match(const struct naive_grant *grants, size_t count,
                                          const struct spiffe_id *id, uint32_t key, int64_t now_s)
{
    struct id_match match = {{ID_RANK_NONE, ID_RANK_NONE, ID_RANK_NONE, ID_RANK_NONE}, 0, 0};
    for (size_t i = 0; i < count; i++) {
        if (!naive_has_key(&grants[i], key) || !id_pattern_matches(&grants[i].pattern, id) ||
            naive_has_ended(&grants[i], now_s)) {
            continue;
        }
        uint32_t *rank = &match.rank[grants[i].effect];
        if (grants[i].rank < *rank) {
            *rank = grants[i].rank;
        }
    }
    return match;
}

/* How many segments agree before the first that doesn't; -1: not even the trust domain. The two
   segments that differ come back, empty where one side has ended. */
static inline int naive_run(const struct id_pattern *pattern, const struct spiffe_id *id,
                            struct strview *wanted, struct strview *got)
{
    *wanted = pattern->trust_domain;
    *got = id->trust_domain;
    if (!strview_equal(*wanted, *got)) {
        return -1;
    }
    size_t pattern_cursor = 0;
    size_t id_cursor = 0;
    for (int run = 0;; run++) {
        bool more = id_pattern_next_segment(pattern, &pattern_cursor, wanted);
        bool more_id = spiffe_id_next_segment(id, &id_cursor, got);
        *wanted = more ? *wanted : strview_from("");
        *got = more_id ? *got : strview_from("");
        if (!more || !more_id ||
            (!strview_equal_text(*wanted, "*") && !strview_equal(*wanted, *got))) {
            return run;
        }
    }
}

/* The lowest rank of an allow that matches under whatever key. */
static inline uint32_t naive_other_key(const struct naive_grant *grants, size_t count,
                                       const struct spiffe_id *id, int64_t now_s)
{
    uint32_t rank = ID_RANK_NONE;
    for (size_t i = 0; i < count; i++) {
        if (grants[i].effect == ID_EFFECT_ALLOW && grants[i].rank < rank &&
            !naive_has_ended(&grants[i], now_s) && id_pattern_matches(&grants[i].pattern, id)) {
            rank = grants[i].rank;
        }
    }
    return rank;
}

/* The longest run and, among the grants that have it, the lowest rank; ID_RANK_NONE: no allow. */
static inline uint32_t naive_nearest(const struct naive_grant *grants, size_t count,
                                     const struct spiffe_id *id, uint32_t key, int *longest)
{
    uint32_t rank = ID_RANK_NONE;
    *longest = -2;
    for (size_t i = 0; i < count; i++) {
        struct strview wanted;
        struct strview got;
        if (grants[i].effect != ID_EFFECT_ALLOW || !naive_has_key(&grants[i], key)) {
            continue;
        }
        int run = naive_run(&grants[i].pattern, id, &wanted, &got);
        if (run > *longest || (run == *longest && grants[i].rank < rank)) {
            *longest = run;
            rank = grants[i].rank;
        }
    }
    return rank;
}

/* Whether what the matcher says to be nearest is right: its rank, its segment, and that a pattern
   of that rank differs from the ID in just these two pieces. */
static inline bool naive_agrees_near(const struct naive_grant *grants, size_t count,
                                     const struct spiffe_id *id, uint32_t key, int64_t now_s,
                                     const struct id_near *near)
{
    struct id_match ever = naive_match(grants, count, id, key, INT64_MIN);
    if (ever.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE) {
        return near->found && near->ended && near->rank == ever.rank[ID_EFFECT_ALLOW];
    }
    uint32_t other = naive_other_key(grants, count, id, now_s);
    if (other != ID_RANK_NONE) {
        return near->found && near->wrong_key && near->rank == other;
    }
    int longest = 0;
    uint32_t rank = naive_nearest(grants, count, id, key, &longest);
    if (rank == ID_RANK_NONE) {
        return !near->found;
    }
    if (!near->found || near->wrong_key || near->ended || near->rank != rank ||
        (int)near->segment != longest + 1 || near->trust_domain != (longest == -1)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct strview wanted;
        struct strview got;
        if (grants[i].rank == rank && grants[i].effect == ID_EFFECT_ALLOW &&
            naive_has_key(&grants[i], key) &&
            naive_run(&grants[i].pattern, id, &wanted, &got) == longest &&
            strview_equal(wanted, near->wanted) && strview_equal(got, near->got)) {
            return true;
        }
    }
    return false;
}

#endif
