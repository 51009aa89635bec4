/*
 * fuzz_policy: lines that make a policy and questions to it, against a naive model.
 *
 *     +1spiffe://a.example/ns/x     allow on listener 1 (0: on all)
 *     -0spiffe://a.example/ns/b/ *  deny (without the blank)
 *     =2spiffe://a.example/pay      listener 2 expects this server
 *     ?1spiffe://a.example/ns/y     a peer of this ID, and a server of this ID
 *
 * Every question is asked on every listener. Decisions, ranks, and what is named as nearest must
 * be those of the model, and every sentence must fit its buffer.
 */
#include "base/assert.h"
#include "policy/explain.h"
#include "unit/policy/naive_matcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LISTENERS = 3, LINES_MAX = 64, TEXT_MAX = 4096 };

struct world {
    struct config config;
    struct config_listener listeners[LISTENERS];
    struct config_rule rules[LINES_MAX];
    struct config_string from[LINES_MAX];
    struct config_string to[LINES_MAX];
    struct config_string expect[LISTENERS][LINES_MAX];
    struct naive_grant grants[LINES_MAX];
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

static bool parse_grant(struct world *world, char *text, struct naive_grant *grant)
{
    const char *why = NULL;
    if (id_pattern_parse(strview_from(text), &grant->pattern, &why) != 0) {
        world->bad_count++;
        return false;
    }
    return true;
}

static void add_rule(struct world *world, char *text, enum config_action action, uint32_t key)
{
    size_t index = world->config.rule_count++;
    world->from[index].text = text;
    world->to[index].text = names[key];
    world->rules[index] = (struct config_rule){
        .name.text = rule_name,
        .action = action,
        .from = {.items = &world->from[index], .count = 1},
        .to = {.items = &world->to[index], .count = 1},
    };
    struct naive_grant *grant = &world->grants[world->grant_count];
    grant->key = key;
    grant->rank = (uint32_t)index;
    grant->effect = action == CONFIG_ACTION_DENY ? ID_EFFECT_DENY : ID_EFFECT_ALLOW;
    world->grant_count += parse_grant(world, text, grant);
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

static void add_line(struct world *world, char *line)
{
    if (line[0] == '\0' || line[1] == '\0' || config_is_group_reference(line + 2)) {
        return;
    }
    uint32_t key = (uint32_t)(unsigned char)line[1] % (LISTENERS + 1);
    switch (line[0]) {
    case '+':
        add_rule(world, line + 2, CONFIG_ACTION_ALLOW, key);
        break;
    case '-':
        add_rule(world, line + 2, CONFIG_ACTION_DENY, key);
        break;
    case '=':
        add_expect(world, line + 2, key % LISTENERS);
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
    memset(world, 0, sizeof *world);
    world->config.listeners = world->listeners;
    world->config.listener_count = LISTENERS;
    world->config.rules = world->rules;
    for (size_t i = 0; i < LISTENERS; i++) {
        world->listeners[i].name.text = names[i + 1];
        world->listeners[i].kind = i == 2 ? CONFIG_KIND_BRIDGE : CONFIG_KIND_TERMINATE;
    }
    char *rest = NULL;
    char *line = strtok_r(text, "\n", &rest);
    for (unsigned i = 0; i < LINES_MAX && line != NULL; i++) {
        add_line(world, line);
        line = strtok_r(NULL, "\n", &rest);
    }
}

/* The trie alone, for `near` and both ranks at once. */
static void ask_matcher(const struct world *world, const struct id_matcher *matcher,
                        const struct spiffe_id *id, uint32_t key)
{
    struct id_match wanted = naive_match(world->grants, world->grant_count, id, key, 0);
    struct id_match match;
    id_matcher_match(matcher, id, key, 0, &match);
    ASSERT(match.rank[ID_EFFECT_ALLOW] == wanted.rank[ID_EFFECT_ALLOW] &&
           match.rank[ID_EFFECT_DENY] == wanted.rank[ID_EFFECT_DENY]);
    if (match.rank[ID_EFFECT_ALLOW] == ID_RANK_NONE) {
        struct id_near near;
        id_matcher_near(matcher, id, key, 0, &near);
        ASSERT(naive_agrees_near(world->grants, world->grant_count, id, key, 0, &near));
    }
}

static void check_sentence(const char *text)
{
    ASSERT(text[0] != '\0' && strlen(text) < 1023);
}

static void ask_downstream(const struct world *world, const struct spiffe_id *id, size_t listener)
{
    struct policy_input input = {.id = id, .listener = listener};
    struct decision decision;
    policy_decide(world->policy, &input, &decision);
    struct id_match wanted =
        naive_match(world->grants, world->grant_count, id, (uint32_t)listener + 1, 0);
    bool allow =
        wanted.rank[ID_EFFECT_DENY] == ID_RANK_NONE && wanted.rank[ID_EFFECT_ALLOW] != ID_RANK_NONE;
    ASSERT((decision.verdict == VERDICT_ALLOW) == allow);
    ASSERT((decision.reason == REASON_NONE) == allow);
    ASSERT((decision.reason == REASON_POLICY_DENY_RULE) ==
           (wanted.rank[ID_EFFECT_DENY] != ID_RANK_NONE));
    ASSERT((decision.rule == NULL) == (wanted.rank[ID_EFFECT_DENY] == ID_RANK_NONE &&
                                       wanted.rank[ID_EFFECT_ALLOW] == ID_RANK_NONE));
    char text[1024];
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
            ask_matcher(world, matcher, &id, (uint32_t)listener + 1);
            if (world->policy != NULL) {
                ask_downstream(world, &id, listener);
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
    id_matcher_free(matcher);
    policy_free(world->policy);
    diag_list_fini(&world->diags);
    free(text);
    free(world);
    return 0;
}
