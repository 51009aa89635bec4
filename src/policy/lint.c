/*
 * Each rule by itself: when it ends, and whether it admits a whole trust domain. Then, for `check`,
 * rules and IDs beside each other, in files of their own.
 */
#include "policy/lint.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "lint_private.h"

/* --- time ------------------------------------------------------------------------------------ */

static void tell_end(const struct config_rule *rule, size_t shown, int64_t now_s,
                     enum lint_scope scope, struct diag_list *diags)
{
    char when[CLOCK_TEXT_SIZE];
    struct config_pos pos = rule->expires.text.pos;
    const char *name = rule->name.text;
    bool denies = rule->action == CONFIG_ACTION_DENY;
    clock_format_s(rule->expires.s, when);
    if (rule->expires.s <= now_s) {
        diag_warning(diags, pos,
                     "rules[%zu].expires: rule \"%s\" has ended, at %s: it %s nobody; take it out",
                     shown, name, when, denies ? "denies" : "lets in");
        return;
    }
    /* Both are past 1970 or hold a year of four digits: no overflow. */
    int64_t left_s = rule->expires.s - now_s;
    if (left_s > LINT_SOON_S || rule->mode == CONFIG_MODE_DISABLED) {
        if (scope == LINT_CHECK) {
            diag_note(diags, pos, "rules[%zu].expires: rule \"%s\" ends at %s", shown, name, when);
        }
        return;
    }
    diag_warning(diags, pos, "rules[%zu].expires: rule \"%s\" ends at %s, within %s", shown, name,
                 when, left_s <= LINT_VERY_SOON_S ? "two days" : "two weeks");
}

static void tell_ends(const struct config *config, int64_t now_s, enum lint_scope scope,
                      struct diag_list *diags)
{
    size_t shown = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        shown = config_rule_index(config, i, shown);
        if (config->rules[i].expires.text.text != NULL) {
            tell_end(&config->rules[i], shown, now_s, scope, diags);
        }
    }
}

/* --- whole trust domains --------------------------------------------------------------------- */

#define WHOLE_DOMAIN "/**"

struct scan {
    const struct config *config;
    struct diag_list *diags;
    bool *seen; /* by group */
};

/* section: "rules", with the rule's number; or NULL for the group of that name. */
static void scan_members(struct scan *scan, const struct config_strings *members,
                         const char *group_name, size_t shown)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct config_string *item = &members->items[i];
        struct id_pattern pattern;
        const char *why = NULL;
        const struct config_group *group = config_is_group_reference(item->text)
                                               ? config_find_group(scan->config, item->text)
                                               : NULL;
        if (group != NULL && !scan->seen[group - scan->config->groups]) {
            scan->seen[group - scan->config->groups] = true;
            scan_members(scan, &group->members, group->name.text, 0);
        }
        if (group != NULL || id_pattern_parse(strview_from(item->text), &pattern, &why) != 0 ||
            !strview_equal_text(pattern.path, WHOLE_DOMAIN)) {
            continue;
        }
        char where[96];
        if (group_name != NULL) {
            (void)snprintf(where, sizeof(where), "groups.%s[%zu]", group_name, i);
        } else {
            (void)snprintf(where, sizeof(where), "rules[%zu].from[%zu]", shown, i);
        }
        diag_warning(scan->diags, item->pos, "%s: \"%s\" admits every workload of the trust domain",
                     where, item->text);
    }
}

static void tell_whole_domains(const struct config *config, int64_t now_s, struct diag_list *diags)
{
    struct scan scan = {.config = config, .diags = diags};
    scan.seen = mem_alloc_array(config->group_count, sizeof(*scan.seen));
    size_t shown = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct config_rule *rule = &config->rules[i];
        shown = config_rule_index(config, i, shown);
        bool ended = rule->expires.text.text != NULL && rule->expires.s <= now_s;
        if (rule->action == CONFIG_ACTION_ALLOW && rule->mode == CONFIG_MODE_ENFORCE && !ended) {
            scan_members(&scan, &rule->from, NULL, shown);
        }
    }
    mem_free(scan.seen);
}

/* --- rules and IDs beside each other --------------------------------------------------------- */

struct lint_place lint_place(const struct diag_list *diags, struct config_pos pos)
{
    struct lint_place place = {""};
    if (pos.file < diags->file_count) {
        (void)snprintf(place.text, sizeof(place.text), "%.380s:%u", diags->files[pos.file],
                       pos.line);
    }
    return place;
}

static void number_rules(struct lint *lint)
{
    size_t shown = 0;
    lint->shown = mem_alloc_array(lint->config->rule_count, sizeof(*lint->shown));
    for (size_t i = 0; i < lint->config->rule_count; i++) {
        shown = config_rule_index(lint->config, i, shown);
        lint->shown[i] = shown;
    }
}

static void compare(const struct policy *policy, int64_t now_s, struct diag_list *diags)
{
    struct lint lint = {.policy = policy, .config = policy->config, .now_s = now_s, .diags = diags};
    number_rules(&lint);
    name_list_of_listeners(&lint.listeners, policy->config);
    lint.never = mem_alloc_array(policy->rule_count, sizeof(*lint.never));
    lint_effects(&lint);
    lint_covers(&lint);
    if (lint.out_of_work) {
        diag_note(diags, (struct config_pos){policy->config->first_file, 0, 0},
                  "rules: too many with the same IDs and groups to compare them all with each "
                  "other: some that add nothing may not be told");
    }
    lint_slips(&lint);
    name_list_fini(&lint.listeners);
    mem_free(lint.shown);
    mem_free(lint.never);
}

void lint_run(const struct policy *policy, int64_t now_s, enum lint_scope scope,
              struct diag_list *diags)
{
    tell_ends(policy->config, now_s, scope, diags);
    tell_whole_domains(policy->config, now_s, diags);
    if (scope == LINT_CHECK) {
        compare(policy, now_s, diags);
    }
}
