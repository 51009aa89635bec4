/*
 * id_matcher_freeze: what each place of the trie grants, from the sets that its patterns are in.
 *
 * Places are taken in order, by counting, each with its list of sets. A list that came before is
 * looked up (combinations) and shares its grants; most places have one set, which has its own
 * entry. For a new list the grants of its sets and of all sets around them are gathered, sorted,
 * and merged into one entry a key: for each effect the lowest rank, or a run of steps where rules
 * end in time.
 */
#include "id_matcher_build.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_TABLE = 64, GATHERED_MAX = 1 << 30 };

/* A list of sets that was merged. */
struct combination {
    uint32_t first; /* in lists */
    uint32_t count; /* 0: a free entry of the table */
    struct matcher_span span;
};

struct freezer {
    struct id_matcher *matcher;
    struct matcher_build *build;
    uint32_t *seen; /* by set: the number of the gathering that met it last */
    uint32_t gathering;
    uint32_t *queue; /* of sets */
    const struct matcher_pending **gathered;
    uint32_t gathered_count;
    uint32_t gathered_capacity;
    uint64_t gathered_total;
    uint32_t grant_count;
    uint32_t grant_capacity;
    uint32_t step_count;
    uint32_t step_capacity;
    uint32_t *lists;
    uint32_t list_count;
    uint32_t list_capacity;
    struct combination *table;
    uint32_t table_mask;
    uint32_t table_count;
    struct combination *alone; /* by set: what it grants by itself; count 0: not merged yet */
    bool too_many;
};

/* --- gathering ------------------------------------------------------------------------------- */

static void gather_own(struct freezer *f, uint32_t set)
{
    const struct matcher_build *build = f->build;
    for (uint32_t at = build->sets[set].grants; at != 0; at = build->pending[at - 1].next) {
        f->gathered = matcher_reserve(f->gathered, f->gathered_count, &f->gathered_capacity,
                                      sizeof(*f->gathered));
        f->gathered[f->gathered_count++] = &build->pending[at - 1];
    }
}

/* The grants of the sets and of all sets around them, each set once. */
static void gather(struct freezer *f, const uint32_t *sets, uint32_t count)
{
    uint32_t length = 0;
    f->gathering++;
    f->gathered_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        f->seen[sets[i]] = f->gathering;
        f->queue[length++] = sets[i];
    }
    for (uint32_t i = 0; i < length; i++) {
        gather_own(f, f->queue[i]);
        for (uint32_t at = f->build->sets[f->queue[i]].links; at != 0;) {
            const struct matcher_link *link = &f->build->links[at - 1];
            if (f->seen[link->outer] != f->gathering) {
                f->seen[link->outer] = f->gathering;
                f->queue[length++] = link->outer;
            }
            at = link->next;
        }
    }
    f->gathered_total += f->gathered_count + length;
    f->too_many = f->too_many || f->gathered_total > GATHERED_MAX;
}

static int by_key_effect_rank(const void *left, const void *right)
{
    const struct matcher_pending *a = *(const struct matcher_pending *const *)left;
    const struct matcher_pending *b = *(const struct matcher_pending *const *)right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    if (a->effect != b->effect) {
        return a->effect < b->effect ? -1 : 1;
    }
    return (a->rank > b->rank) - (a->rank < b->rank);
}

/* --- merging --------------------------------------------------------------------------------- */

static void add_step(struct freezer *f, const struct matcher_pending *pending)
{
    struct id_matcher *matcher = f->matcher;
    matcher->steps =
        matcher_reserve(matcher->steps, f->step_count, &f->step_capacity, sizeof(*matcher->steps));
    matcher->steps[f->step_count++] =
        (struct matcher_step){.ends_s = pending->ends_s, .rank = pending->rank};
}

/* The slot of gathered[begin..end), which share key and effect and rise by rank. */
static uint32_t make_slot(struct freezer *f, uint32_t begin, uint32_t end)
{
    if (f->gathered[begin]->ends_s == ID_ENDS_NEVER) {
        return f->gathered[begin]->rank;
    }
    uint32_t first = f->step_count;
    int64_t latest = INT64_MIN;
    for (uint32_t i = begin; i < end && latest != ID_ENDS_NEVER; i++) {
        if (i == begin || f->gathered[i]->ends_s > latest) {
            latest = f->gathered[i]->ends_s;
            add_step(f, f->gathered[i]);
        }
    }
    for (uint32_t i = first; i < f->step_count; i++) {
        f->matcher->steps[i].left = f->step_count - i;
    }
    ASSERT(first < MATCHER_STEPS - 1);
    return MATCHER_STEPS + first;
}

static struct matcher_grant *add_grant(struct freezer *f, uint32_t key)
{
    struct id_matcher *matcher = f->matcher;
    matcher->grants = matcher_reserve(matcher->grants, f->grant_count, &f->grant_capacity,
                                      sizeof(*matcher->grants));
    struct matcher_grant *grant = &matcher->grants[f->grant_count++];
    grant->key = key;
    for (unsigned effect = 0; effect < ID_EFFECTS; effect++) {
        grant->slots[effect] = ID_RANK_NONE;
    }
    return grant;
}

static struct matcher_span merge(struct freezer *f)
{
    struct matcher_span span = {.first = f->grant_count};
    if (f->gathered_count > 1) {
        qsort(f->gathered, f->gathered_count, sizeof(*f->gathered), by_key_effect_rank);
    }
    struct matcher_grant *grant = NULL;
    for (uint32_t begin = 0; begin < f->gathered_count;) {
        const struct matcher_pending *pending = f->gathered[begin];
        uint32_t end = begin;
        while (end < f->gathered_count && f->gathered[end]->key == pending->key &&
               f->gathered[end]->effect == pending->effect) {
            end++;
        }
        if (grant == NULL || grant->key != pending->key) {
            grant = add_grant(f, pending->key);
        }
        grant->slots[pending->effect] = make_slot(f, begin, end);
        begin = end;
    }
    span.count = f->grant_count - span.first;
    f->too_many = f->too_many || f->grant_count > ID_MATCHER_GRANTS_MAX;
    return span;
}

/* --- combinations ---------------------------------------------------------------------------- */

static struct combination *find_entry(struct freezer *f, struct combination *table, uint32_t mask,
                                      const uint32_t *sets, uint32_t count)
{
    uint32_t at = (uint32_t)hash_bytes(sets, count * sizeof(*sets), 0) & mask;
    for (;; at = (at + 1) & mask) {
        struct combination *entry = &table[at];
        if (entry->count == 0) {
            return entry;
        }
        ASSERT(f->lists != NULL); /* what has a count has a list */
        if (entry->count == count &&
            memcmp(&f->lists[entry->first], sets, count * sizeof(*sets)) == 0) {
            return entry;
        }
    }
}

static void grow_table(struct freezer *f)
{
    uint32_t old_size = f->table == NULL ? 0 : f->table_mask + 1;
    if (f->table_count < old_size / 2) {
        return;
    }
    uint32_t size = old_size == 0 ? FIRST_TABLE : old_size * 2;
    struct combination *table = mem_alloc_array(size, sizeof(*table));
    for (uint32_t i = 0; i < old_size; i++) {
        const struct combination *old = &f->table[i];
        if (old->count != 0) {
            *find_entry(f, table, size - 1, &f->lists[old->first], old->count) = *old;
        }
    }
    mem_free(f->table);
    f->table = table;
    f->table_mask = size - 1;
}

/* Of one set: no list is kept, and nothing is looked up. */
static struct matcher_span span_alone(struct freezer *f, uint32_t set)
{
    struct combination *entry = &f->alone[set];
    if (entry->count == 0 && !f->too_many) {
        entry->count = 1;
        gather(f, &set, 1);
        entry->span = merge(f);
    }
    return entry->span;
}

/* Of sets in rising order, each once. */
static struct matcher_span span_of(struct freezer *f, const uint32_t *sets, uint32_t count)
{
    if (count == 1) {
        return span_alone(f, sets[0]);
    }
    grow_table(f);
    struct combination *entry = find_entry(f, f->table, f->table_mask, sets, count);
    if (entry->count != 0 || f->too_many) {
        return entry->span;
    }
    entry->first = f->list_count;
    entry->count = count;
    f->table_count++;
    for (uint32_t i = 0; i < count; i++) {
        f->lists = matcher_reserve(f->lists, f->list_count, &f->list_capacity, sizeof(*f->lists));
        f->lists[f->list_count++] = sets[i];
    }
    gather(f, sets, count);
    entry->span = merge(f);
    return entry->span;
}

/* --- places ---------------------------------------------------------------------------------- */

/* The sets of all members, by place; *ends gets where each place's end. */
static uint32_t *order_by_place(const struct id_matcher *matcher, uint32_t **ends)
{
    const struct matcher_build *build = matcher->build;
    size_t place_count = (size_t)matcher->node_count * 2;
    uint32_t *next = mem_alloc_array(place_count + 1, sizeof(*next));
    for (uint32_t i = 0; i < build->member_count; i++) {
        next[build->members[i].place + 1]++;
    }
    for (size_t place = 0; place < place_count; place++) {
        next[place + 1] += next[place];
    }
    uint32_t *ordered = mem_alloc_array(build->member_count, sizeof(*ordered));
    for (uint32_t i = 0; i < build->member_count; i++) {
        ordered[next[build->members[i].place]++] = build->members[i].set;
    }
    /* Filling moved each place's entry from its begin to its end. */
    *ends = next;
    return ordered;
}

static int by_number(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static uint32_t sort_and_thin(uint32_t *sets, uint32_t count)
{
    if (count < 2) {
        return count;
    }
    qsort(sets, count, sizeof(*sets), by_number);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < count; i++) {
        if (sets[i] != sets[kept - 1]) {
            sets[kept++] = sets[i];
        }
    }
    return kept;
}

static void fill_places(struct freezer *f)
{
    struct id_matcher *matcher = f->matcher;
    uint32_t *ends = NULL;
    uint32_t *ordered = order_by_place(matcher, &ends);
    uint32_t begin = 0;
    for (uint32_t place = 0; place < matcher->node_count * 2; place++) {
        uint32_t end = ends[place];
        if (end > begin) {
            uint32_t count = sort_and_thin(ordered + begin, end - begin);
            struct matcher_node *node = &matcher->nodes[place / 2];
            *(place % 2 == 0 ? &node->exact : &node->tail) = span_of(f, ordered + begin, count);
        }
        begin = end;
    }
    mem_free(ordered);
    mem_free(ends);
}

static void clear_places(struct id_matcher *matcher)
{
    for (uint32_t i = 0; i < matcher->node_count; i++) {
        matcher->nodes[i].exact = (struct matcher_span){0, 0};
        matcher->nodes[i].tail = (struct matcher_span){0, 0};
    }
}

bool id_matcher_freeze(struct id_matcher *matcher)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL);
    struct freezer f = {.matcher = matcher, .build = build};
    f.seen = mem_alloc_array(build->set_count, sizeof(*f.seen));
    f.queue = mem_alloc_array(build->set_count, sizeof(*f.queue));
    f.alone = mem_alloc_array(build->set_count, sizeof(*f.alone));
    fill_places(&f);
    if (f.too_many) {
        clear_places(matcher);
    }
    matcher_fill_nearest(matcher);
    mem_free(f.seen);
    mem_free(f.queue);
    mem_free(f.alone);
    mem_free(f.gathered);
    mem_free(f.lists);
    mem_free(f.table);
    matcher_build_free(build);
    matcher->build = NULL;
    return !f.too_many;
}
