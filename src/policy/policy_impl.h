/*
 * policy_impl: the compiled policy, shared by what loads it, decides by it and explains it.
 *
 * Rank in the matcher of rules is the rule's index, in that of `expect` the listener's; the key in
 * both is the listener's index plus one.
 */
#ifndef BULKHEAD_POLICY_POLICY_IMPL_H
#define BULKHEAD_POLICY_POLICY_IMPL_H

#include "policy/id_matcher.h"
#include "policy/policy.h"

/* What rules say of a listener at all, for the sentence of a denial. */
struct policy_listener {
    bool has_expect;
    bool has_rule;
    bool has_allow;
};

struct policy {
    const struct config *config;
    struct policy_rule *rules;
    size_t rule_count;
    struct policy_listener *listeners; /* config->listener_count of them */
    struct id_matcher *downstream;     /* rules */
    struct id_matcher *upstream;       /* `expect` of all listeners */
};

static inline uint32_t policy_key(size_t listener)
{
    return (uint32_t)listener + 1;
}

#endif
