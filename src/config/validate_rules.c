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

struct rules_check {
    struct checker *c;
    const struct validate_targets *targets;
    size_t shown; /* the index of the rule that is looked at, in its file */
};

/* --- `to` ------------------------------------------------------------------------------------ */

enum { SUGGESTION_SIZE = 96 };

/* "; did you mean "orders"?" or "". */
static void suggest_target(const struct rules_check *check, const char *name,
                           char out[SUGGESTION_SIZE])
{
    struct suggest suggest;
    suggest_init(&suggest, name);
    suggest_consider(&suggest, "all");
    validate_suggest_listeners(check->targets, &suggest);
    out[0] = '\0';
    if (strcmp(name, "*") == 0 || strcmp(name, "**") == 0) {
        (void)snprintf(out, SUGGESTION_SIZE, "; every listener is `all`");
    } else if (config_is_group_reference(name)) {
        (void)snprintf(out, SUGGESTION_SIZE, "; groups are of IDs, for `from`; name each listener");
    } else if (strncmp(name, "spiffe://", strlen("spiffe://")) == 0) {
        (void)snprintf(out, SUGGESTION_SIZE, "; IDs stand in `from`; name a listener of this file");
    } else if (suggest.best != NULL) {
        (void)snprintf(out, SUGGESTION_SIZE, "; did you mean \"%s\"?", suggest.best);
    }
}

static void report_unknown_listener(const struct rules_check *check, const struct config_rule *rule,
                                    size_t k)
{
    char suggestion[SUGGESTION_SIZE];
    struct diag_list *diags = check->c->diags;
    const struct config_string *item = &rule->to.items[k];
    suggest_target(check, item->text, suggestion);
    if (!config_is_included(check->c->config, rule->pos)) {
        diag_error(diags, item->pos, "rules[%zu].to[%zu]: unknown listener \"%s\"%s", check->shown,
                   k, item->text, suggestion);
    } else if (rule->action == CONFIG_ACTION_DENY && rule->mode == CONFIG_MODE_ENFORCE) {
        diag_warning(diags, item->pos,
                     "rules[%zu].to[%zu]: denies nobody: there is no listener \"%s\" here%s",
                     check->shown, k, item->text, suggestion);
    } else {
        diag_note(diags, item->pos,
                  "rules[%zu].to[%zu]: has no effect: there is no listener \"%s\" here%s",
                  check->shown, k, item->text, suggestion);
    }
}

static void check_target(const struct rules_check *check, const struct config_rule *rule, size_t k)
{
    const struct config_string *item = &rule->to.items[k];
    if (strcmp(item->text, "all") == 0) {
        return;
    }
    const struct config_listener *listener = validate_find_listener(check->targets, item->text);
    if (listener == NULL) {
        /* A listener whose name could not be read may be the one that is meant. */
        if (check->targets->complete) {
            report_unknown_listener(check, rule, k);
        }
        return;
    }
    if (validate_has_addresses(listener) && !config_scheme_is_mtls(listener->accept.scheme)) {
        diag_error(check->c->diags, item->pos,
                   "rules[%zu].to[%zu]: \"%s\" accepts plaintext; `to` names listeners that accept "
                   "mtls; use `expect` there",
                   check->shown, k, item->text);
    }
}

static void warn_never(const struct rules_check *check, const struct config_strings *strings,
                       const char *key, size_t i)
{
    if (validate_is_empty(strings)) {
        diag_warning(check->c->diags, strings->pos,
                     "rules[%zu].%s: is empty: the rule can never match", i, key);
    }
}

static void check_rule(const struct rules_check *check, const struct config_rule *rule)
{
    for (size_t k = 0; k < rule->to.count; k++) {
        check_target(check, rule, k);
    }
    warn_never(check, &rule->from, "from", check->shown);
    warn_never(check, &rule->to, "to", check->shown);
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
static bool mark_allowed(const struct rules_check *check, const struct config_rule *rule,
                         bool *allowed)
{
    for (size_t k = 0; k < rule->to.count; k++) {
        if (strcmp(rule->to.items[k].text, "all") == 0) {
            return true;
        }
        const struct config_listener *listener =
            validate_find_listener(check->targets, rule->to.items[k].text);
        if (listener != NULL) {
            allowed[listener - check->c->config->listeners] = true;
        }
    }
    return false;
}

/* Whom a rule must let in: audit admits what no rule matched. */
static bool wants_rules(const struct config_listener *listener)
{
    return config_scheme_is_mtls(listener->accept.scheme) && listener->name.text != NULL &&
           listener->enforcement == CONFIG_ENFORCEMENT_ENFORCE;
}

static void warn_unused(const struct rules_check *check)
{
    const struct config *config = check->c->config;
    bool *allowed = mem_alloc_array(config->listener_count + 1, sizeof(*allowed));
    bool all = false;
    for (size_t i = 0; i < config->rule_count && !all; i++) {
        const struct config_rule *rule = &config->rules[i];
        all = rule->action == CONFIG_ACTION_ALLOW && rule->mode == CONFIG_MODE_ENFORCE &&
              mark_allowed(check, rule, allowed);
    }
    for (size_t i = 0; i < config->listener_count && !all; i++) {
        const struct config_listener *listener = &config->listeners[i];
        if (!wants_rules(listener)) {
            continue;
        }
        if (config->rule_count == 0) {
            struct config_pos whole = {check->c->file, 0, 0};
            diag_warning(check->c->diags,
                         validate_is_present(config->rules_pos) ? config->rules_pos : whole,
                         "rules: nothing is allowed: there is no rule");
            break;
        }
        /* Of two with one name, which is an error, the same is found as for the rule. */
        if (!allowed[validate_find_listener(check->targets, listener->name.text) -
                     config->listeners]) {
            diag_warning(check->c->diags, listener->name.pos,
                         "listeners[%zu]: no rule allows anybody to use \"%s\"", i,
                         listener->name.text);
        }
    }
    mem_free(allowed);
}

void validate_rules(struct checker *c, const struct validate_targets *targets)
{
    struct rules_check check = {.c = c, .targets = targets};
    for (size_t i = 0; i < c->config->rule_count; i++) {
        check.shown = config_rule_index(c->config, i, check.shown);
        check_rule(&check, &c->config->rules[i]);
    }
    check_rule_names(c);
    warn_unused(&check);
}
