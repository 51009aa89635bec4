/*
 * policy_text: a policy from the text of a configuration, for tests of what its keys mean.
 *
 * The configuration has listeners in, edge (both mtls to tcp) and out (tcp to mtls); the text adds
 * what it wants below.
 */
#ifndef BULKHEAD_TESTS_UNIT_POLICY_POLICY_TEXT_H
#define BULKHEAD_TESTS_UNIT_POLICY_POLICY_TEXT_H

#include "policy/explain.h"
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { IN, EDGE, OUT };

/* Seven lines. */
#define POLICY_HEAD(expect)                                                  \
    "version: 1\n"                                                           \
    "identity: {files: {certificate: a.pem, private_key: a.key}}\n"          \
    "trust: {a.example: {bundle: a.pem}, b.example: {bundle: b.pem}}\n"      \
    "listeners:\n"                                                           \
    "- {name: in, accept: 'mtls://0.0.0.0:1', forward: 'tcp://[::1]:2'}\n"   \
    "- {name: edge, accept: 'mtls://0.0.0.0:3', forward: 'tcp://[::1]:2'}\n" \
    "- {name: out, accept: 'tcp://127.0.0.1:4', forward: 'mtls://a.b:5', expect: " expect "}\n"

struct text_policy {
    struct diag_list diags;
    struct config *config;
    struct policy *policy; /* NULL: refused */
};

static inline struct text_policy policy_of(const char *text)
{
    struct text_policy p = {.policy = NULL};
    diag_list_init(&p.diags);
    p.config = config_parse("f", text, strlen(text), NULL, &p.diags);
    assert_non_null(p.config);
    p.policy = policy_load(p.config, &p.diags);
    if (!p.config->valid) {
        policy_free(p.policy);
        p.policy = NULL;
    }
    diag_sort(&p.diags);
    return p;
}

static inline void policy_end(struct text_policy *p)
{
    policy_free(p->policy);
    config_free(p->config);
    diag_list_fini(&p->diags);
}

/* Each wanted line is the beginning of "line:column: error: message"; NULL ends the list. */
static inline void assert_says(struct text_policy *p, const char *const *wanted)
{
    size_t i = 0;
    for (; i < p->diags.count; i++) {
        char text[1024];
        diag_format(&p->diags, &p->diags.items[i], text, sizeof text);
        if (wanted[i] == NULL || strncmp(text + 2, wanted[i], strlen(wanted[i])) != 0) {
            print_message("is      %s\nwanted  %s\n", text, wanted[i] == NULL ? "-" : wanted[i]);
            fail();
        }
    }
    if (wanted[i] != NULL) {
        fail_msg("missing %s", wanted[i]);
    }
}

static inline struct decision decide_at(const struct text_policy *p, const char *id_text,
                                        size_t listener, int64_t now_s)
{
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(id_text), &id, &why), 0);
    struct policy_input input = {.id = &id, .listener = listener, .now_s = now_s};
    struct decision decision;
    policy_decide(p->policy, &input, &decision);
    return decision;
}

static inline void assert_sentence(const struct text_policy *p, const char *id_text,
                                   size_t listener, int64_t now_s, const char *wanted)
{
    struct spiffe_id id;
    const char *why = NULL;
    char text[512];
    assert_int_equal(spiffe_id_parse(strview_from(id_text), &id, &why), 0);
    struct policy_input input = {.id = &id, .listener = listener, .now_s = now_s};
    struct decision decision;
    policy_decide(p->policy, &input, &decision);
    explain_decision(p->policy, &input, &decision, text, sizeof text);
    assert_string_equal(text, wanted);
}

static inline const char *rule_of(const struct decision *decision)
{
    return decision->rule == NULL ? "" : decision->rule->name;
}

static inline bool expects(const struct text_policy *p, const char *id_text, size_t listener)
{
    struct spiffe_id id;
    const char *why = NULL;
    struct decision decision;
    assert_int_equal(spiffe_id_parse(strview_from(id_text), &id, &why), 0);
    struct policy_input input = {.id = &id, .listener = listener};
    policy_decide_upstream(p->policy, &input, &decision);
    return decision.verdict == VERDICT_ALLOW;
}

#endif
