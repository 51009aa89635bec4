/*
 * fuzz_policy: lines that make a policy and questions to it, against a naive model.
 *
 *     +1spiffe://a.example/ns/x     allow on listener 1 (0: on all)
 *     -0spiffe://a.example/ns/b/ *  deny (without the blank)
 *     ~1… ^1… .1…                   shadow allow, shadow deny, a disabled allow
 *     +5…                           four more than 1: listener 1, until second 1; +9: until 2 …
 *     +1group:g2                    a group in place of an ID
 *     g2spiffe://a.example/x        a member of group g2
 *     =2spiffe://a.example/pay      listener 2 expects this server
 *     @ spiffe://a.example/z        (without the blank, any byte) is held in quarantine
 *     !1                            listener 1 is under audit
 *     ?1spiffe://a.example/ns/y     a peer of this ID, and a server of this ID
 *
 * Every question is asked on every listener, at several times. All of a decision, and what is named
 * as nearest, must be those of the model; the findings must come to the same decision; every
 * sentence must fit its buffer; and lint must come to its end.
 */
#include "base/assert.h"
#include "policy/explain.h"
#include "policy/lint.h"
#include "policy/quarantine.h"
#include "unit/policy/naive_matcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LISTENERS = 3, LINES_MAX = 64, TEXT_MAX = 4096, GROUPS = 3, TIMES = 5 };
enum { GRANTS_MAX = LINES_MAX * LINES_MAX };

struct world {
    struct config config;
    struct config_listener listeners[LISTENERS];
    struct config_rule rules[LINES_MAX];
    struct config_string from[LINES_MAX];
    struct config_string to[LINES_MAX];
    struct config_string expect[LISTENERS][LINES_MAX];
    struct config_group groups[GROUPS];
    struct config_string members[GROUPS][LINES_MAX];
    const char *held[LINES_MAX];
    size_t held_count;
    struct quarantine *quarantine;
    struct naive_grant *grants; /* GRANTS_MAX of them: too many to be cleared each time */
    size_t grant_count;
    struct naive_grant expected[LISTENERS][LINES_MAX];
    size_t expected_count[LISTENERS];
    const char *questions[LINES_MAX];
    size_t question_count;
    size_t bad_count; /* patterns that must be refused */
    struct diag_list diags;
    struct policy *policy;
};

static char names[LISTENERS + 1][4] = {"all", "l1", "l2", "l3"};
static char rule_name[] = "rule";
static char end_text[] = "then";
static char group_names[GROUPS][3] = {"g0", "g1", "g2"};

static bool parse_grant(struct world *world, char *text, struct naive_grant *grant)
{
    const char *why = NULL;
    if (id_pattern_parse(strview_from(text), &grant->pattern, &why) != 0) {
        world->bad_count++;
        return false;
    }
    return true;
}

/* What the first byte of a line says of a rule. */
struct kind {
    char sign;
    enum config_action action;
    enum config_mode mode;
    enum id_effect effect;
};

static const struct kind kinds[] = {
    {'+', CONFIG_ACTION_ALLOW, CONFIG_MODE_ENFORCE, ID_EFFECT_ALLOW},
    {'-', CONFIG_ACTION_DENY, CONFIG_MODE_ENFORCE, ID_EFFECT_DENY},
    {'~', CONFIG_ACTION_ALLOW, CONFIG_MODE_SHADOW, ID_EFFECT_SHADOW_ALLOW},
    {'^', CONFIG_ACTION_DENY, CONFIG_MODE_SHADOW, ID_EFFECT_SHADOW_DENY},
    {'.', CONFIG_ACTION_ALLOW, CONFIG_MODE_DISABLED, ID_EFFECT_ALLOW},
};

static void add_rule(struct world *world, char *text, const struct kind *kind, uint32_t number)
{
    uint32_t key = number % (LISTENERS + 1);
    int64_t ends_s = number / (LISTENERS + 1) % TIMES; /* 0: never */
    size_t index = world->config.rule_count++;
    world->from[index].text = text;
    world->to[index].text = names[key];
    world->rules[index] = (struct config_rule){
        .name.text = rule_name,
        .action = kind->action,
        .mode = kind->mode,
        .from = {.items = &world->from[index], .count = 1},
        .to = {.items = &world->to[index], .count = 1},
    };
    if (ends_s != 0) {
        world->rules[index].expires = (struct config_time){.text.text = end_text, .s = ends_s};
    }
    struct naive_grant *grant = &world->grants[world->grant_count];
    *grant = (struct naive_grant){
        .key = key, .rank = (uint32_t)index, .effect = kind->effect, .ends_s = ends_s};
    /* Those of groups are made when all lines are read. */
    if (!config_is_group_reference(text) && parse_grant(world, text, grant) &&
        kind->mode != CONFIG_MODE_DISABLED) {
        world->grant_count++;
    }
}

static void add_group_rule(struct world *world, size_t index, const struct config_group *group)
{
    const struct config_rule *rule = &world->rules[index];
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        if (kinds[k].action != rule->action || kinds[k].mode != rule->mode ||
            rule->mode == CONFIG_MODE_DISABLED) {
            continue;
        }
        for (size_t i = 0; i < group->members.count; i++) {
            struct naive_grant *grant = &world->grants[world->grant_count];
            const char *why = NULL;
            size_t key = 0;
            while (rule->to.items[0].text != names[key]) {
                key++;
            }
            *grant = (struct naive_grant){.key = (uint32_t)key,
                                          .rank = (uint32_t)index,
                                          .effect = kinds[k].effect,
                                          .ends_s = rule->expires.s};
            world->grant_count += id_pattern_parse(strview_from(group->members.items[i].text),
                                                   &grant->pattern, &why) == 0;
        }
    }
}

static void add_group_rules(struct world *world)
{
    for (size_t i = 0; i < world->config.rule_count; i++) {
        const char *text = world->from[i].text;
        const struct config_group *group =
            config_is_group_reference(text) ? config_find_group(&world->config, text) : NULL;
        if (group != NULL) {
            add_group_rule(world, i, group);
        }
    }
}

static void add_member(struct world *world, char *text, uint32_t number)
{
    struct config_strings *members = &world->groups[number % GROUPS].members;
    struct naive_grant ignored;
    members->items[members->count++].text = text;
    (void)parse_grant(world, text, &ignored);
}

static void add_expect(struct world *world, char *text, size_t listener)
{
    struct config_strings *expect = &world->listeners[listener].expect;
    struct naive_grant *grant = &world->expected[listener][world->expected_count[listener]];
    grant->key = ID_MATCHER_KEY_ALL;
    grant->rank = (uint32_t)expect->count;
    grant->effect = ID_EFFECT_ALLOW;
    world->expected_count[listener] += parse_grant(world, text, grant);
    expect->items = world->expect[listener];
    expect->items[expect->count++].text = text;
}

/* The only references in a valid configuration are to groups that are there, here by rules. */
static bool is_allowed(const char *line)
{
    return !config_is_group_reference(line + 2) ||
           (strchr("+-~^.", line[0]) != NULL && strlen(line + 2) == strlen("group:g0") &&
            line[2 + strlen("group:")] == 'g' && line[9] >= '0' && line[9] < '0' + GROUPS);
}

static void add_line(struct world *world, char *line)
{
    if (line[0] == '\0' || line[1] == '\0' || !is_allowed(line)) {
        return;
    }
    uint32_t number = (uint32_t)(unsigned char)(line[1] - '0');
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (line[0] == kinds[i].sign) {
            add_rule(world, line + 2, &kinds[i], number);
            return;
        }
    }
    switch (line[0]) {
    case 'g':
        add_member(world, line + 2, number);
        break;
    case '=':
        add_expect(world, line + 2, number % LISTENERS);
        break;
    case '@':
        world->held[world->held_count++] = line + 2;
        break;
    case '!':
        world->listeners[number % LISTENERS].enforcement = CONFIG_ENFORCEMENT_AUDIT;
        break;
    case '?':
        world->questions[world->question_count++] = line + 2;
        break;
    default:
        break;
    }
}

static void build_world(struct world *world, char *text)
{
    static struct naive_grant grants[GRANTS_MAX];
    memset(world, 0, sizeof *world);
    world->grants = grants;
    world->config.listeners = world->listeners;
    world->config.listener_count = LISTENERS;
    world->config.rules = world->rules;
    for (size_t i = 0; i < LISTENERS; i++) {
        world->listeners[i].name.text = names[i + 1];
        world->listeners[i].kind = i == 2 ? CONFIG_KIND_BRIDGE : CONFIG_KIND_TERMINATE;
    }
    world->config.groups = world->groups;
    world->config.group_count = GROUPS;
    for (size_t i = 0; i < GROUPS; i++) {
        world->groups[i].name.text = group_names[i];
        world->groups[i].members.items = world->members[i];
    }
    char *rest = NULL;
    char *line = strtok_r(text, "\n", &rest);
    for (unsigned i = 0; i < LINES_MAX && line != NULL; i++) {
        add_line(world, line);
        line = strtok_r(NULL, "\n", &rest);
    }
    add_group_rules(world);
    world->quarantine = quarantine_build(world->held, world->held_count);
}

/* The trie alone, for `near` and all ranks at once. */
static void ask_matcher(const struct world *world, const struct id_matcher *matcher,
                        const struct spiffe_id *id, uint32_t key, int64_t now_s)
{
    struct id_match wanted = naive_match(world->grants, world->grant_count, id, key, now_s);
    struct id_match match;
    id_matcher_match(matcher, id, key, now_s, &match);
    ASSERT(memcmp(match.rank, wanted.rank, sizeof(match.rank)) == 0);
    if (match.rank[ID_EFFECT_ALLOW] == ID_RANK_NONE) {
        struct id_near near;
        id_matcher_near(matcher, id, key, now_s, &near);
        ASSERT(naive_agrees_near(world->grants, world->grant_count, id, key, now_s, &near));
    }
}

static void check_sentence(const char *text)
{
    ASSERT(text[0] != '\0' && strlen(text) < 1023);
}

static bool is_held(const struct world *world, const struct spiffe_id *id)
{
    for (size_t i = 0; i < world->held_count; i++) {
        struct quarantine_item item;
        const char *why = NULL;
        if (quarantine_item_parse(strview_from(world->held[i]), &item, &why) == 0 &&
            !item.is_certificate && id_pattern_matches(&item.pattern, id)) {
            return true;
        }
    }
    return false;
}

static bool is_rank(const struct world *world, const struct policy_rule *rule, uint32_t rank)
{
    return rule == NULL ? rank == ID_RANK_NONE
                        : policy_rule_index(world->policy, rule) == (size_t)rank;
}

static uint32_t lower(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void check_decision(const struct world *world, const struct policy_input *input,
                           const struct decision *decision, const struct id_match *wanted)
{
    bool audit = world->listeners[input->listener].enforcement == CONFIG_ENFORCEMENT_AUDIT;
    uint32_t deny = wanted->rank[ID_EFFECT_DENY];
    uint32_t allow = wanted->rank[ID_EFFECT_ALLOW];
    bool allowed = deny == ID_RANK_NONE && (allow != ID_RANK_NONE || audit);
    ASSERT((decision->verdict == VERDICT_ALLOW) == allowed);
    ASSERT((decision->reason == REASON_NONE) == allowed);
    ASSERT(decision->would_deny == (allowed && allow == ID_RANK_NONE));
    ASSERT(is_rank(world, decision->rule, deny != ID_RANK_NONE ? deny : allow));
    bool ends = allowed && allow != ID_RANK_NONE && world->rules[allow].expires.s != 0;
    ASSERT(decision->until_s == (ends ? world->rules[allow].expires.s : POLICY_NEVER));
    uint32_t shadow_allow = wanted->rank[ID_EFFECT_SHADOW_ALLOW];
    uint32_t shadow_deny = wanted->rank[ID_EFFECT_SHADOW_DENY];
    ASSERT(is_rank(world, decision->shadow.allow, shadow_allow));
    ASSERT(is_rank(world, decision->shadow.deny, shadow_deny));
    uint32_t denies = lower(deny, shadow_deny);
    uint32_t allows = lower(allow, shadow_allow);
    ASSERT(is_rank(world, decision->shadow.rule, denies != ID_RANK_NONE ? denies : allows));
    ASSERT((decision->shadow.verdict == VERDICT_ALLOW) ==
           (denies == ID_RANK_NONE && allows != ID_RANK_NONE));
}

/* One rule after the other comes to the same. */
static void check_findings(const struct world *world, const struct policy_input *input,
                           const struct decision *decision, const struct id_match *wanted)
{
    struct findings findings;
    struct id_match found = {{ID_RANK_NONE, ID_RANK_NONE, ID_RANK_NONE, ID_RANK_NONE}, 0, 0};
    char text[1024];
    findings_collect(&findings, world->policy, input);
    ASSERT(findings.count + findings.far == world->config.rule_count);
    for (size_t i = 0; i < findings.count; i++) {
        const struct policy_rule *rule = findings.items[i].rule;
        explain_finding(world->policy, input, decision, &findings.items[i], text, sizeof(text));
        check_sentence(text);
        for (size_t k = 0;
             findings.items[i].failed == CLAUSE_NONE && k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            if (kinds[k].action == rule->action && kinds[k].mode == rule->mode) {
                uint32_t *rank = &found.rank[kinds[k].effect];
                *rank = lower(*rank, (uint32_t)policy_rule_index(world->policy, rule));
            }
        }
    }
    ASSERT(memcmp(found.rank, wanted->rank, sizeof(found.rank)) == 0);
    findings_fini(&findings);
}

static void ask_downstream(const struct world *world, const struct spiffe_id *id, size_t listener,
                           int64_t now_s)
{
    struct policy_input input = {.id = id, .listener = listener, .now_s = now_s};
    struct decision decision;
    policy_decide(world->policy, &input, &decision);
    struct id_match wanted =
        naive_match(world->grants, world->grant_count, id, (uint32_t)listener + 1, now_s);
    check_decision(world, &input, &decision, &wanted);
    char text[1024];
    explain_decision(world->policy, &input, &decision, text, sizeof text);
    check_sentence(text);
    check_findings(world, &input, &decision, &wanted);
    input.quarantine = world->quarantine;
    policy_decide(world->policy, &input, &decision);
    ASSERT((decision.quarantine != NULL) == is_held(world, id));
    ASSERT((decision.reason == REASON_POLICY_QUARANTINE) == (decision.quarantine != NULL));
    ASSERT(decision.quarantine == NULL || decision.verdict == VERDICT_DENY);
    explain_decision(world->policy, &input, &decision, text, sizeof text);
    check_sentence(text);
}

static void ask_upstream(const struct world *world, const struct spiffe_id *id, size_t listener)
{
    struct policy_input input = {.id = id, .listener = listener};
    struct decision decision;
    policy_decide_upstream(world->policy, &input, &decision);
    struct id_match wanted = naive_match(world->expected[listener], world->expected_count[listener],
                                         id, ID_MATCHER_KEY_ALL, 0);
    ASSERT((decision.verdict == VERDICT_ALLOW) == (wanted.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE));
    char text[1024];
    explain_upstream(world->policy, &input, &decision, text, sizeof text);
    check_sentence(text);
    input.quarantine = world->quarantine;
    policy_decide_upstream(world->policy, &input, &decision);
    ASSERT((decision.reason == REASON_POLICY_QUARANTINE) == is_held(world, id));
}

static void ask_all(const struct world *world, const struct id_matcher *matcher)
{
    for (size_t i = 0; i < world->question_count; i++) {
        struct spiffe_id id;
        const char *why = NULL;
        if (spiffe_id_parse(strview_from(world->questions[i]), &id, &why) != 0) {
            continue;
        }
        for (size_t listener = 0; listener < LISTENERS; listener++) {
            int64_t now_s = (int64_t)((i + listener) % (TIMES + 1));
            ask_matcher(world, matcher, &id, (uint32_t)listener + 1, now_s);
            if (world->policy != NULL) {
                ask_downstream(world, &id, listener, now_s);
                ask_upstream(world, &id, listener);
            }
        }
    }
}

/* The model's grants in a trie of their own, in the reverse order: ranks must not hang on it.
   With 64 lines at most, no arrangement of `*` can be one too many. */
static struct id_matcher *build_matcher(const struct world *world)
{
    struct id_matcher *matcher = id_matcher_new();
    for (size_t i = world->grant_count; i > 0; i--) {
        const struct naive_grant *grant = &world->grants[i - 1];
        bool added = naive_add(matcher, grant);
        ASSERT(added || world->grant_count >= ID_MATCHER_FRONTIER_MAX);
    }
    ASSERT(id_matcher_freeze(matcher));
    return matcher;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > TEXT_MAX) {
        return 0;
    }
    struct world *world = malloc(sizeof *world);
    char *text = malloc(size + 1);
    ASSERT(world != NULL && text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    build_world(world, text);
    diag_list_init(&world->diags);
    world->policy = policy_load(&world->config, &world->diags);
    ASSERT((world->policy == NULL) == (world->bad_count > 0));
    ASSERT(world->diags.error_count == world->bad_count);
    struct id_matcher *matcher = build_matcher(world);
    ask_all(world, matcher);
    if (world->policy != NULL) {
        lint_run(world->policy, 2, LINT_CHECK, &world->diags);
        ASSERT(world->diags.error_count == 0);
    }
    id_matcher_free(matcher);
    quarantine_unref(world->quarantine);
    policy_free(world->policy);
    diag_list_fini(&world->diags);
    free(text);
    free(world);
    return 0;
}
