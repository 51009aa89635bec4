/*
 * Tests: that each asks about one listener which accepts mTLS, and names a rule that can decide.
 * Whether the answer is the wanted one is for policy to see.
 *
 * In an included file, which may be shared with processes that have other listeners, a test of a
 * listener that is not here is not run, which whoever runs the tests says.
 */
#include "validate_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "config/suggest.h"

struct tests_check {
    struct checker *c;
    const struct validate_targets *targets;
    const struct config_rule **rules; /* by name */
    size_t rule_count;
    bool rules_complete; /* every rule's name could be read */
    size_t shown;        /* the index of the test that is looked at, in its file */
};

static int compare_rules(const void *left, const void *right)
{
    const struct config_rule *const *a = left;
    const struct config_rule *const *b = right;
    return strcmp((*a)->name.text, (*b)->name.text);
}

static void sort_rules(struct tests_check *check)
{
    const struct config *config = check->c->config;
    check->rules = mem_alloc_array(config->rule_count + 1, sizeof(*check->rules));
    check->rules_complete = true;
    for (size_t i = 0; i < config->rule_count; i++) {
        if (config->rules[i].name.text != NULL) {
            check->rules[check->rule_count++] = &config->rules[i];
        } else {
            check->rules_complete = false;
        }
    }
    if (check->rule_count > 1) {
        qsort(check->rules, check->rule_count, sizeof(*check->rules), compare_rules);
    }
}

static const struct config_rule *find_rule(const struct tests_check *check, const char *name)
{
    size_t low = 0;
    size_t high = check->rule_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(check->rules[middle]->name.text, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < check->rule_count && strcmp(check->rules[low]->name.text, name) == 0;
    return found ? check->rules[low] : NULL;
}

/* --- `to` ------------------------------------------------------------------------------------ */

static void report_unknown_listener(const struct tests_check *check, const struct config_test *test)
{
    char hint[96] = "";
    struct suggest suggest;
    suggest_init(&suggest, test->to.text);
    validate_suggest_listeners(check->targets, &suggest);
    if (suggest.best != NULL) {
        (void)snprintf(hint, sizeof(hint), "; did you mean \"%s\"?", suggest.best);
    }
    diag_error(check->c->diags, test->to.pos, "tests[%zu].to: unknown listener \"%s\"%s",
               check->shown, test->to.text, hint);
}

/* False when the test is not about a listener of ours: the rest of it may not be, either. */
static bool check_target(const struct tests_check *check, const struct config_test *test)
{
    if (test->to.text == NULL) {
        return true;
    }
    if (strcmp(test->to.text, "all") == 0) {
        diag_error(check->c->diags, test->to.pos,
                   "tests[%zu].to: \"all\" is every listener, and a test asks about one; write a "
                   "test for each",
                   check->shown);
        return true;
    }
    const struct config_listener *listener = validate_find_listener(check->targets, test->to.text);
    if (listener == NULL) {
        /* A listener whose name could not be read may be the one that is meant. */
        if (check->targets->complete && !config_is_included(check->c->config, test->pos)) {
            report_unknown_listener(check, test);
        }
        return false;
    }
    if (validate_has_addresses(listener) && !config_scheme_is_mtls(listener->accept.scheme)) {
        diag_error(check->c->diags, test->to.pos,
                   "tests[%zu].to: \"%s\" accepts plaintext, whose callers have no identity; name "
                   "a listener that accepts mtls",
                   check->shown, test->to.text);
    }
    return true;
}

/* --- `rule` ---------------------------------------------------------------------------------- */

static void report_unknown_rule(const struct tests_check *check, const struct config_test *test)
{
    struct suggest suggest;
    suggest_init(&suggest, test->rule.text);
    for (size_t i = 0; i < check->rule_count; i++) {
        suggest_consider(&suggest, check->rules[i]->name.text);
    }
    if (suggest.best != NULL) {
        diag_error(check->c->diags, test->rule.pos,
                   "tests[%zu].rule: unknown rule \"%s\"; did you mean \"%s\"?", check->shown,
                   test->rule.text, suggest.best);
    } else {
        diag_error(check->c->diags, test->rule.pos,
                   "tests[%zu].rule: unknown rule \"%s\"; write the name of one under `rules`, or "
                   "leave the key out",
                   check->shown, test->rule.text);
    }
}

static const char *name_of(enum config_action action)
{
    return action == CONFIG_ACTION_ALLOW ? "allow" : "deny";
}

static void check_rule(const struct tests_check *check, const struct config_test *test)
{
    if (test->rule.text == NULL) {
        return;
    }
    const struct config_rule *rule = find_rule(check, test->rule.text);
    if (rule == NULL) {
        if (check->rules_complete) {
            report_unknown_rule(check, test);
        }
    } else if (rule->mode != CONFIG_MODE_ENFORCE) {
        diag_error(check->c->diags, test->rule.pos,
                   "tests[%zu].rule: \"%s\" decides nothing: its mode is `%s`; name a rule that "
                   "is enforced",
                   check->shown, test->rule.text,
                   rule->mode == CONFIG_MODE_SHADOW ? "shadow" : "disabled");
    } else if (validate_is_present(test->decision_pos) && rule->action != test->decision) {
        diag_error(check->c->diags, test->rule.pos,
                   "tests[%zu].rule: the action of \"%s\" is `%s`, and the test wants `%s`; name "
                   "another rule, or want `%s`",
                   check->shown, test->rule.text, name_of(rule->action), name_of(test->decision),
                   name_of(rule->action));
    }
}

void validate_tests(struct checker *c, const struct validate_targets *targets)
{
    const struct config *config = c->config;
    struct tests_check check = {.c = c, .targets = targets};
    if (config->test_count == 0) {
        return;
    }
    sort_rules(&check);
    for (size_t i = 0; i < config->test_count; i++) {
        check.shown = config_test_index(config, i, check.shown);
        if (check_target(&check, &config->tests[i])) {
            check_rule(&check, &config->tests[i]);
        }
    }
    mem_free(check.rules);
}
