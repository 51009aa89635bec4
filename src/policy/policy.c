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
    for (size_t i = 0; i < policy->config->listener_count; i++) {
        id_matcher_free(policy->listeners[i].expect);
    }
    id_matcher_free(policy->downstream);
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
    id_matcher_match(policy->downstream, input->id, policy_key(input->listener), &match);
    if (match.deny != ID_RANK_NONE) {
        decision->reason = REASON_POLICY_DENY_RULE;
        decision->rule = &policy->rules[match.deny];
        return;
    }
    if (match.allow != ID_RANK_NONE) {
        *decision = (struct decision){
            .verdict = VERDICT_ALLOW, .reason = REASON_NONE, .rule = &policy->rules[match.allow]};
    }
}

void policy_decide_upstream(const struct policy *policy, size_t listener,
                            const struct spiffe_id *server, struct decision *decision)
{
    ASSERT(listener < policy->config->listener_count);
    *decision = (struct decision){.verdict = VERDICT_DENY, .reason = REASON_POLICY_NOT_EXPECTED};
    const struct id_matcher *expect = policy->listeners[listener].expect;
    if (expect == NULL || server == NULL) {
        return;
    }
    struct id_match match;
    id_matcher_match(expect, server, ID_MATCHER_KEY_ALL, &match);
    if (match.allow != ID_RANK_NONE) {
        *decision = (struct decision){.verdict = VERDICT_ALLOW, .reason = REASON_NONE};
    }
}
