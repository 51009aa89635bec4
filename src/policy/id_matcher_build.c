/*
 * id_matcher_build: patterns go in one by one; freezing sorts what they grant.
 *
 * While building, each node also knows its shape: which of the segments before it are `*`. Nodes
 * of one depth and one trust domain that share a shape differ in a plain segment, so that no ID
 * reaches two of them; the number of shapes there bounds the frontier of a lookup. The shape
 * without any `*` is always admitted, the others are counted.
 *
 * What is granted is first a plain list in the order of adding. Freezing brings it into the order
 * of the nodes by counting, so that the cost is linear: nothing is sorted but a node's own keys.
 */
#include "id_matcher_impl.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Places are node numbers times two plus one. */
enum { NODE_MAX = INT32_MAX / 2, FIRST_SLOTS = 16 };

struct pending_grant {
    uint32_t place; /* node times two, plus one for `**` */
    uint32_t key;
    uint32_t rank;
    enum id_effect effect;
};

struct shape {
    uint32_t plain; /* the shape one plain segment further; 0: none yet */
    uint32_t star;
    uint32_t domain;
    bool has_star;
};

/* How many shapes with a `*` a trust domain has at each depth. */
struct domain {
    uint8_t *counts;
    uint32_t capacity;
};

struct matcher_build {
    uint32_t node_capacity;
    uint32_t *shape_of; /* by node */
    uint32_t shape_of_capacity;
    struct shape *shapes; /* [0] is the root's */
    uint32_t shape_count;
    uint32_t shape_capacity;
    struct domain *domains;
    uint32_t domain_count;
    uint32_t domain_capacity;
    struct pending_grant *pending;
    uint32_t pending_count;
    uint32_t pending_capacity;
    uint32_t nearest_count;
};

/* Room for one element more. */
static void *reserve(void *array, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return array;
    }
    uint32_t wanted = *capacity == 0 ? 8 : *capacity * 2;
    ASSERT(wanted > *capacity);
    array = mem_grow_array(array, *capacity, wanted, size);
    *capacity = wanted;
    return array;
}

static uint32_t add_shape(struct matcher_build *build, uint32_t domain, bool has_star)
{
    build->shapes =
        reserve(build->shapes, build->shape_count, &build->shape_capacity, sizeof *build->shapes);
    build->shapes[build->shape_count] = (struct shape){.domain = domain, .has_star = has_star};
    return build->shape_count++;
}

struct id_matcher *id_matcher_new(void)
{
    struct id_matcher *matcher = mem_alloc(sizeof *matcher);
    struct matcher_build *build = mem_alloc(sizeof *build);
    matcher->build = build;
    /* Where the object lies is not known to who writes the patterns, so that nobody can choose
       segments which collide. */
    matcher->seed = (uint64_t)(uintptr_t)matcher;
    matcher->slots = mem_alloc_array(FIRST_SLOTS, sizeof *matcher->slots);
    matcher->slot_mask = FIRST_SLOTS - 1;
    matcher->nodes = reserve(NULL, 0, &build->node_capacity, sizeof *matcher->nodes);
    build->shape_of = reserve(NULL, 0, &build->shape_of_capacity, sizeof *build->shape_of);
    matcher->node_count = 1;
    (void)add_shape(build, 0, false);
    return matcher;
}

static void free_build(struct matcher_build *build)
{
    if (build == NULL) {
        return;
    }
    for (uint32_t i = 0; i < build->domain_count; i++) {
        mem_free(build->domains[i].counts);
    }
    mem_free(build->domains);
    mem_free(build->shapes);
    mem_free(build->shape_of);
    mem_free(build->pending);
    mem_free(build);
}

void id_matcher_free(struct id_matcher *matcher)
{
    if (matcher == NULL) {
        return;
    }
    free_build(matcher->build);
    mem_free(matcher->nodes);
    mem_free(matcher->slots);
    mem_free(matcher->grants);
    mem_free(matcher->nearest);
    mem_free(matcher);
}

/* Counts one shape more with a `*` at this depth; false when there are too many. */
static bool count_shape(struct domain *domain, uint32_t depth)
{
    while (depth >= domain->capacity) {
        domain->counts =
            reserve(domain->counts, domain->capacity, &domain->capacity, sizeof *domain->counts);
    }
    if (domain->counts[depth] == ID_MATCHER_FRONTIER_MAX - 1) {
        return false;
    }
    domain->counts[depth]++;
    return true;
}

/* The shape of a child of a node of this shape. 0: there are too many. */
static uint32_t shape_below(struct matcher_build *build, uint32_t shape, uint32_t depth, bool star)
{
    uint32_t next = star ? build->shapes[shape].star : build->shapes[shape].plain;
    if (next != 0) {
        return next;
    }
    bool has_star = star || build->shapes[shape].has_star;
    uint32_t domain = build->shapes[shape].domain;
    if (has_star && !count_shape(&build->domains[domain], depth)) {
        return 0;
    }
    next = add_shape(build, domain, has_star);
    if (star) {
        build->shapes[shape].star = next;
    } else {
        build->shapes[shape].plain = next;
    }
    return next;
}

/* A trust domain's first shape; each trust domain has its own tree of them. */
static uint32_t shape_of_domain(struct matcher_build *build)
{
    build->domains = reserve(build->domains, build->domain_count, &build->domain_capacity,
                             sizeof *build->domains);
    return add_shape(build, build->domain_count++, false);
}

static void put_slot(struct matcher_slot *slots, uint32_t mask, struct matcher_slot slot)
{
    uint32_t at = slot.hash & mask;
    while (slots[at].node != 0) {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

/* At most half of the slots are taken; nodes by `*` are counted in, which only makes it fewer. */
static void grow_slots(struct id_matcher *matcher)
{
    if (matcher->node_count < matcher->slot_mask / 2) {
        return;
    }
    size_t old_count = (size_t)matcher->slot_mask + 1;
    size_t count = old_count * 2;
    struct matcher_slot *slots = mem_alloc_array(count, sizeof *slots);
    for (size_t i = 0; i < old_count; i++) {
        if (matcher->slots[i].node != 0) {
            put_slot(slots, (uint32_t)(count - 1), matcher->slots[i]);
        }
    }
    mem_free(matcher->slots);
    matcher->slots = slots;
    matcher->slot_mask = (uint32_t)(count - 1);
}

static uint32_t add_node(struct id_matcher *matcher, uint32_t parent, struct strview segment,
                         uint32_t shape)
{
    struct matcher_build *build = matcher->build;
    uint32_t node = matcher->node_count;
    ASSERT(node < NODE_MAX);
    matcher->nodes = reserve(matcher->nodes, node, &build->node_capacity, sizeof *matcher->nodes);
    build->shape_of =
        reserve(build->shape_of, node, &build->shape_of_capacity, sizeof *build->shape_of);
    matcher->nodes[node] = (struct matcher_node){
        .segment = segment.ptr,
        .segment_len = (uint32_t)segment.len,
        .parent = parent,
        .depth = matcher->nodes[parent].depth + 1,
    };
    build->shape_of[node] = shape;
    matcher->node_count++;
    return node;
}

/* The node of the `*` below parent, made when there is none. 0: too many shapes. */
static uint32_t star_below(struct id_matcher *matcher, uint32_t parent, struct strview segment)
{
    if (matcher->nodes[parent].star != 0) {
        return matcher->nodes[parent].star;
    }
    uint32_t shape = shape_below(matcher->build, matcher->build->shape_of[parent],
                                 matcher->nodes[parent].depth + 1, true);
    if (shape == 0) {
        return 0;
    }
    uint32_t node = add_node(matcher, parent, segment, shape);
    matcher->nodes[parent].star = node;
    return node;
}

/* The same for a plain segment, or for a trust domain below the root. */
static uint32_t segment_below(struct id_matcher *matcher, uint32_t parent, struct strview segment)
{
    uint64_t hash = matcher_segment_hash(matcher, segment);
    uint32_t probes = 0;
    uint32_t node = matcher_find_child(matcher, parent, segment, hash, &probes);
    if (node != 0) {
        return node;
    }
    uint32_t shape = parent == 0 ? shape_of_domain(matcher->build)
                                 : shape_below(matcher->build, matcher->build->shape_of[parent],
                                               matcher->nodes[parent].depth + 1, false);
    if (shape == 0) {
        return 0;
    }
    node = add_node(matcher, parent, segment, shape);
    grow_slots(matcher);
    put_slot(matcher->slots, matcher->slot_mask,
             (struct matcher_slot){.hash = matcher_edge_hash(hash, parent), .node = node});
    return node;
}

bool id_matcher_add(struct id_matcher *matcher, const struct id_pattern *pattern, uint32_t key,
                    uint32_t rank, enum id_effect effect)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL && rank != ID_RANK_NONE);
    uint32_t node = segment_below(matcher, 0, pattern->trust_domain);
    uint32_t tail = 0;
    size_t cursor = 0;
    struct strview segment;
    while (id_pattern_next_segment(pattern, &cursor, &segment)) {
        if (strview_equal_text(segment, "**")) {
            tail = 1;
            break;
        }
        node = strview_equal_text(segment, "*") ? star_below(matcher, node, segment)
                                                : segment_below(matcher, node, segment);
        if (node == 0) {
            return false;
        }
    }
    build->pending = reserve(build->pending, build->pending_count, &build->pending_capacity,
                             sizeof *build->pending);
    build->pending[build->pending_count++] = (struct pending_grant){
        .place = node * 2 + tail, .key = key, .rank = rank, .effect = effect};
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct pending_grant *left = a;
    const struct pending_grant *right = b;
    return (left->key > right->key) - (left->key < right->key);
}

/* The pending grants in the order of their places; *ends gets where each place ends. */
static struct pending_grant *order_by_place(const struct id_matcher *matcher, uint32_t **ends)
{
    const struct matcher_build *build = matcher->build;
    size_t place_count = (size_t)matcher->node_count * 2;
    uint32_t *next = mem_alloc_array(place_count + 1, sizeof *next);
    for (uint32_t i = 0; i < build->pending_count; i++) {
        next[build->pending[i].place + 1]++;
    }
    for (size_t place = 0; place < place_count; place++) {
        next[place + 1] += next[place];
    }
    struct pending_grant *ordered = mem_alloc_array(build->pending_count, sizeof *ordered);
    for (uint32_t i = 0; i < build->pending_count; i++) {
        ordered[next[build->pending[i].place]++] = build->pending[i];
    }
    /* Filling moved each place's entry from its begin to its end. */
    *ends = next;
    return ordered;
}

/* Writes one grant for each key among count grants of one place; returns how many. */
static uint32_t merge_keys(struct pending_grant *pending, uint32_t count,
                           struct matcher_grant *grants)
{
    if (count > 1) {
        qsort(pending, count, sizeof *pending, by_key);
    }
    uint32_t merged = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (merged == 0 || grants[merged - 1].key != pending[i].key) {
            grants[merged++] = (struct matcher_grant){pending[i].key, ID_RANK_NONE, ID_RANK_NONE};
        }
        struct matcher_grant *grant = &grants[merged - 1];
        uint32_t *rank = pending[i].effect == ID_EFFECT_DENY ? &grant->deny : &grant->allow;
        if (pending[i].rank < *rank) {
            *rank = pending[i].rank;
        }
    }
    return merged;
}

static void freeze_grants(struct id_matcher *matcher)
{
    uint32_t *ends = NULL;
    struct pending_grant *ordered = order_by_place(matcher, &ends);
    matcher->grants = mem_alloc_array(matcher->build->pending_count, sizeof *matcher->grants);
    uint32_t used = 0;
    uint32_t begin = 0;
    for (uint32_t place = 0; place < matcher->node_count * 2; place++) {
        uint32_t count = merge_keys(ordered + begin, ends[place] - begin, matcher->grants + used);
        struct matcher_node *node = &matcher->nodes[place / 2];
        *(place % 2 == 0 ? &node->exact : &node->tail) = (struct matcher_span){used, count};
        used += count;
        begin = ends[place];
    }
    mem_free(ordered);
    mem_free(ends);
}

static struct matcher_nearest *nearest_entry(struct matcher_nearest *table, uint32_t mask,
                                             uint32_t node, uint32_t key)
{
    uint32_t at = matcher_nearest_hash(node, key) & mask;
    while (table[at].place != 0 && (table[at].node != node || table[at].key != key)) {
        at = (at + 1) & mask;
    }
    return &table[at];
}

static void grow_nearest(struct id_matcher *matcher)
{
    size_t old_count = (size_t)matcher->nearest_mask + 1;
    if (matcher->nearest != NULL && matcher->build->nearest_count < old_count / 2) {
        return;
    }
    size_t count = matcher->nearest == NULL ? FIRST_SLOTS : old_count * 2;
    struct matcher_nearest *table = mem_alloc_array(count, sizeof *table);
    for (size_t i = 0; matcher->nearest != NULL && i < old_count; i++) {
        const struct matcher_nearest *old = &matcher->nearest[i];
        if (old->place != 0) {
            *nearest_entry(table, (uint32_t)(count - 1), old->node, old->key) = *old;
        }
    }
    mem_free(matcher->nearest);
    matcher->nearest = table;
    matcher->nearest_mask = (uint32_t)(count - 1);
}

/* Tells every node above about an allow. Stops where a lower rank is known: above it, too. */
static void climb(struct id_matcher *matcher, const struct pending_grant *grant)
{
    uint32_t node = grant->place / 2;
    while (node != 0) {
        node = matcher->nodes[node].parent;
        grow_nearest(matcher);
        struct matcher_nearest *entry =
            nearest_entry(matcher->nearest, matcher->nearest_mask, node, grant->key);
        if (entry->place != 0 && entry->rank <= grant->rank) {
            return;
        }
        matcher->build->nearest_count += entry->place == 0;
        *entry = (struct matcher_nearest){node, grant->key, grant->rank, grant->place};
    }
}

void id_matcher_freeze(struct id_matcher *matcher)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL);
    freeze_grants(matcher);
    grow_nearest(matcher);
    for (uint32_t i = 0; i < build->pending_count; i++) {
        if (build->pending[i].effect == ID_EFFECT_ALLOW) {
            climb(matcher, &build->pending[i]);
        }
    }
    free_build(build);
    matcher->build = NULL;
}
