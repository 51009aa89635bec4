/*
 * policy_impl: the compiled policy, shared by what loads it, decides by it and explains it.
 *
 * Rank in a matcher is the rule's (or, for `expect`, the entry's) index in the file; the key in
 * the downstream matcher is the listener's index plus one.
 */
#ifndef BULKHEAD_POLICY_POLICY_IMPL_H
#define BULKHEAD_POLICY_POLICY_IMPL_H

#include "policy/id_matcher.h"
#include "policy/policy.h"

/* What rules say of a listener at all, for the sentence of a denial. */
struct policy_listener {
    struct id_matcher *expect; /* NULL: the listener has no `expect` */
    bool has_rule;
    bool has_allow;
};

struct policy {
    const struct config *config;
    struct policy_rule *rules;
    size_t rule_count;
    struct policy_listener *listeners; /* config->listener_count of them */
    struct id_matcher *downstream;
};

static inline uint32_t policy_key(size_t listener)
{
    return (uint32_t)listener + 1;
}

#endif
