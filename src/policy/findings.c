/*
 * A rule comes near when its `from` holds and another clause does not, or when it is about the
 * listener and an entry of its `from` is of the ID's trust domain. The longer the run of equal
 * segments, the nearer; among equals an enforced allow comes first, as in the sentence that
 * explain_decision makes, then the order of the file.
 */
#include "policy/findings.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "config/config.h"
#include "policy_impl.h"

/* The best of several entries. */
struct best {
    const char *entry; /* NULL: none yet */
    bool matches;
    struct id_near near;
};

struct collector {
    const struct policy *policy;
    const struct policy_input *input;
    struct best *groups; /* by group */
    bool *known;         /* by group: was it looked at? */
    struct findings *findings;
};

/* --- one entry ------------------------------------------------------------------------------- */

/* Where the two part: near->segment counts from 1. */
static void compare_paths(const struct id_pattern *pattern, const struct spiffe_id *id,
                          struct id_near *near)
{
    size_t pattern_cursor = 0;
    size_t id_cursor = 0;
    for (near->segment = 1;; near->segment++) {
        bool more = id_pattern_next_segment(pattern, &pattern_cursor, &near->wanted);
        bool more_of_id = spiffe_id_next_segment(id, &id_cursor, &near->got);
        near->wanted = more ? near->wanted : strview_from("");
        near->got = more_of_id ? near->got : strview_from("");
        if (!more || !more_of_id ||
            (!strview_equal_text(near->wanted, "*") && !strview_equal(near->wanted, near->got))) {
            return;
        }
    }
}

static void look_at_pattern(const struct collector *collector, const char *text, struct best *found)
{
    struct id_pattern pattern;
    const char *why = NULL;
    const struct spiffe_id *id = collector->input->id;
    *found = (struct best){.entry = NULL};
    if (id_pattern_parse(strview_from(text), &pattern, &why) != 0) {
        return; /* policy_load has refused it */
    }
    found->entry = text;
    found->matches = id_pattern_matches(&pattern, id);
    if (found->matches) {
        return;
    }
    found->near.found = true;
    found->near.trust_domain = !strview_equal(pattern.trust_domain, id->trust_domain);
    if (found->near.trust_domain) {
        found->near.wanted = pattern.trust_domain;
        found->near.got = id->trust_domain;
    } else {
        compare_paths(&pattern, id, &found->near);
    }
}

static bool is_nearer(const struct best *a, const struct best *b)
{
    if (a->entry == NULL || b->entry == NULL) {
        return a->entry != NULL;
    }
    if (a->matches != b->matches) {
        return a->matches;
    }
    if (a->near.trust_domain != b->near.trust_domain) {
        return b->near.trust_domain;
    }
    return a->near.segment > b->near.segment;
}

static void look_at_members(struct collector *collector, const struct config_strings *members,
                            struct best *best);

/* A group is looked at once, however many rules use it. */
static const struct best *look_at_group(struct collector *collector,
                                        const struct config_group *group)
{
    size_t number = (size_t)(group - collector->policy->config->groups);
    if (!collector->known[number]) {
        collector->known[number] = true;
        look_at_members(collector, &group->members, &collector->groups[number]);
    }
    return &collector->groups[number];
}

static void look_at_members(struct collector *collector, const struct config_strings *members,
                            struct best *best)
{
    *best = (struct best){.entry = NULL};
    for (size_t i = 0; i < members->count && !best->matches; i++) {
        const char *text = members->items[i].text;
        struct best one = {.entry = NULL};
        if (!config_is_group_reference(text)) {
            look_at_pattern(collector, text, &one);
        } else {
            const struct config_group *group = config_find_group(collector->policy->config, text);
            one = group == NULL ? one : *look_at_group(collector, group);
        }
        if (is_nearer(&one, best)) {
            *best = one;
        }
    }
}

/* --- one rule -------------------------------------------------------------------------------- */

static bool names_listener(const struct collector *collector, const struct config_rule *rule)
{
    const struct config_listener *listener =
        &collector->policy->config->listeners[collector->input->listener];
    for (size_t i = 0; i < rule->to.count; i++) {
        struct strview to = strview_from(rule->to.items[i].text);
        if (strview_equal_text(to, "all") || strview_equal_text(to, listener->name.text)) {
            return true;
        }
    }
    return false;
}

static enum clause first_failure(const struct collector *collector, const struct policy_rule *rule,
                                 bool from_holds, bool to_holds)
{
    if (!from_holds) {
        return CLAUSE_FROM;
    }
    if (!to_holds) {
        return CLAUSE_TO;
    }
    if (rule->mode == CONFIG_MODE_DISABLED) {
        return CLAUSE_MODE;
    }
    bool ended = rule->ends_s != POLICY_NEVER && rule->ends_s <= collector->input->now_s;
    return ended ? CLAUSE_EXPIRES : CLAUSE_NONE;
}

static void look_at_rule(struct collector *collector, size_t index)
{
    const struct policy *policy = collector->policy;
    struct findings *findings = collector->findings;
    struct best best;
    look_at_members(collector, &policy->config->rules[index].from, &best);
    bool to_holds = names_listener(collector, &policy->config->rules[index]);
    if (!best.matches && (!to_holds || best.entry == NULL || best.near.trust_domain)) {
        findings->far++;
        return;
    }
    const struct policy_rule *rule = &policy->rules[index];
    findings->items[findings->count++] = (struct finding){
        .rule = rule,
        .failed = first_failure(collector, rule, best.matches, to_holds),
        .near = best.near,
        .entry = best.entry,
    };
}

/* --- all ------------------------------------------------------------------------------------- */

static bool is_enforced_allow(const struct policy_rule *rule)
{
    return rule->action == CONFIG_ACTION_ALLOW && rule->mode == CONFIG_MODE_ENFORCE;
}

static int by_nearness(const void *left, const void *right)
{
    const struct finding *a = left;
    const struct finding *b = right;
    if (a->failed != b->failed) {
        return a->failed > b->failed ? -1 : 1;
    }
    if (a->failed == CLAUSE_FROM && a->near.segment != b->near.segment) {
        return a->near.segment > b->near.segment ? -1 : 1;
    }
    if (is_enforced_allow(a->rule) != is_enforced_allow(b->rule)) {
        return is_enforced_allow(a->rule) ? -1 : 1;
    }
    return (a->rule > b->rule) - (a->rule < b->rule);
}

void findings_collect(struct findings *findings, const struct policy *policy,
                      const struct policy_input *input)
{
    ASSERT(input->id != NULL && input->listener < policy->config->listener_count);
    *findings = (struct findings){.count = 0};
    findings->items = mem_alloc_array(policy->rule_count, sizeof(*findings->items));
    struct collector collector = {.policy = policy, .input = input, .findings = findings};
    collector.groups = mem_alloc_array(policy->config->group_count, sizeof(*collector.groups));
    collector.known = mem_alloc_array(policy->config->group_count, sizeof(*collector.known));
    for (size_t i = 0; i < policy->rule_count; i++) {
        look_at_rule(&collector, i);
    }
    if (findings->count > 1) {
        qsort(findings->items, findings->count, sizeof(*findings->items), by_nearness);
    }
    mem_free(collector.groups);
    mem_free(collector.known);
}

void findings_fini(struct findings *findings)
{
    mem_free(findings->items);
    *findings = (struct findings){.count = 0};
}

const char *clause_name(enum clause clause)
{
    switch (clause) {
    case CLAUSE_FROM:
        return "from";
    case CLAUSE_TO:
        return "to";
    case CLAUSE_EXPIRES:
        return "expires";
    case CLAUSE_MODE:
        return "mode";
    case CLAUSE_NONE:
        return "";
    }
    ASSERT(false);
    return "";
}
