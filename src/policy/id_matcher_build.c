/*
 * id_matcher_build: patterns go in one by one, as members of sets.
 *
 * While building, each node also knows its shape: which of the segments before it are `*`. Nodes
 * of one depth and one trust domain that share a shape differ in a plain segment, so that no ID
 * reaches two of them; the number of shapes there bounds the frontier of a lookup. The shape
 * without any `*` is always admitted, the others are counted.
 */
#include "id_matcher_build.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Places are node numbers times two plus one. */
enum { NODE_MAX = INT32_MAX / 2, FIRST_SLOTS = 16, FIRST_NODES = 8 };

void *matcher_reserve(void *array, uint32_t count, uint32_t *capacity, size_t size)
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
    build->shapes = matcher_reserve(build->shapes, build->shape_count, &build->shape_capacity,
                                    sizeof *build->shapes);
    build->shapes[build->shape_count] =
        (struct matcher_shape){.domain = domain, .has_star = has_star};
    return build->shape_count++;
}

/* By a new array, as realloc would lose the alignment. */
static void grow_nodes(struct id_matcher *matcher, uint32_t capacity)
{
    struct matcher_node *nodes =
        mem_alloc_aligned_array(MATCHER_LINE, capacity, sizeof *matcher->nodes);
    if (matcher->node_count > 0) {
        memcpy(nodes, matcher->nodes, matcher->node_count * sizeof *nodes);
    }
    mem_free(matcher->nodes);
    matcher->nodes = nodes;
    matcher->build->node_capacity = capacity;
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
    grow_nodes(matcher, FIRST_NODES);
    build->shape_of = matcher_reserve(NULL, 0, &build->shape_of_capacity, sizeof *build->shape_of);
    matcher->node_count = 1;
    (void)add_shape(build, 0, false);
    return matcher;
}

void id_matcher_reserve(struct id_matcher *matcher, size_t patterns)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL && matcher->node_count == 1 && build->member_count == 0);
    if (patterns < FIRST_SLOTS || patterns > NODE_MAX / 2) {
        return;
    }
    /* Patterns share the nodes of what they begin with alike: mostly one node is new in each. */
    uint32_t nodes = (uint32_t)patterns + (uint32_t)patterns / 8;
    grow_nodes(matcher, nodes);
    build->shape_of = mem_grow_array(build->shape_of, 1, nodes, sizeof *build->shape_of);
    build->shape_of_capacity = nodes;
    build->members = mem_alloc_array(patterns, sizeof *build->members);
    build->member_capacity = (uint32_t)patterns;
    size_t slots = FIRST_SLOTS;
    while (slots / 2 <= patterns) {
        slots *= 2;
    }
    mem_free(matcher->slots);
    matcher->slots = mem_alloc_array(slots, sizeof *matcher->slots);
    matcher->slot_mask = (uint32_t)(slots - 1);
}

void matcher_build_free(struct matcher_build *build)
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
    mem_free(build->sets);
    mem_free(build->links);
    mem_free(build->pending);
    mem_free(build->members);
    mem_free(build);
}

void id_matcher_free(struct id_matcher *matcher)
{
    if (matcher == NULL) {
        return;
    }
    matcher_build_free(matcher->build);
    mem_free(matcher->nodes);
    mem_free(matcher->slots);
    mem_free(matcher->grants);
    mem_free(matcher->steps);
    mem_free(matcher->nearest);
    mem_free(matcher);
}

/* Counts one shape more with a `*` at this depth; false when there are too many. */
static bool count_shape(struct matcher_domain *domain, uint32_t depth)
{
    while (depth >= domain->capacity) {
        domain->counts = matcher_reserve(domain->counts, domain->capacity, &domain->capacity,
                                         sizeof *domain->counts);
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
    build->domains = matcher_reserve(build->domains, build->domain_count, &build->domain_capacity,
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
    if (node == build->node_capacity) {
        grow_nodes(matcher, build->node_capacity * 2);
    }
    build->shape_of =
        matcher_reserve(build->shape_of, node, &build->shape_of_capacity, sizeof *build->shape_of);
    matcher->nodes[node] = (struct matcher_node){
        .segment_len = (uint32_t)segment.len,
        .parent = parent,
        .depth = matcher->nodes[parent].depth + 1,
    };
    if (segment.len <= MATCHER_NEAR) {
        memcpy(matcher->nodes[node].segment.near, segment.ptr, segment.len);
    } else {
        matcher->nodes[node].segment.far = segment.ptr;
    }
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

/* Where the pattern ends, as a place; 0: too many arrangements. */
static uint32_t place_of(struct id_matcher *matcher, const struct id_pattern *pattern)
{
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
            return 0;
        }
    }
    return node * 2 + tail;
}

uint32_t id_matcher_set_new(struct id_matcher *matcher)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL);
    build->sets =
        matcher_reserve(build->sets, build->set_count, &build->set_capacity, sizeof *build->sets);
    return build->set_count++;
}

bool id_matcher_set_add(struct id_matcher *matcher, uint32_t set, const struct id_pattern *pattern)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL);
    ASSERT(set < build->set_count);
    uint32_t place = place_of(matcher, pattern);
    if (place == 0) {
        return false;
    }
    build->members = matcher_reserve(build->members, build->member_count, &build->member_capacity,
                                     sizeof *build->members);
    build->members[build->member_count++] = (struct matcher_member){place, set};
    return true;
}

void id_matcher_set_join(struct id_matcher *matcher, uint32_t set, uint32_t outer)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL);
    ASSERT(set < build->set_count && outer < build->set_count && set != outer);
    build->links = matcher_reserve(build->links, build->link_count, &build->link_capacity,
                                   sizeof *build->links);
    build->links[build->link_count++] =
        (struct matcher_link){.outer = outer, .next = build->sets[set].links};
    build->sets[set].links = build->link_count;
}

void id_matcher_set_grant(struct id_matcher *matcher, uint32_t set, uint32_t key, uint32_t rank,
                          enum id_effect effect, int64_t ends_s)
{
    struct matcher_build *build = matcher->build;
    ASSERT(build != NULL);
    ASSERT(set < build->set_count && rank <= ID_RANK_MAX);
    build->pending = matcher_reserve(build->pending, build->pending_count, &build->pending_capacity,
                                     sizeof *build->pending);
    build->pending[build->pending_count++] =
        (struct matcher_pending){.key = key,
                                 .rank = rank,
                                 .ends_s = ends_s,
                                 .effect = effect,
                                 .next = build->sets[set].grants};
    build->sets[set].grants = build->pending_count;
}
