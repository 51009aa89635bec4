/*
 * id_matcher_cover: looks a pattern up, as if it were an ID.
 *
 * Whatever stands for `*` must be covered: only `*` does that, or a `**` further up. What stands
 * for `**` is any number of segments: only `**` at its place or further up covers it. So the walk
 * is the one of an ID, but without the edges by a plain segment where the pattern has none.
 */
#include "id_matcher_impl.h"

#include "base/assert.h"

typedef void place_fn(void *arg, struct matcher_span span);

static void take_tails(const struct id_matcher *matcher, const struct matcher_frontier *frontier,
                       place_fn *fn, void *arg)
{
    for (unsigned i = 0; i < frontier->count; i++) {
        fn(arg, matcher->nodes[frontier->nodes[i]].tail);
    }
}

static void step_by_star(const struct id_matcher *matcher, const struct matcher_frontier *from,
                         struct matcher_frontier *to)
{
    to->count = 0;
    for (unsigned i = 0; i < from->count; i++) {
        matcher_push(to, matcher->nodes[from->nodes[i]].star);
    }
}

static void walk_covers(const struct id_matcher *matcher, const struct id_pattern *pattern,
                        place_fn *fn, void *arg)
{
    struct matcher_frontier frontiers[2];
    struct matcher_frontier *from = &frontiers[0];
    struct matcher_frontier *to = &frontiers[1];
    uint32_t probes = 0;
    ASSERT(matcher->build == NULL);
    matcher_start(matcher, pattern->trust_domain, from, &probes);
    size_t cursor = 0;
    struct strview segment;
    while (from->count > 0 && id_pattern_next_segment(pattern, &cursor, &segment)) {
        take_tails(matcher, from, fn, arg);
        if (strview_equal_text(segment, "**")) {
            return;
        }
        if (strview_equal_text(segment, "*")) {
            step_by_star(matcher, from, to);
        } else {
            matcher_step(matcher, segment, from, to, &probes);
        }
        struct matcher_frontier *spent = from;
        from = to;
        to = spent;
    }
    for (unsigned i = 0; i < from->count; i++) {
        fn(arg, matcher->nodes[from->nodes[i]].exact);
    }
}

struct taking {
    const struct id_matcher *matcher;
    struct matcher_question question;
    struct id_match *match;
};

static void take_place(void *arg, struct matcher_span span)
{
    const struct taking *taking = arg;
    matcher_take_key(taking->matcher, span, &taking->question, taking->match);
}

void id_matcher_match_pattern(const struct id_matcher *matcher, const struct id_pattern *pattern,
                              uint32_t key, int64_t now_s, struct id_match *match)
{
    struct taking taking = {.matcher = matcher, .question = {key, now_s}, .match = match};
    *match = matcher_no_match();
    walk_covers(matcher, pattern, take_place, &taking);
}

struct telling {
    const struct id_matcher *matcher;
    id_cover_fn *fn;
    void *arg;
};

static void tell_place(void *arg, struct matcher_span span)
{
    const struct telling *telling = arg;
    uint32_t lowest = ID_RANK_NONE;
    for (uint32_t i = 0; i < span.count; i++) {
        const struct matcher_grant *grant = &telling->matcher->grants[span.first + i];
        uint32_t rank = matcher_lowest_rank(telling->matcher, grant->slots[ID_EFFECT_ALLOW]);
        lowest = rank < lowest ? rank : lowest;
    }
    if (lowest != ID_RANK_NONE) {
        telling->fn(telling->arg, lowest);
    }
}

void id_matcher_each_cover(const struct id_matcher *matcher, const struct id_pattern *pattern,
                           id_cover_fn *fn, void *arg)
{
    struct telling telling = {matcher, fn, arg};
    walk_covers(matcher, pattern, tell_place, &telling);
}
