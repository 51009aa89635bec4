/*
 * policy: two lookups and the order of their answers.
 *
 * A deny that matches wins over every allow; without an allow the answer is deny. That a decision
 * starts as VERDICT_DENY keeps every way out of these functions closed but the one that allows.
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

void policy_decide(const struct policy *policy, const struct policy_input *input,
                   struct decision *decision)
{
    ASSERT(input->listener < policy->config->listener_count);
    *decision = (struct decision){.verdict = VERDICT_DENY, .reason = REASON_POLICY_NO_RULE};
    if (policy->config->listeners[input->listener].kind == CONFIG_KIND_ORIGINATE) {
        /* A plaintext downstream has no ID; who the server may be is the only question here. */
        *decision = (struct decision){.verdict = VERDICT_ALLOW, .reason = REASON_NONE};
        return;
    }
    if (input->id == NULL) {
        return;
    }
    struct id_match match;
    id_matcher_match(policy->downstream, input->id, policy_key(input->listener), input->now_s,
                     &match);
    if (match.rank[ID_EFFECT_DENY] != ID_RANK_NONE) {
        decision->reason = REASON_POLICY_DENY_RULE;
        decision->rule = &policy->rules[match.rank[ID_EFFECT_DENY]];
        return;
    }
    if (match.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE) {
        *decision = (struct decision){.verdict = VERDICT_ALLOW,
                                      .reason = REASON_NONE,
                                      .rule = &policy->rules[match.rank[ID_EFFECT_ALLOW]]};
    }
}

void policy_decide_upstream(const struct policy *policy, size_t listener,
                            const struct spiffe_id *server, struct decision *decision)
{
    ASSERT(listener < policy->config->listener_count);
    *decision = (struct decision){.verdict = VERDICT_DENY, .reason = REASON_POLICY_NOT_EXPECTED};
    if (!policy->listeners[listener].has_expect || server == NULL) {
        return;
    }
    struct id_match match;
    id_matcher_match(policy->upstream, server, policy_key(listener), 0, &match);
    if (match.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE) {
        *decision = (struct decision){.verdict = VERDICT_ALLOW, .reason = REASON_NONE};
    }
}
