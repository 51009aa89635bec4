/*
 * explain: one sentence from a decision and what came nearest to another one.
 */
#include "policy/explain.h"

#include "policy_impl.h"

#include "base/assert.h"
#include "base/clock.h"

#include <stdio.h>

/* A segment may be 2,000 bytes long; a sentence shows this many of them. */
enum { SHOWN_MAX = 100 };

struct shown {
    char text[SHOWN_MAX + sizeof("...")];
};

static struct shown show(struct strview text)
{
    struct shown shown;
    bool cut = text.len > SHOWN_MAX;
    (void)snprintf(shown.text, sizeof shown.text, "%.*s%s", cut ? SHOWN_MAX : (int)text.len,
                   text.len > 0 ? text.ptr : "", cut ? "..." : "");
    return shown;
}

/* "differs in segment 4: …", for whom: "rule" or "entry". */
static void describe_difference(const struct id_near *near, const char *whom, char *out,
                                size_t size)
{
    struct shown wanted = show(near->wanted);
    struct shown got = show(near->got);
    if (near->trust_domain) {
        (void)snprintf(out, size, "differs in the trust domain: \"%s\", not \"%s\"", got.text,
                       wanted.text);
    } else if (near->wanted.len == 0) {
        (void)snprintf(out, size, "differs in segment %u: the ID goes on with \"%s\", the %s ends",
                       near->segment, got.text, whom);
    } else if (near->got.len == 0) {
        (void)snprintf(out, size, "differs in segment %u: the ID ends, the %s goes on with \"%s\"",
                       near->segment, whom, wanted.text);
    } else {
        (void)snprintf(out, size, "differs in segment %u: \"%s\", not \"%s\"", near->segment,
                       got.text, wanted.text);
    }
}

static void explain_no_rule(const struct policy *policy, const struct policy_input *input,
                            char *out, size_t size)
{
    const char *listener = policy->config->listeners[input->listener].name.text;
    const struct policy_listener *known = &policy->listeners[input->listener];
    if (!known->has_allow) {
        (void)snprintf(out, size, "no %s names listener \"%s\"",
                       known->has_rule ? "allow rule" : "rule", listener);
        return;
    }
    if (input->id == NULL) {
        (void)snprintf(out, size, "no rule matched; the peer has no SPIFFE ID");
        return;
    }
    struct id_near near;
    id_matcher_near(policy->downstream, input->id, policy_key(input->listener), input->now_s,
                    &near);
    if (!near.found) {
        (void)snprintf(out, size, "no rule matched; none allows an ID on listener \"%s\"",
                       listener);
        return;
    }
    const char *rule = policy->rules[near.rank].name;
    if (near.ended) {
        char until[CLOCK_TEXT_SIZE];
        (void)snprintf(out, size, "no rule matched; rule \"%s\" allowed it until %s", rule,
                       clock_format_s(policy->rules[near.rank].ends_s, until));
        return;
    }
    if (near.wrong_key) {
        (void)snprintf(out, size,
                       "no rule matched; rule \"%s\" allows this ID, but not on listener \"%s\"",
                       rule, listener);
        return;
    }
    char difference[512];
    describe_difference(&near, "rule", difference, sizeof difference);
    (void)snprintf(out, size, "no rule matched; nearest: rule \"%s\" %s", rule, difference);
}

void explain_quarantine(const char *entry, char *out, size_t size)
{
    struct shown text = show(strview_from(entry));
    (void)snprintf(out, size, "quarantine holds it: \"%s\"", text.text);
}

void explain_decision(const struct policy *policy, const struct policy_input *input,
                      const struct decision *decision, char *out, size_t size)
{
    ASSERT(input->listener < policy->config->listener_count);
    if (decision->quarantine != NULL) {
        explain_quarantine(decision->quarantine, out, size);
    } else if (decision->rule != NULL) {
        (void)snprintf(out, size,
                       decision->verdict == VERDICT_ALLOW ? "rule \"%s\" allows it"
                                                          : "deny rule \"%s\" matched",
                       decision->rule->name);
    } else if (decision->verdict == VERDICT_ALLOW && !decision->would_deny) {
        (void)snprintf(out, size, "the listener takes plaintext; `expect` decides");
    } else {
        explain_no_rule(policy, input, out, size);
    }
}

void explain_upstream(const struct policy *policy, const struct policy_input *input,
                      const struct decision *decision, char *out, size_t size)
{
    size_t listener = input->listener;
    ASSERT(listener < policy->config->listener_count);
    if (decision->quarantine != NULL) {
        explain_quarantine(decision->quarantine, out, size);
    } else if (decision->verdict == VERDICT_ALLOW) {
        (void)snprintf(out, size, "the server's ID is in `expect`");
    } else if (!policy->listeners[listener].has_expect) {
        (void)snprintf(out, size, "listener \"%s\" has no `expect`",
                       policy->config->listeners[listener].name.text);
    } else if (input->id == NULL) {
        (void)snprintf(out, size, "the server has no SPIFFE ID");
    } else {
        struct id_near near;
        id_matcher_near(policy->upstream, input->id, policy_key(listener), input->now_s, &near);
        char difference[512];
        if (near.wrong_key) {
            (void)snprintf(out, size,
                           "the server's ID is not in `expect` of this listener, but in that of "
                           "\"%s\"",
                           policy->config->listeners[near.rank].name.text);
            return;
        }
        describe_difference(&near, "entry", difference, sizeof difference);
        (void)snprintf(out, size, "the server's ID is not in `expect`: %s", difference);
    }
}

/* What became of a rule that matches. */
static const char *describe_match(const struct decision *decision, const struct finding *finding)
{
    if (finding->rule->mode == CONFIG_MODE_SHADOW) {
        return finding->rule->action == CONFIG_ACTION_DENY ? "matches in shadow: would deny it"
                                                           : "matches in shadow: would allow it";
    }
    if (decision->quarantine != NULL) {
        return "matches; the quarantine stands above every rule";
    }
    if (decision->rule == finding->rule) {
        return "matches, and decides";
    }
    return finding->rule->action == CONFIG_ACTION_DENY || decision->verdict == VERDICT_ALLOW
               ? "matches too; the first of them decides"
               : "matches; the deny wins";
}

void explain_finding(const struct policy *policy, const struct policy_input *input,
                     const struct decision *decision, const struct finding *finding, char *out,
                     size_t size)
{
    char when[CLOCK_TEXT_SIZE];
    switch (finding->failed) {
    case CLAUSE_FROM:
        describe_difference(&finding->near, "rule", out, size);
        return;
    case CLAUSE_TO:
        (void)snprintf(out, size, "does not name listener \"%s\"",
                       policy->config->listeners[input->listener].name.text);
        return;
    case CLAUSE_EXPIRES:
        (void)snprintf(out, size, "ended at %s", clock_format_s(finding->rule->ends_s, when));
        return;
    case CLAUSE_MODE:
        (void)snprintf(out, size, "is disabled");
        return;
    case CLAUSE_NONE:
        (void)snprintf(out, size, "%s", describe_match(decision, finding));
        return;
    }
    ASSERT(false);
}
