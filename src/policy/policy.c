/*
 * policy: two lookups and the order of their answers.
 *
 * A deny that matches wins over every allow; without an allow the answer is deny. That a decision
 * starts as VERDICT_DENY keeps every way out of these functions closed but those that allow.
 */
#include "policy_impl.h"

#include "base/assert.h"
#include "base/memory.h"

void policy_free(struct policy *policy)
{
    if (policy == NULL) {
        return;
    }
    id_matcher_free(policy->downstream);
    id_matcher_free(policy->upstream);
    mem_free(policy->listeners);
    mem_free(policy->rules);
    mem_free(policy);
}

size_t policy_rule_count(const struct policy *policy)
{
    return policy->rule_count;
}

const struct policy_rule *policy_rule(const struct policy *policy, size_t i)
{
    ASSERT(i < policy->rule_count);
    return &policy->rules[i];
}

size_t policy_rule_index(const struct policy *policy, const struct policy_rule *rule)
{
    ASSERT(rule >= policy->rules && rule < policy->rules + policy->rule_count);
    return (size_t)(rule - policy->rules);
}

const struct policy_rule *policy_shadow_rule(const struct shadow_result *shadow)
{
    bool denies = shadow->verdict == VERDICT_DENY && shadow->deny != NULL;
    return denies || shadow->allow == NULL ? shadow->deny : shadow->allow;
}

static void deny(struct decision *decision, enum reason reason)
{
    *decision =
        (struct decision){.verdict = VERDICT_DENY, .reason = reason, .until_s = POLICY_NEVER};
}

/* until_s is what the rule has as its end: the rule itself is not looked at, which would cost more
   than all the rest where there are many. */
static void allow(struct decision *decision, const struct policy_rule *rule, int64_t until_s)
{
    decision->verdict = VERDICT_ALLOW;
    decision->reason = REASON_NONE;
    decision->rule = rule;
    decision->until_s = until_s;
}

/* True when the quarantine holds the peer. */
static bool quarantined(const struct policy_input *input, struct decision *decision)
{
    const char *entry = quarantine_find(input->quarantine, input->id, input->leaf_sha256);
    if (entry == NULL) {
        return false;
    }
    deny(decision, REASON_POLICY_QUARANTINE);
    decision->quarantine = entry;
    return true;
}

static const struct policy_rule *rule_of(const struct policy *policy, const struct id_match *match,
                                         enum id_effect effect)
{
    uint32_t rank = match->rank[effect];
    return rank == ID_RANK_NONE ? NULL : &policy->rules[rank];
}

/* Of two, which may be NULL, the one that stands first. */
static const struct policy_rule *first_of(const struct policy_rule *a, const struct policy_rule *b)
{
    return a == NULL || (b != NULL && b < a) ? b : a;
}

static void decide_shadow(const struct policy *policy, const struct id_match *match,
                          struct shadow_result *shadow)
{
    shadow->allow = rule_of(policy, match, ID_EFFECT_SHADOW_ALLOW);
    shadow->deny = rule_of(policy, match, ID_EFFECT_SHADOW_DENY);
    const struct policy_rule *denies =
        first_of(rule_of(policy, match, ID_EFFECT_DENY), shadow->deny);
    const struct policy_rule *allows =
        first_of(rule_of(policy, match, ID_EFFECT_ALLOW), shadow->allow);
    shadow->rule = denies != NULL ? denies : allows;
    shadow->verdict = denies == NULL && allows != NULL ? VERDICT_ALLOW : VERDICT_DENY;
}

void policy_decide(const struct policy *policy, const struct policy_input *input,
                   struct decision *decision)
{
    ASSERT(input->listener < policy->config->listener_count);
    const struct config_listener *listener = &policy->config->listeners[input->listener];
    deny(decision, REASON_POLICY_NO_RULE);
    if (listener->kind == CONFIG_KIND_ORIGINATE) {
        /* A plaintext downstream has no ID; who the server may be is the only question here. */
        allow(decision, NULL, POLICY_NEVER);
        return;
    }
    if (quarantined(input, decision) || input->id == NULL) {
        return;
    }
    struct id_match match;
    id_matcher_match(policy->downstream, input->id, policy_key(input->listener), input->now_s,
                     &match);
    const struct policy_rule *denies = rule_of(policy, &match, ID_EFFECT_DENY);
    const struct policy_rule *allows = rule_of(policy, &match, ID_EFFECT_ALLOW);
    if (denies != NULL) {
        decision->reason = REASON_POLICY_DENY_RULE;
        decision->rule = denies;
    } else if (allows != NULL) {
        allow(decision, allows, match.allow_ends_s);
    } else if (listener->enforcement == CONFIG_ENFORCEMENT_AUDIT) {
        allow(decision, NULL, POLICY_NEVER);
        decision->would_deny = true;
    }
    decide_shadow(policy, &match, &decision->shadow);
}

void policy_decide_upstream(const struct policy *policy, const struct policy_input *input,
                            struct decision *decision)
{
    ASSERT(input->listener < policy->config->listener_count);
    deny(decision, REASON_POLICY_NOT_EXPECTED);
    if (quarantined(input, decision) || input->id == NULL ||
        !policy->listeners[input->listener].has_expect) {
        return;
    }
    struct id_match match;
    id_matcher_match(policy->upstream, input->id, policy_key(input->listener), input->now_s,
                     &match);
    if (match.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE) {
        allow(decision, NULL, POLICY_NEVER);
    }
}
