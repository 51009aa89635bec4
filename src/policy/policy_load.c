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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A sorted list of names: a file may hold a million IDs and many listeners and trust domains. */
struct name {
    const char *text;
    size_t len;
    size_t index;
};

struct name_list {
    struct name *items;
    size_t count;
};

struct loader {
    const struct config *config;
    struct diag_list *diags;
    struct policy *policy;
    struct name_list domains;
    struct name_list listeners;
};

static int compare_names(const void *a, const void *b)
{
    const struct name *left = a;
    const struct name *right = b;
    if (left->len != right->len) {
        return left->len < right->len ? -1 : 1;
    }
    return left->len == 0 ? 0 : memcmp(left->text, right->text, left->len);
}

static void sort_names(struct name_list *list)
{
    if (list->count > 1) {
        qsort(list->items, list->count, sizeof *list->items, compare_names);
    }
}

static const struct name *find_name(const struct name_list *list, struct strview text)
{
    struct name wanted = {.text = text.ptr, .len = text.len};
    return list->count == 0
               ? NULL
               : bsearch(&wanted, list->items, list->count, sizeof *list->items, compare_names);
}

static struct name make_name(const char *text, size_t index)
{
    struct strview view = strview_from(text);
    return (struct name){.text = view.ptr, .len = view.len, .index = index};
}

static void index_names(struct loader *loader)
{
    const struct config *config = loader->config;
    loader->domains.items = mem_alloc_array(config->trust_count, sizeof(struct name));
    loader->domains.count = config->trust_count;
    for (size_t i = 0; i < config->trust_count; i++) {
        loader->domains.items[i] = make_name(config->trust[i].domain.text, i);
    }
    loader->listeners.items = mem_alloc_array(config->listener_count, sizeof(struct name));
    loader->listeners.count = config->listener_count;
    for (size_t i = 0; i < config->listener_count; i++) {
        loader->listeners.items[i] = make_name(config->listeners[i].name.text, i);
    }
    sort_names(&loader->domains);
    sort_names(&loader->listeners);
}

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
        const struct name *listener = find_name(&loader->listeners, text);
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

/* Where a pattern stands, for messages: rules[2].from[0]. */
struct place {
    const char *section;
    size_t section_index;
    const char *key;
    size_t index;
    struct config_string string;
    enum id_effect effect;
};

#define PLACE_FORMAT "%s[%zu].%s[%zu]: \"%s\""
#define PLACE_ARGS(place) \
    (place)->section, (place)->section_index, (place)->key, (place)->index, (place)->string.text

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

static int parse_pattern(const struct loader *loader, const struct place *place,
                         struct id_pattern *pattern)
{
    const char *why = NULL;
    if (id_pattern_parse(strview_from(place->string.text), pattern, &why) == 0) {
        return 0;
    }
    if (lacks_only_scheme(place->string.text)) {
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
    if (find_name(&loader->domains, pattern->trust_domain) != NULL) {
        return;
    }
    /* An included file may be shared with processes that know the trust domain. A deny is told
       about always: a typing error takes its effect away. */
    bool only_note =
        place->effect == ID_EFFECT_ALLOW && config_is_included(loader->config, place->string.pos);
    char suggestion[SUGGESTION_SIZE];
    (only_note ? diag_note : diag_warning)(
        loader->diags, place->string.pos,
        PLACE_FORMAT ": never matches: `trust` has no bundle for \"%.*s\"%s", PLACE_ARGS(place),
        (int)pattern->trust_domain.len, pattern->trust_domain.ptr,
        suggest_domain(loader, pattern->trust_domain, suggestion));
}

static void add_pattern(const struct loader *loader, const struct place *place,
                        struct id_matcher *matcher, const struct keys *keys, uint32_t rank)
{
    struct id_pattern pattern;
    if (parse_pattern(loader, place, &pattern) != 0) {
        return;
    }
    warn_of_unknown_domain(loader, place, &pattern);
    for (size_t i = 0; i < keys->count; i++) {
        if (!id_matcher_add(matcher, &pattern, keys->items[i], rank, place->effect)) {
            diag_error(loader->diags, place->string.pos,
                       PLACE_FORMAT ": patterns of more than six segments in this trust domain"
                                    " have `*` in over %d different arrangements; use fewer",
                       PLACE_ARGS(place), (int)ID_MATCHER_FRONTIER_MAX);
            return;
        }
    }
}

/* shown: how messages number it. */
static void load_rule(const struct loader *loader, size_t index, size_t shown)
{
    const struct config_rule *rule = &loader->config->rules[index];
    struct policy *policy = loader->policy;
    policy->rules[index] =
        (struct policy_rule){.name = rule->name.text, .action = rule->action, .pos = rule->pos};
    enum id_effect effect = rule->action == CONFIG_ACTION_DENY ? ID_EFFECT_DENY : ID_EFFECT_ALLOW;
    struct keys keys = find_keys(loader, &rule->to);
    note_rule(policy, &keys, rule->action);
    for (size_t i = 0; i < rule->from.count; i++) {
        struct place place = {"rules", shown, "from", i, rule->from.items[i], effect};
        add_pattern(loader, &place, policy->downstream, &keys, (uint32_t)index);
    }
    mem_free(keys.items);
}

static void load_expect(const struct loader *loader, size_t index)
{
    const struct config_strings *expect = &loader->config->listeners[index].expect;
    if (expect->count == 0) {
        return;
    }
    uint32_t all = ID_MATCHER_KEY_ALL;
    struct keys keys = {.items = &all, .count = 1};
    struct id_matcher *matcher = id_matcher_new();
    for (size_t i = 0; i < expect->count; i++) {
        struct place place = {"listeners", index, "expect", i, expect->items[i], ID_EFFECT_ALLOW};
        add_pattern(loader, &place, matcher, &keys, (uint32_t)i);
    }
    id_matcher_freeze(matcher);
    loader->policy->listeners[index].expect = matcher;
}

static struct policy *new_policy(const struct config *config)
{
    ASSERT(config->rule_count < ID_RANK_NONE && config->listener_count < UINT32_MAX);
    struct policy *policy = mem_alloc(sizeof *policy);
    policy->config = config;
    policy->rules = mem_alloc_array(config->rule_count, sizeof *policy->rules);
    policy->rule_count = config->rule_count;
    policy->listeners = mem_alloc_array(config->listener_count, sizeof *policy->listeners);
    policy->downstream = id_matcher_new();
    return policy;
}

struct policy *policy_load(const struct config *config, struct diag_list *diags)
{
    struct policy *policy = new_policy(config);
    struct loader loader = {.config = config, .diags = diags, .policy = policy};
    size_t errors_before = diags->error_count;
    index_names(&loader);
    size_t shown = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        shown = config_rule_index(config, i, shown);
        load_rule(&loader, i, shown);
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        load_expect(&loader, i);
    }
    id_matcher_freeze(policy->downstream);
    mem_free(loader.domains.items);
    mem_free(loader.listeners.items);
    if (diags->error_count > errors_before) {
        policy_free(policy);
        return NULL;
    }
    return policy;
}
