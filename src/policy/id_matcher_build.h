/*
 * id_matcher_build: what a matcher has only until it is frozen. For src/policy/id_matcher*.c only.
 */
#ifndef BULKHEAD_POLICY_ID_MATCHER_BUILD_H
#define BULKHEAD_POLICY_ID_MATCHER_BUILD_H

#include "id_matcher_impl.h"

struct matcher_shape {
    uint32_t plain; /* the shape one plain segment further; 0: none yet */
    uint32_t star;
    uint32_t domain;
    bool has_star;
};

/* How many shapes with a `*` a trust domain has at each depth. */
struct matcher_domain {
    uint8_t *counts;
    uint32_t capacity;
};

/* Lists through arrays, by index plus one; 0 ends them. */
struct matcher_set {
    uint32_t grants; /* in pending */
    uint32_t links;  /* sets that this one is part of */
};

struct matcher_link {
    uint32_t outer;
    uint32_t next;
};

struct matcher_pending {
    int64_t ends_s;
    uint32_t key;
    uint32_t rank;
    enum id_effect effect;
    uint32_t next;
};

struct matcher_member {
    uint32_t place; /* node times two, plus one for `**` */
    uint32_t set;
};

struct matcher_build {
    uint32_t node_capacity;
    uint32_t *shape_of; /* by node */
    uint32_t shape_of_capacity;
    struct matcher_shape *shapes; /* [0] is the root's */
    uint32_t shape_count;
    uint32_t shape_capacity;
    struct matcher_domain *domains;
    uint32_t domain_count;
    uint32_t domain_capacity;
    struct matcher_set *sets;
    uint32_t set_count;
    uint32_t set_capacity;
    struct matcher_link *links;
    uint32_t link_count;
    uint32_t link_capacity;
    struct matcher_pending *pending;
    uint32_t pending_count;
    uint32_t pending_capacity;
    struct matcher_member *members;
    uint32_t member_count;
    uint32_t member_capacity;
};

/* Room for one element more. */
void *matcher_reserve(void *array, uint32_t count, uint32_t *capacity, size_t size);
void matcher_build_free(struct matcher_build *build);
/* Fills `nearest` from the places' grants. */
void matcher_fill_nearest(struct id_matcher *matcher);

#endif
