/*
 * One decision a test, compared with what it demands.
 */
#include "policy/policy_tests.h"

#include <stdio.h>
#include <string.h>

#include "config/suggest.h"
#include "name_list.h"
#include "policy/explain.h"
#include "policy_impl.h"

enum { SENTENCE_SIZE = 768 };

struct runner {
    const struct policy *policy;
    const struct config *config;
    struct diag_list *diags;
    struct name_list domains;
    struct name_list listeners;
    struct policy_tests_result result;
};

/* One test. */
struct run {
    const struct config_test *test;
    size_t shown; /* how messages number it */
    struct spiffe_id id;
    size_t listener;
};

#define TEST_FORMAT    "tests[%zu]: \"%s\" to \"%s\""
#define TEST_ARGS(run) (run)->shown, (run)->test->from.text, (run)->test->to.text

/* In the main file config_load has refused it. */
static void tell_listener(const struct runner *runner, const struct run *run)
{
    const struct config *config = runner->config;
    const struct config_string *to = &run->test->to;
    struct suggest suggest;
    suggest_init(&suggest, to->text);
    for (size_t i = 0; i < config->listener_count; i++) {
        suggest_consider(&suggest, config->listeners[i].name.text);
    }
    diag_note(runner->diags, to->pos,
              "tests[%zu].to: has no effect: there is no listener \"%s\" here%s%s%s", run->shown,
              to->text, suggest.best == NULL ? "" : "; did you mean \"",
              suggest.best == NULL ? "" : suggest.best, suggest.best == NULL ? "" : "\"?");
}

/* False: the test is not run. An included file may be shared with processes that have what is
   missing here. */
static bool is_here(struct runner *runner, struct run *run)
{
    const struct config_test *test = run->test;
    const struct name *listener = name_list_find(&runner->listeners, strview_from(test->to.text));
    if (listener == NULL) {
        tell_listener(runner, run);
        runner->result.skipped++;
        return false;
    }
    run->listener = listener->index;
    if (name_list_find(&runner->domains, run->id.trust_domain) != NULL ||
        !config_has_identity_files(runner->config)) { /* the Workload API brings domains, too */
        return true;
    }
    bool included = config_is_included(runner->config, test->pos);
    runner->result.skipped += included;
    (included ? diag_note : diag_warning)(
        runner->diags, test->from.pos, "tests[%zu].from: %s: `trust` has no bundle for \"%.*s\"%s",
        run->shown, included ? "has no effect" : "no peer has this ID",
        (int)run->id.trust_domain.len, run->id.trust_domain.ptr, included ? " here" : "");
    return !included;
}

struct place_text {
    char text[512];
};

/* " (f.yaml:12)", or "" where no rule decided. */
static struct place_text place_of(const struct runner *runner, const struct policy_rule *rule)
{
    struct place_text place = {""};
    const struct diag_list *diags = runner->diags;
    if (rule != NULL && rule->pos.file < diags->file_count) {
        (void)snprintf(place.text, sizeof(place.text), " (%.400s:%u)", diags->files[rule->pos.file],
                       rule->pos.line);
    }
    return place;
}

static const char *verb(enum config_action action)
{
    return action == CONFIG_ACTION_ALLOW ? "allowed" : "denied";
}

static void fail(struct runner *runner, const struct run *run, const struct policy_input *input,
                 const struct decision *decision, enum config_action is)
{
    const struct config_test *test = run->test;
    struct place_text place = place_of(runner, decision->rule);
    char sentence[SENTENCE_SIZE];
    explain_decision(runner->policy, input, decision, sentence, sizeof(sentence));
    runner->result.failed++;
    if (is != test->decision) {
        diag_test(runner->diags, test->pos, TEST_FORMAT " must be %s, but is %s: %s%s",
                  TEST_ARGS(run), verb(test->decision), verb(is), sentence, place.text);
        return;
    }
    diag_test(runner->diags, test->rule.pos,
              TEST_FORMAT " must be %s by rule \"%s\", but %s decided: %s%s", TEST_ARGS(run),
              verb(is), test->rule.text, decision->rule == NULL ? "none" : "another", sentence,
              place.text);
}

static void run_test(struct runner *runner, struct run *run)
{
    const struct config_test *test = run->test;
    const char *why = NULL;
    if (test->from.text == NULL || test->to.text == NULL ||
        spiffe_id_parse(strview_from(test->from.text), &run->id, &why) != 0 ||
        !is_here(runner, run)) {
        return; /* what could not be read has been refused */
    }
    const struct policy_input input = {
        .id = &run->id,
        .listener = run->listener,
        .now_s = test->at.text.text == NULL ? POLICY_BEFORE_ALL : test->at.s,
    };
    struct decision decision;
    policy_decide(runner->policy, &input, &decision);
    bool allowed = decision.verdict == VERDICT_ALLOW && !decision.would_deny;
    enum config_action is = allowed ? CONFIG_ACTION_ALLOW : CONFIG_ACTION_DENY;
    const char *rule = decision.rule == NULL ? "" : decision.rule->name;
    if (is != test->decision || (test->rule.text != NULL && strcmp(test->rule.text, rule) != 0)) {
        fail(runner, run, &input, &decision, is);
    } else {
        runner->result.passed++;
    }
}

struct policy_tests_result policy_tests_run(const struct policy *policy, struct diag_list *diags)
{
    struct runner runner = {.policy = policy, .config = policy->config, .diags = diags};
    name_list_of_domains(&runner.domains, policy->config);
    name_list_of_listeners(&runner.listeners, policy->config);
    size_t shown = 0;
    for (size_t i = 0; i < policy->config->test_count; i++) {
        shown = config_test_index(policy->config, i, shown);
        struct run run = {.test = &policy->config->tests[i], .shown = shown};
        run_test(&runner, &run);
    }
    name_list_fini(&runner.domains);
    name_list_fini(&runner.listeners);
    return runner.result;
}
