/*
 * Rules: that their names are unique among all files, that `to` names listeners which accept mTLS,
 * and which listeners nobody may use.
 *
 * In the main file an unknown listener is a mistake. An included file may be shared with processes
 * that have other listeners: there it is a note, and for a deny, which a typing error would take
 * the effect from, a warning.
 */
#include "validate_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/suggest.h"

/* The listeners by name: there may be many rules and many listeners. */
struct targets {
    struct checker *c;
    const struct config_listener **sorted;
    size_t count;
    bool complete; /* every listener's name could be read */
    size_t shown;  /* the index of the rule that is looked at, in its file */
};

static int compare_listeners(const void *left, const void *right)
{
    const struct config_listener *const *a = left;
    const struct config_listener *const *b = right;
    return strcmp((*a)->name.text, (*b)->name.text);
}

static void sort_listeners(struct targets *targets)
{
    const struct config *config = targets->c->config;
    targets->sorted = mem_alloc_array(config->listener_count + 1, sizeof(*targets->sorted));
    targets->complete = config->listener_count > 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].name.text != NULL) {
            targets->sorted[targets->count++] = &config->listeners[i];
        } else {
            targets->complete = false;
        }
    }
    if (targets->count > 1) {
        qsort(targets->sorted, targets->count, sizeof(*targets->sorted), compare_listeners);
    }
}

static const struct config_listener *find_listener(const struct targets *targets, const char *name)
{
    size_t low = 0;
    size_t high = targets->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(targets->sorted[middle]->name.text, name);
        if (order == 0) {
            return targets->sorted[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* --- `to` ------------------------------------------------------------------------------------ */

enum { SUGGESTION_SIZE = 96 };

/* "; did you mean "orders"?" or "". */
static const char *suggest_listener(const struct targets *targets, const char *name,
                                    char out[SUGGESTION_SIZE])
{
    struct suggest suggest;
    suggest_init(&suggest, name);
    suggest_consider(&suggest, "all");
    for (size_t n = 0; n < targets->count; n++) {
        suggest_consider(&suggest, targets->sorted[n]->name.text);
    }
    out[0] = '\0';
    if (strcmp(name, "*") == 0 || strcmp(name, "**") == 0) {
        (void)snprintf(out, SUGGESTION_SIZE, "; every listener is `all`");
    } else if (suggest.best != NULL) {
        (void)snprintf(out, SUGGESTION_SIZE, "; did you mean \"%s\"?", suggest.best);
    }
    return out;
}

static void report_unknown_listener(const struct targets *targets, const struct config_rule *rule,
                                    size_t k)
{
    char suggestion[SUGGESTION_SIZE];
    struct diag_list *diags = targets->c->diags;
    const struct config_string *item = &rule->to.items[k];
    suggest_listener(targets, item->text, suggestion);
    if (!config_is_included(targets->c->config, rule->pos)) {
        diag_error(diags, item->pos, "rules[%zu].to[%zu]: unknown listener \"%s\"%s",
                   targets->shown, k, item->text, suggestion);
    } else if (rule->action == CONFIG_ACTION_DENY) {
        diag_warning(diags, item->pos,
                     "rules[%zu].to[%zu]: denies nobody: there is no listener \"%s\" here%s",
                     targets->shown, k, item->text, suggestion);
    } else {
        diag_note(diags, item->pos,
                  "rules[%zu].to[%zu]: has no effect: there is no listener \"%s\" here%s",
                  targets->shown, k, item->text, suggestion);
    }
}

static void check_target(const struct targets *targets, const struct config_rule *rule, size_t k)
{
    const struct config_string *item = &rule->to.items[k];
    if (strcmp(item->text, "all") == 0) {
        return;
    }
    const struct config_listener *listener = find_listener(targets, item->text);
    if (listener == NULL) {
        /* A listener whose name could not be read may be the one that is meant. */
        if (targets->complete) {
            report_unknown_listener(targets, rule, k);
        }
        return;
    }
    if (validate_has_addresses(listener) && !config_scheme_is_mtls(listener->accept.scheme)) {
        diag_error(targets->c->diags, item->pos,
                   "rules[%zu].to[%zu]: \"%s\" accepts plaintext; `to` names listeners that accept "
                   "mtls; use `expect` there",
                   targets->shown, k, item->text);
    }
}

static void warn_never(const struct targets *targets, const struct config_strings *strings,
                       const char *key, size_t i)
{
    if (validate_is_empty(strings)) {
        diag_warning(targets->c->diags, strings->pos,
                     "rules[%zu].%s: is empty: the rule can never match", i, key);
    }
}

static void check_rule(const struct targets *targets, const struct config_rule *rule)
{
    for (size_t k = 0; k < rule->to.count; k++) {
        check_target(targets, rule, k);
    }
    warn_never(targets, &rule->from, "from", targets->shown);
    warn_never(targets, &rule->to, "to", targets->shown);
}

static void check_rule_names(struct checker *c)
{
    const struct config *config = c->config;
    struct validate_entry *entries = mem_alloc_array(config->rule_count + 1, sizeof *entries);
    size_t count = 0;
    size_t shown = 0;
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct config_string *name = &config->rules[i].name;
        shown = config_rule_index(config, i, shown);
        if (name->text != NULL) {
            entries[count++] = (struct validate_entry){name->text, name->pos, i, shown};
        }
    }
    validate_unique(c, entries, count, "rules", "name", "the name");
    mem_free(entries);
}

/* --- listeners that nobody may use ------------------------------------------------------------ */

/* Marks by index what a rule allows; true when it allows all. */
static bool mark_allowed(const struct targets *targets, const struct config_rule *rule,
                         bool *allowed)
{
    for (size_t k = 0; k < rule->to.count; k++) {
        if (strcmp(rule->to.items[k].text, "all") == 0) {
            return true;
        }
        const struct config_listener *listener = find_listener(targets, rule->to.items[k].text);
        if (listener != NULL) {
            allowed[listener - targets->c->config->listeners] = true;
        }
    }
    return false;
}

static void warn_unused(const struct targets *targets)
{
    const struct config *config = targets->c->config;
    bool *allowed = mem_alloc_array(config->listener_count + 1, sizeof(*allowed));
    bool all = false;
    for (size_t i = 0; i < config->rule_count && !all; i++) {
        all = config->rules[i].action == CONFIG_ACTION_ALLOW &&
              mark_allowed(targets, &config->rules[i], allowed);
    }
    for (size_t i = 0; i < config->listener_count && !all; i++) {
        const struct config_listener *listener = &config->listeners[i];
        if (!config_scheme_is_mtls(listener->accept.scheme) || listener->name.text == NULL) {
            continue;
        }
        if (config->rule_count == 0) {
            struct config_pos whole = {targets->c->file, 0, 0};
            diag_warning(targets->c->diags,
                         validate_is_present(config->rules_pos) ? config->rules_pos : whole,
                         "rules: nothing is allowed: there is no rule");
            break;
        }
        /* Of two with one name, which is an error, the same is found as for the rule. */
        if (!allowed[find_listener(targets, listener->name.text) - config->listeners]) {
            diag_warning(targets->c->diags, listener->name.pos,
                         "listeners[%zu]: no rule allows anybody to use \"%s\"", i,
                         listener->name.text);
        }
    }
    mem_free(allowed);
}

void validate_rules(struct checker *c)
{
    struct targets targets = {.c = c};
    sort_listeners(&targets);
    for (size_t i = 0; i < c->config->rule_count; i++) {
        targets.shown = config_rule_index(c->config, i, targets.shown);
        check_rule(&targets, &c->config->rules[i]);
    }
    check_rule_names(c);
    warn_unused(&targets);
    mem_free(targets.sorted);
}
