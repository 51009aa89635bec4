/*
 * id_matcher_nearest: for the sentence of a denial, the lowest allow below each node, by key.
 *
 * Every allow is told to the nodes above it. Places with the same grants below the same node are
 * told once. The table is bounded: past that, what lies deep stays untold, and a denial names a
 * rule from further up.
 */
#include "id_matcher_build.h"

#include "base/memory.h"

enum { FIRST_TABLE = 16, NEAREST_MAX = 1 << 22 };

struct filler {
    struct id_matcher *matcher;
    uint32_t count;
    uint32_t *told; /* by node: 1 + the first grant of the place that was told last */
};

static struct matcher_nearest *find_entry(struct matcher_nearest *table, uint32_t mask,
                                          uint32_t node, uint32_t key)
{
    uint32_t at = matcher_nearest_hash(node, key) & mask;
    while (table[at].place != 0 && (table[at].node != node || table[at].key != key)) {
        at = (at + 1) & mask;
    }
    return &table[at];
}

static void grow(struct filler *f)
{
    struct id_matcher *matcher = f->matcher;
    size_t old_count = (size_t)matcher->nearest_mask + 1;
    if (matcher->nearest != NULL && f->count < old_count / 4 * 3) {
        return;
    }
    size_t count = matcher->nearest == NULL ? FIRST_TABLE : old_count * 2;
    struct matcher_nearest *table = mem_alloc_array(count, sizeof(*table));
    for (size_t i = 0; matcher->nearest != NULL && i < old_count; i++) {
        const struct matcher_nearest *old = &matcher->nearest[i];
        if (old->place != 0) {
            *find_entry(table, (uint32_t)(count - 1), old->node, old->key) = *old;
        }
    }
    mem_free(matcher->nearest);
    matcher->nearest = table;
    matcher->nearest_mask = (uint32_t)(count - 1);
}

/* Stops where a lower rank is known: above it, too. */
static void climb(struct filler *f, uint32_t place, uint32_t key, uint32_t rank)
{
    struct id_matcher *matcher = f->matcher;
    uint32_t node = place / 2;
    while (node != 0) {
        node = matcher->nodes[node].parent;
        grow(f);
        struct matcher_nearest *entry =
            find_entry(matcher->nearest, matcher->nearest_mask, node, key);
        if (entry->place != 0 && entry->rank <= rank) {
            return;
        }
        if (entry->place != 0 || f->count < NEAREST_MAX) {
            f->count += entry->place == 0;
            *entry = (struct matcher_nearest){node, key, rank, place};
        }
    }
}

static void tell(struct filler *f, uint32_t place, struct matcher_span span)
{
    struct id_matcher *matcher = f->matcher;
    uint32_t *told = &f->told[matcher->nodes[place / 2].parent];
    if (span.count == 0 || *told == span.first + 1) {
        return;
    }
    *told = span.first + 1;
    for (uint32_t i = span.first; i < span.first + span.count; i++) {
        uint32_t slot = matcher->grants[i].slots[ID_EFFECT_ALLOW];
        if (slot != ID_RANK_NONE) {
            climb(f, place, matcher->grants[i].key, matcher_lowest_rank(matcher, slot));
        }
    }
}

void matcher_fill_nearest(struct id_matcher *matcher)
{
    struct filler f = {.matcher = matcher};
    f.told = mem_alloc_array(matcher->node_count, sizeof(*f.told));
    grow(&f);
    for (uint32_t node = 1; node < matcher->node_count; node++) {
        tell(&f, node * 2, matcher->nodes[node].exact);
        tell(&f, node * 2 + 1, matcher->nodes[node].tail);
    }
    mem_free(f.told);
}
