/*
 * One block of memory. A rule has one count, because it is enforced or shadow, not both; what it
 * was under other setups is added by control.
 */
#include "proxy/rule_hits.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "policy/policy.h"
#include "proxy/setup.h"

struct rule_hits *rule_hits_new(const struct setup *setup)
{
    size_t rules = setup->config->rule_count;
    size_t listeners = setup->config->listener_count;
    struct rule_hits *hits =
        mem_alloc(sizeof(*hits) + rules * sizeof(*hits->rules) +
                  listeners * sizeof(*hits->would_deny) + RULE_HITS_CACHE_LINE);
    hits->setup = setup;
    hits->rule_count = rules;
    hits->would_deny = (_Atomic uint64_t *)(void *)&hits->rules[rules];
    return hits;
}

void rule_hits_free(struct rule_hits *hits)
{
    mem_free(hits);
}

/* Nobody else writes there. */
static void count(_Atomic uint64_t *place)
{
    uint64_t now = atomic_load_explicit(place, memory_order_relaxed);
    atomic_store_explicit(place, now + 1, memory_order_relaxed);
}

static void hit(struct rule_hits *hits, const struct policy *policy, const struct policy_rule *rule,
                uint64_t now_ms)
{
    if (rule != NULL) {
        struct rule_hit *place = &hits->rules[policy_rule_index(policy, rule)];
        count(&place->count);
        atomic_store_explicit(&place->last_ms, now_ms, memory_order_relaxed);
    }
}

void rule_hits_note(struct rule_hits *hits, const struct setup_listener *listener,
                    const struct decision *decision)
{
    ASSERT(hits->setup == listener->setup);
    const struct policy *policy = listener->setup->policy;
    uint64_t now_ms = clock_wall_ms();
    hit(hits, policy, decision->rule, now_ms);
    hit(hits, policy, decision->shadow.allow, now_ms);
    hit(hits, policy, decision->shadow.deny, now_ms);
    if (decision->would_deny) {
        count(&hits->would_deny[listener->index]);
    }
}
