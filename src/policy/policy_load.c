/*
 * policy_load: from the configuration's strings to the matchers.
 *
 * Every pattern is read, also after the first error, so that all that is wrong is said at once.
 * An error is what can't be understood; that a rule can't match in this process (its trust domain
 * has no bundle) only narrows access, and is a warning.
 */
#include "policy_impl.h"

#include "base/assert.h"
#include "base/memory.h"
#include "config/suggest.h"
#include "name_list.h"

#include <stdio.h>
#include <string.h>

struct loader {
    const struct config *config;
    struct diag_list *diags;
    struct policy *policy;
    struct name_list domains;
    struct name_list listeners;
    bool *told; /* by group: what is wrong in it was told */
};

/* The listeners that a rule's `to` names, as keys of the matcher. */
struct keys {
    uint32_t *items;
    size_t count;
};

static struct keys find_keys(const struct loader *loader, const struct config_strings *to)
{
    struct keys keys = {.items = mem_alloc_array(to->count, sizeof(uint32_t))};
    for (size_t i = 0; i < to->count; i++) {
        struct strview text = strview_from(to->items[i].text);
        if (strview_equal_text(text, "all")) {
            keys.items[keys.count++] = ID_MATCHER_KEY_ALL;
            continue;
        }
        const struct name *listener = name_list_find(&loader->listeners, text);
        if (listener == NULL) {
            continue; /* of another process: config_load has told about it or refused it */
        }
        keys.items[keys.count++] = policy_key(listener->index);
    }
    return keys;
}

static void note_rule(struct policy *policy, const struct keys *keys, enum config_action action)
{
    for (size_t k = 0; k < keys->count; k++) {
        bool all = keys->items[k] == ID_MATCHER_KEY_ALL;
        size_t first = all ? 0 : keys->items[k] - policy_key(0);
        size_t end = all ? policy->config->listener_count : first + 1;
        for (size_t i = first; i < end; i++) {
            policy->listeners[i].has_rule = true;
            policy->listeners[i].has_allow |= action == CONFIG_ACTION_ALLOW;
        }
    }
}

/* Where a pattern stands, for messages: rules[2].from[0], groups.a[0]. */
struct place {
    const char *group; /* or NULL: */
    const char *section;
    size_t section_index;
    const char *key;
    size_t index;
    struct config_string string;
    bool denies;
};

struct place_text {
    char text[160];
};

static struct place_text place_text(const struct place *place)
{
    struct place_text out;
    if (place->group != NULL) {
        (void)snprintf(out.text, sizeof out.text, "groups.%s[%zu]", place->group, place->index);
    } else {
        (void)snprintf(out.text, sizeof out.text, "%s[%zu].%s[%zu]", place->section,
                       place->section_index, place->key, place->index);
    }
    return out;
}

#define PLACE_FORMAT      "%s: \"%s\""
#define PLACE_ARGS(place) place_text(place).text, (place)->string.text

/* True when nothing is missing but the scheme, as in "prod.example/ns/shop". */
static bool lacks_only_scheme(const char *text)
{
    size_t size = strlen(text) + SPIFFE_SCHEME_LEN + 1;
    char *full = mem_alloc(size);
    (void)snprintf(full, size, "spiffe://%s", text);
    struct id_pattern pattern;
    const char *why = NULL;
    bool is_pattern = id_pattern_parse(strview_from(full), &pattern, &why) == 0;
    mem_free(full);
    return is_pattern;
}

static bool is_group_name(const struct config *config, const char *text)
{
    char reference[96];
    int len = snprintf(reference, sizeof(reference), CONFIG_GROUP_PREFIX "%s", text);
    return len > 0 && (size_t)len < sizeof(reference) &&
           config_find_group(config, reference) != NULL;
}

static int parse_pattern(const struct loader *loader, const struct place *place,
                         struct id_pattern *pattern)
{
    const char *why = NULL;
    if (id_pattern_parse(strview_from(place->string.text), pattern, &why) == 0) {
        return 0;
    }
    if (is_group_name(loader->config, place->string.text)) {
        diag_error(loader->diags, place->string.pos,
                   PLACE_FORMAT ": is a group's name; write \"" CONFIG_GROUP_PREFIX "%s\"",
                   PLACE_ARGS(place), place->string.text);
    } else if (lacks_only_scheme(place->string.text)) {
        diag_error(loader->diags, place->string.pos,
                   PLACE_FORMAT ": write the ID in full: spiffe://%s", PLACE_ARGS(place),
                   place->string.text);
    } else {
        diag_error(loader->diags, place->string.pos, PLACE_FORMAT ": %s", PLACE_ARGS(place), why);
    }
    return -1;
}

enum { SUGGESTION_SIZE = 300, SUGGEST_AT_MOST = 200 };

/* "; did you mean "prod.example"?" or "". A search costs: a file may name a wrong domain a million
   times. */
static const char *suggest_domain(const struct loader *loader, struct strview domain,
                                  char out[SUGGESTION_SIZE])
{
    char name[SPIFFE_TRUST_DOMAIN_MAX + 1];
    struct suggest suggest;
    out[0] = '\0';
    if (loader->diags->count >= SUGGEST_AT_MOST || domain.len >= sizeof(name)) {
        return out;
    }
    memcpy(name, domain.ptr, domain.len);
    name[domain.len] = '\0';
    suggest_init(&suggest, name);
    for (size_t i = 0; i < loader->config->trust_count; i++) {
        suggest_consider(&suggest, loader->config->trust[i].domain.text);
    }
    if (suggest.best != NULL) {
        (void)snprintf(out, SUGGESTION_SIZE, "; did you mean \"%s\"?", suggest.best);
    }
    return out;
}

static void warn_of_unknown_domain(const struct loader *loader, const struct place *place,
                                   const struct id_pattern *pattern)
{
    if (loader->domains.count == 0) {
        /* `trust` is missing or could not be read, which was reported. */
        return;
    }
    if (!config_has_identity_files(loader->config)) {
        return; /* the Workload API brings domains of its own */
    }
    if (name_list_find(&loader->domains, pattern->trust_domain) != NULL) {
        return;
    }
    /* An included file may be shared with processes that know the trust domain. A deny is told
       about always: a typing error takes its effect away. */
    bool only_note = !place->denies && config_is_included(loader->config, place->string.pos);
    char suggestion[SUGGESTION_SIZE];
    (only_note ? diag_note : diag_warning)(
        loader->diags, place->string.pos,
        PLACE_FORMAT ": never matches: `trust` has no bundle for \"%.*s\"%s", PLACE_ARGS(place),
        (int)pattern->trust_domain.len, pattern->trust_domain.ptr,
        suggest_domain(loader, pattern->trust_domain, suggestion));
}

/* --- members of sets ----------------------------------------------------------------------- */

/* One of the two matchers, with what of the groups is in it already. */
struct side {
    struct id_matcher *matcher;
    uint32_t *group_sets; /* by group: 1 + its set; 0: not yet */
};

static void load_member(struct loader *loader, struct side *side, uint32_t set,
                        const struct place *place, bool tell);

/* The group's set, filled when it is asked for the first time. What is wrong in a group is told
   once, however many sides and rules use it. */
static uint32_t group_set(struct loader *loader, struct side *side, size_t number)
{
    if (side->group_sets[number] != 0) {
        return side->group_sets[number] - 1;
    }
    const struct config_group *group = &loader->config->groups[number];
    bool tell = !loader->told[number];
    uint32_t set = id_matcher_set_new(side->matcher);
    side->group_sets[number] = set + 1;
    loader->told[number] = true;
    for (size_t i = 0; i < group->members.count; i++) {
        struct place place = {
            .group = group->name.text, .index = i, .string = group->members.items[i]};
        load_member(loader, side, set, &place, tell);
    }
    return set;
}

static void load_group(struct loader *loader, struct side *side, uint32_t set, const char *text)
{
    const struct config_group *group = config_find_group(loader->config, text);
    if (group == NULL) {
        return; /* config_load has refused it */
    }
    uint32_t inner = group_set(loader, side, (size_t)(group - loader->config->groups));
    if (inner != set) {
        id_matcher_set_join(side->matcher, inner, set);
    }
}

static void load_member(struct loader *loader, struct side *side, uint32_t set,
                        const struct place *place, bool tell)
{
    struct id_pattern pattern;
    const char *why = NULL;
    if (config_is_group_reference(place->string.text)) {
        load_group(loader, side, set, place->string.text);
        return;
    }
    if ((tell ? parse_pattern(loader, place, &pattern)
              : id_pattern_parse(strview_from(place->string.text), &pattern, &why)) != 0) {
        return;
    }
    if (tell) {
        warn_of_unknown_domain(loader, place, &pattern);
    }
    if (!id_matcher_set_add(side->matcher, set, &pattern)) {
        diag_error(loader->diags, place->string.pos,
                   PLACE_FORMAT ": patterns of more than six segments in this trust domain"
                                " have `*` in over %d different arrangements; use fewer",
                   PLACE_ARGS(place), (int)ID_MATCHER_FRONTIER_MAX);
    }
}

/* --- rules and expect ----------------------------------------------------------------------- */

static enum id_effect effect_of(const struct config_rule *rule)
{
    bool denies = rule->action == CONFIG_ACTION_DENY;
    if (rule->mode == CONFIG_MODE_SHADOW) {
        return denies ? ID_EFFECT_SHADOW_DENY : ID_EFFECT_SHADOW_ALLOW;
    }
    return denies ? ID_EFFECT_DENY : ID_EFFECT_ALLOW;
}

static void grant_rule(const struct loader *loader, struct side *side, size_t index, uint32_t set)
{
    const struct config_rule *rule = &loader->config->rules[index];
    struct keys keys = find_keys(loader, &rule->to);
    if (rule->mode == CONFIG_MODE_ENFORCE) {
        note_rule(loader->policy, &keys, rule->action);
    }
    for (size_t i = 0; i < keys.count; i++) {
        id_matcher_set_grant(side->matcher, set, keys.items[i], (uint32_t)index, effect_of(rule),
                             loader->policy->rules[index].ends_s);
    }
    mem_free(keys.items);
}

/* shown: how messages number it. */
static void load_rule(struct loader *loader, struct side *side, size_t index, size_t shown)
{
    const struct config_rule *rule = &loader->config->rules[index];
    struct policy *policy = loader->policy;
    policy->rules[index] = (struct policy_rule){
        .name = rule->name.text,
        .action = rule->action,
        .mode = rule->mode,
        .ends_s = rule->expires.text.text == NULL ? POLICY_NEVER : rule->expires.s,
        .pos = rule->pos};
    /* A shadow deny takes nothing, so a typing error in it widens nothing. */
    bool denies = rule->action == CONFIG_ACTION_DENY && rule->mode == CONFIG_MODE_ENFORCE;
    uint32_t set = id_matcher_set_new(side->matcher);
    if (rule->mode != CONFIG_MODE_DISABLED) {
        grant_rule(loader, side, index, set);
    }
    for (size_t i = 0; i < rule->from.count; i++) {
        struct place place = {.section = "rules",
                              .section_index = shown,
                              .key = "from",
                              .index = i,
                              .string = rule->from.items[i],
                              .denies = denies};
        load_member(loader, side, set, &place, true);
    }
}

static void load_expect(struct loader *loader, struct side *side, size_t index)
{
    const struct config_strings *expect = &loader->config->listeners[index].expect;
    if (expect->count == 0) {
        return;
    }
    loader->policy->listeners[index].has_expect = true;
    uint32_t set = id_matcher_set_new(side->matcher);
    id_matcher_set_grant(side->matcher, set, policy_key(index), (uint32_t)index, ID_EFFECT_ALLOW,
                         ID_ENDS_NEVER);
    for (size_t i = 0; i < expect->count; i++) {
        struct place place = {.section = "listeners",
                              .section_index = index,
                              .key = "expect",
                              .index = i,
                              .string = expect->items[i]};
        load_member(loader, side, set, &place, true);
    }
}

static size_t count_members(const struct config *config)
{
    size_t count = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        count += config->rules[i].from.count;
    }
    for (size_t i = 0; i < config->group_count; i++) {
        count += config->groups[i].members.count;
    }
    return count;
}

static struct side new_side(const struct loader *loader, struct id_matcher *matcher)
{
    struct side side = {.matcher = matcher};
    side.group_sets = mem_alloc_array(loader->config->group_count, sizeof(*side.group_sets));
    return side;
}

static void freeze(struct loader *loader, struct side *side, const char *what)
{
    if (!id_matcher_freeze(side->matcher)) {
        diag_error(loader->diags, (struct config_pos){loader->config->first_file, 0, 0},
                   "%s: IDs and patterns stand in too many different combinations of rules and "
                   "groups; use fewer",
                   what);
    }
    mem_free(side->group_sets);
}

static void load_rules(struct loader *loader)
{
    const struct config *config = loader->config;
    struct side side = new_side(loader, loader->policy->downstream);
    id_matcher_reserve(side.matcher, count_members(config));
    size_t shown = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        shown = config_rule_index(config, i, shown);
        load_rule(loader, &side, i, shown);
    }
    /* Groups that no rule uses are read too: `expect` may, and what is wrong in them is told. */
    for (size_t i = 0; i < config->group_count; i++) {
        (void)group_set(loader, &side, i);
    }
    freeze(loader, &side, "rules");
}

static void load_expects(struct loader *loader)
{
    struct side side = new_side(loader, loader->policy->upstream);
    for (size_t i = 0; i < loader->config->listener_count; i++) {
        load_expect(loader, &side, i);
    }
    freeze(loader, &side, "expect");
}

/* --- tests ---------------------------------------------------------------------------------- */

/* A test asks about one peer: it says its ID. */
static void check_test(const struct loader *loader, const struct config_test *test, size_t shown)
{
    const struct config_string *from = &test->from;
    struct spiffe_id id;
    struct id_pattern pattern;
    const char *why = NULL;
    const char *ignored = NULL;
    if (from->text == NULL ||
        (spiffe_id_parse(strview_from(from->text), &id, &why) == 0 && id.path.len > 0)) {
        return;
    }
    if (why == NULL) {
        why = "an ID of a workload has a path; write it in full: spiffe://TRUST-DOMAIN/PATH";
    } else if (config_is_group_reference(from->text) ||
               id_pattern_parse(strview_from(from->text), &pattern, &ignored) == 0) {
        why = "a test asks about one peer; write one SPIFFE ID in full, no pattern and no group";
    }
    diag_error(loader->diags, from->pos, "tests[%zu].from: \"%s\": %s", shown, from->text, why);
}

static void check_tests(const struct loader *loader)
{
    size_t shown = 0;
    for (size_t i = 0; i < loader->config->test_count; i++) {
        shown = config_test_index(loader->config, i, shown);
        check_test(loader, &loader->config->tests[i], shown);
    }
}

static struct policy *new_policy(const struct config *config)
{
    ASSERT(config->rule_count <= ID_RANK_MAX && config->listener_count < UINT32_MAX);
    struct policy *policy = mem_alloc(sizeof *policy);
    policy->config = config;
    policy->rules = mem_alloc_array(config->rule_count, sizeof *policy->rules);
    policy->rule_count = config->rule_count;
    policy->listeners = mem_alloc_array(config->listener_count, sizeof *policy->listeners);
    policy->downstream = id_matcher_new();
    policy->upstream = id_matcher_new();
    return policy;
}

struct policy *policy_load(const struct config *config, struct diag_list *diags)
{
    struct policy *policy = new_policy(config);
    struct loader loader = {.config = config, .diags = diags, .policy = policy};
    size_t errors_before = diags->error_count;
    name_list_of_domains(&loader.domains, config);
    name_list_of_listeners(&loader.listeners, config);
    loader.told = mem_alloc_array(config->group_count, sizeof(*loader.told));
    load_rules(&loader);
    load_expects(&loader);
    check_tests(&loader);
    mem_free(loader.told);
    name_list_fini(&loader.domains);
    name_list_fini(&loader.listeners);
    if (diags->error_count > errors_before) {
        policy_free(policy);
        return NULL;
    }
    return policy;
}
