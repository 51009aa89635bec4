/*
 * id_matcher: looks one ID up.
 *
 * The walk goes down one segment at a time with a frontier: the nodes whose patterns agree with
 * the ID so far. From each of them two edges lead on, the segment itself and `*`. The frontier
 * can't outgrow its array, since id_matcher_add counted what could be in it (id_matcher.h).
 *
 * A denial's nearest pattern is found by the same walk, over those nodes only below which
 * something is allowed under the key; where it can go no further, the table `nearest` names the
 * lowest rank below, and the way back up from there the segment that was wanted.
 */
#include "id_matcher_impl.h"

#include "base/assert.h"
#include "base/hash.h"

#include <string.h>

uint64_t matcher_segment_hash(const struct id_matcher *matcher, struct strview segment)
{
    return hash_bytes(segment.ptr, segment.len, matcher->seed);
}

uint32_t matcher_find_child(const struct id_matcher *matcher, uint32_t parent,
                            struct strview segment, uint64_t segment_hash, uint32_t *probes)
{
    uint32_t hash = matcher_edge_hash(segment_hash, parent);
    uint32_t at = hash & matcher->slot_mask;
    for (;; at = (at + 1) & matcher->slot_mask) {
        const struct matcher_slot *slot = &matcher->slots[at];
        ++*probes;
        if (slot->node == 0) {
            return 0;
        }
        if (slot->hash != hash) {
            continue;
        }
        const struct matcher_node *node = &matcher->nodes[slot->node];
        if (node->parent == parent && strview_equal(matcher_segment(node), segment)) {
            return slot->node;
        }
    }
}

void matcher_push(struct matcher_frontier *frontier, uint32_t node)
{
    if (node != 0) {
        ASSERT(frontier->count < ID_MATCHER_FRONTIER_MAX);
        frontier->nodes[frontier->count++] = node;
    }
}

void matcher_start(const struct id_matcher *matcher, struct strview trust_domain,
                   struct matcher_frontier *frontier, uint32_t *probes)
{
    frontier->count = 0;
    uint64_t hash = matcher_segment_hash(matcher, trust_domain);
    matcher_push(frontier, matcher_find_child(matcher, 0, trust_domain, hash, probes));
}

void matcher_step(const struct id_matcher *matcher, struct strview segment,
                  const struct matcher_frontier *from, struct matcher_frontier *to,
                  uint32_t *probes)
{
    to->count = 0;
    uint64_t hash = matcher_segment_hash(matcher, segment);
    for (unsigned i = 0; i < from->count; i++) {
        uint32_t node = from->nodes[i];
        matcher_push(to, matcher_find_child(matcher, node, segment, hash, probes));
        matcher_push(to, matcher->nodes[node].star);
    }
}

/* The grant of exactly this key, or NULL. */
static const struct matcher_grant *find_grant(const struct id_matcher *matcher,
                                              struct matcher_span span, uint32_t key)
{
    if (span.count == 0) {
        return NULL;
    }
    const struct matcher_grant *grants = &matcher->grants[span.first];
    uint32_t low = 0;
    uint32_t high = span.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (grants[middle].key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < span.count && grants[low].key == key ? &grants[low] : NULL;
}

/* The first step of the run that has not ended: by halves, since there may be many. */
static struct matcher_step step_at(const struct id_matcher *matcher, uint32_t slot, int64_t now_s)
{
    if (slot < MATCHER_STEPS || slot == ID_RANK_NONE) {
        return (struct matcher_step){.ends_s = ID_ENDS_NEVER, .rank = slot};
    }
    const struct matcher_step *run = &matcher->steps[slot - MATCHER_STEPS];
    uint32_t count = run->left;
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (run[middle].ends_s <= now_s && run[middle].ends_s != ID_ENDS_NEVER) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count ? run[low] : (struct matcher_step){.rank = ID_RANK_NONE};
}

static void take_lower(const struct id_matcher *matcher, const struct matcher_grant *grant,
                       int64_t now_s, struct id_match *match)
{
    for (unsigned effect = 0; grant != NULL && effect < ID_EFFECTS; effect++) {
        if (grant->slots[effect] == ID_RANK_NONE) {
            continue;
        }
        struct matcher_step step = step_at(matcher, grant->slots[effect], now_s);
        if (step.rank < match->rank[effect]) {
            match->rank[effect] = step.rank;
            match->allow_ends_s = effect == ID_EFFECT_ALLOW ? step.ends_s : match->allow_ends_s;
        }
    }
}

struct id_match matcher_no_match(void)
{
    struct id_match match = {.allow_ends_s = ID_ENDS_NEVER};
    for (unsigned effect = 0; effect < ID_EFFECTS; effect++) {
        match.rank[effect] = ID_RANK_NONE;
    }
    return match;
}

void matcher_take_key(const struct id_matcher *matcher, struct matcher_span span,
                      const struct matcher_question *question, struct id_match *match)
{
    if (span.count > 0) {
        take_lower(matcher, find_grant(matcher, span, question->key), question->now_s, match);
        take_lower(matcher, find_grant(matcher, span, ID_MATCHER_KEY_ALL), question->now_s, match);
    }
}

static void take_any_key(const struct id_matcher *matcher, struct matcher_span span,
                         const struct matcher_question *question, struct id_match *match)
{
    for (uint32_t i = 0; i < span.count; i++) {
        take_lower(matcher, &matcher->grants[span.first + i], question->now_s, match);
    }
}

typedef void take_fn(const struct id_matcher *matcher, struct matcher_span span,
                     const struct matcher_question *question, struct id_match *match);

/* Walks the whole ID; take sees the grants of each pattern that matches. */
static void walk(const struct id_matcher *matcher, const struct spiffe_id *id,
                 const struct matcher_question *question, take_fn *take, struct id_match *match)
{
    struct matcher_frontier frontiers[2];
    struct matcher_frontier *from = &frontiers[0];
    struct matcher_frontier *to = &frontiers[1];
    *match = matcher_no_match();
    matcher_start(matcher, id->trust_domain, from, &match->probes);
    size_t cursor = 0;
    struct strview segment;
    while (from->count > 0 && spiffe_id_next_segment(id, &cursor, &segment)) {
        /* `**` is one or more segments: here is one. */
        for (unsigned i = 0; i < from->count; i++) {
            take(matcher, matcher->nodes[from->nodes[i]].tail, question, match);
        }
        matcher_step(matcher, segment, from, to, &match->probes);
        struct matcher_frontier *spent = from;
        from = to;
        to = spent;
    }
    for (unsigned i = 0; i < from->count; i++) {
        take(matcher, matcher->nodes[from->nodes[i]].exact, question, match);
    }
}

void id_matcher_match(const struct id_matcher *matcher, const struct spiffe_id *id, uint32_t key,
                      int64_t now_s, struct id_match *match)
{
    ASSERT(matcher->build == NULL);
    walk(matcher, id, &(struct matcher_question){key, now_s}, matcher_take_key, match);
}

/* The best allow known so far, and the node of the frontier below which it stands. */
struct candidate {
    uint32_t rank;
    uint32_t place; /* as in matcher_nearest */
    uint32_t node;
};

static void offer(struct candidate *best, uint32_t rank, uint32_t place, uint32_t node)
{
    if (rank < best->rank) {
        *best = (struct candidate){rank, place, node};
    }
}

static void offer_below(const struct id_matcher *matcher, uint32_t node, uint32_t key,
                        struct candidate *best)
{
    uint32_t at = matcher_nearest_hash(node, key) & matcher->nearest_mask;
    for (; matcher->nearest[at].place != 0; at = (at + 1) & matcher->nearest_mask) {
        const struct matcher_nearest *entry = &matcher->nearest[at];
        if (entry->node == node && entry->key == key) {
            offer(best, entry->rank, entry->place, node);
            return;
        }
    }
}

static void offer_grant(const struct id_matcher *matcher, struct matcher_span span, uint32_t key,
                        uint32_t place, struct candidate *best)
{
    const struct matcher_grant *grant = find_grant(matcher, span, key);
    if (grant != NULL && grant->slots[ID_EFFECT_ALLOW] != ID_RANK_NONE) {
        offer(best, matcher_lowest_rank(matcher, grant->slots[ID_EFFECT_ALLOW]), place, place / 2);
    }
}

/* What is allowed at or below a node, under the key or under all. */
static void offer_node(const struct id_matcher *matcher, uint32_t node, uint32_t key,
                       struct candidate *best)
{
    const uint32_t keys[] = {key, ID_MATCHER_KEY_ALL};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        offer_grant(matcher, matcher->nodes[node].exact, keys[i], node * 2, best);
        offer_grant(matcher, matcher->nodes[node].tail, keys[i], node * 2 + 1, best);
        offer_below(matcher, node, keys[i], best);
    }
}

/* Keeps the nodes with something to allow; best is the best of these. */
static struct candidate keep_useful(const struct id_matcher *matcher, uint32_t key,
                                    struct matcher_frontier *frontier)
{
    struct candidate best = {.rank = ID_RANK_NONE};
    unsigned kept = 0;
    for (unsigned i = 0; i < frontier->count; i++) {
        struct candidate one = {.rank = ID_RANK_NONE};
        offer_node(matcher, frontier->nodes[i], key, &one);
        if (one.rank != ID_RANK_NONE) {
            frontier->nodes[kept++] = frontier->nodes[i];
            offer(&best, one.rank, one.place, one.node);
        }
    }
    frontier->count = kept;
    return best;
}

/* What the candidate's pattern has as the segment after the candidate's node. */
static struct strview wanted_after(const struct id_matcher *matcher,
                                   const struct candidate *candidate)
{
    uint32_t node = candidate->place / 2;
    uint32_t depth = matcher->nodes[candidate->node].depth;
    if (node == candidate->node) {
        return strview_from(candidate->place % 2 == 1 ? "**" : "");
    }
    while (matcher->nodes[node].depth > depth + 1) {
        node = matcher->nodes[node].parent;
    }
    return matcher_segment(&matcher->nodes[node]);
}

/* Goes down as far as something is allowed there; best is what the last frontier had. */
static void find_deepest(const struct id_matcher *matcher, const struct spiffe_id *id, uint32_t key,
                         struct candidate *best, struct strview *got)
{
    struct matcher_frontier frontiers[2];
    struct matcher_frontier *from = &frontiers[0];
    struct matcher_frontier *to = &frontiers[1];
    uint32_t probes = 0;
    *got = id->trust_domain;
    matcher_start(matcher, id->trust_domain, from, &probes);
    struct candidate deeper = keep_useful(matcher, key, from);
    size_t cursor = 0;
    while (from->count > 0) {
        *best = deeper;
        struct strview segment;
        bool goes_on = spiffe_id_next_segment(id, &cursor, &segment);
        *got = goes_on ? segment : strview_from("");
        if (!goes_on) {
            return;
        }
        matcher_step(matcher, segment, from, to, &probes);
        deeper = keep_useful(matcher, key, to);
        struct matcher_frontier *spent = from;
        from = to;
        to = spent;
    }
}

void id_matcher_near(const struct id_matcher *matcher, const struct spiffe_id *id, uint32_t key,
                     int64_t now_s, struct id_near *near)
{
    ASSERT(matcher->build == NULL);
    memset(near, 0, sizeof *near);
    struct id_match other;
    walk(matcher, id, &(struct matcher_question){key, INT64_MIN}, matcher_take_key, &other);
    if (other.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE) {
        *near = (struct id_near){.found = true, .rank = other.rank[ID_EFFECT_ALLOW], .ended = true};
        return;
    }
    walk(matcher, id, &(struct matcher_question){key, now_s}, take_any_key, &other);
    if (other.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE) {
        *near =
            (struct id_near){.found = true, .rank = other.rank[ID_EFFECT_ALLOW], .wrong_key = true};
        return;
    }
    struct candidate best = {.rank = ID_RANK_NONE};
    offer_node(matcher, 0, key, &best);
    if (best.rank == ID_RANK_NONE) {
        return;
    }
    find_deepest(matcher, id, key, &best, &near->got);
    near->found = true;
    near->rank = best.rank;
    near->segment = matcher->nodes[best.node].depth;
    near->trust_domain = near->segment == 0;
    near->wanted = wanted_after(matcher, &best);
}
