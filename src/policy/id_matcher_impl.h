/*
 * id_matcher_impl: the matcher's memory, shared by what builds it and what looks up.
 *
 *     nodes   [0] root   [1] prod.example   [2] ns   [3] shop …      fixed size, by number
 *     slots   hash(parent, segment) → node                           open addressing, linear
 *     grants  of some sets: sorted by key, one entry a key           two spans a node, shared
 *     steps   of a slot of a grant whose rules end in time           runs, by rank and end
 *     nearest (node, key) → the lowest allow below that node         open addressing, linear
 *
 * A node is reached from its parent by its segment through the slots, or, when its segment is `*`,
 * through the parent's field star. A trust domain is a child of the root.
 *
 * Among many IDs nearly every node of a lookup has to come from memory, so that what counts is how
 * many lines of cache one takes: a node has one line to itself, with its segment in it when that is
 * short.
 */
#ifndef BULKHEAD_POLICY_ID_MATCHER_IMPL_H
#define BULKHEAD_POLICY_ID_MATCHER_IMPL_H

#include "policy/id_matcher.h"

#include <assert.h>

struct matcher_span {
    uint32_t first;
    uint32_t count;
};

enum { MATCHER_LINE = 64, MATCHER_NEAR = 32 };

struct matcher_node {
    union {
        char near[MATCHER_NEAR]; /* a segment of up to this many bytes */
        const char *far;         /* a longer one: in a pattern's text */
    } segment;
    uint32_t segment_len;
    uint32_t parent;
    uint32_t depth;            /* the root's is 0, a trust domain's 1, the k-th segment's k + 1 */
    uint32_t star;             /* the child by `*`; 0: none */
    struct matcher_span exact; /* of patterns that end here */
    struct matcher_span tail;  /* of patterns that go on with `**` */
};

static_assert(sizeof(struct matcher_node) == MATCHER_LINE, "a node is one line of cache");

static inline struct strview matcher_segment(const struct matcher_node *node)
{
    const char *text = node->segment_len <= MATCHER_NEAR ? node->segment.near : node->segment.far;
    return (struct strview){text, node->segment_len};
}

/* A slot holds a rank that never ends, ID_RANK_NONE, or MATCHER_STEPS plus the number of a step. */
struct matcher_grant {
    uint32_t key;
    uint32_t slots[ID_EFFECTS];
};

#define MATCHER_STEPS (UINT32_C(1) << 31)

/* Of several rules the lowest rank decides as long as it lasts, then the lowest of those that last
   longer: both ranks and ends rise along a run of steps. */
struct matcher_step {
    int64_t ends_s;
    uint32_t rank;
    uint32_t left; /* steps of the run from here on, this one counted */
};

struct matcher_slot {
    uint32_t hash;
    uint32_t node; /* 0: free, as the root is nobody's child */
};

/* Of all allows under the key at nodes below this one: the lowest rank, and where it stands. */
struct matcher_nearest {
    uint32_t node;
    uint32_t key;
    uint32_t rank;
    uint32_t place; /* the pattern's last node, times two, plus one for `**`; 0: free */
};

struct matcher_build;

struct id_matcher {
    uint64_t seed;
    struct matcher_node *nodes;
    uint32_t node_count;
    uint32_t slot_mask;
    struct matcher_slot *slots;
    struct matcher_grant *grants;
    struct matcher_step *steps;
    struct matcher_nearest *nearest;
    uint32_t nearest_mask;
    struct matcher_build *build; /* NULL: frozen */
};

/* A segment's hash is taken once and then mixed with each parent that may have it as a child. */
static inline uint32_t matcher_edge_hash(uint64_t segment_hash, uint32_t parent)
{
    return (uint32_t)(((segment_hash + parent) * 0x9e3779b97f4a7c15U) >> 32);
}

static inline uint32_t matcher_nearest_hash(uint32_t node, uint32_t key)
{
    uint64_t both = ((uint64_t)key << 32) | node;
    return (uint32_t)((both * 0x9e3779b97f4a7c15U) >> 32);
}

/* Of all rules of a slot, ended or not. */
static inline uint32_t matcher_lowest_rank(const struct id_matcher *matcher, uint32_t slot)
{
    bool is_rank = slot < MATCHER_STEPS || slot == ID_RANK_NONE;
    return is_rank ? slot : matcher->steps[slot - MATCHER_STEPS].rank;
}

struct matcher_question {
    uint32_t key;
    int64_t now_s;
};

/* The nodes whose patterns agree with what was walked so far. */
struct matcher_frontier {
    uint32_t nodes[ID_MATCHER_FRONTIER_MAX];
    unsigned count;
};

void matcher_push(struct matcher_frontier *frontier, uint32_t node); /* 0: there is none */
void matcher_start(const struct id_matcher *matcher, struct strview trust_domain,
                   struct matcher_frontier *frontier, uint32_t *probes);
void matcher_step(const struct id_matcher *matcher, struct strview segment,
                  const struct matcher_frontier *from, struct matcher_frontier *to,
                  uint32_t *probes);
struct id_match matcher_no_match(void);
/* Takes over what a place grants under the key and under all. */
void matcher_take_key(const struct id_matcher *matcher, struct matcher_span span,
                      const struct matcher_question *question, struct id_match *match);

uint64_t matcher_segment_hash(const struct id_matcher *matcher, struct strview segment);
/* The child of parent by a segment, or 0. Adds the slots looked at to *probes. */
uint32_t matcher_find_child(const struct id_matcher *matcher, uint32_t parent,
                            struct strview segment, uint64_t segment_hash, uint32_t *probes);

#endif
