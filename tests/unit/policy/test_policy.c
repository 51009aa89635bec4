/* Loading rules and `expect`, what is wrong with them, and the decisions. */
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { STRINGS_MAX = 4, RULES_MAX = 8 };

/* A rule as the table of a test writes it: every pattern's position is line index + 10. */
struct rule_text {
    const char *name;
    enum config_action action;
    const char *from[STRINGS_MAX];
    const char *to[STRINGS_MAX];
};

/* orders terminates, to-payments originates, edge bridges. */
enum { ORDERS, TO_PAYMENTS, EDGE, LISTENERS };

struct fixture {
    struct config config;
    struct config_listener listeners[LISTENERS];
    struct config_trust trust[2];
    struct config_rule rules[RULES_MAX];
    struct config_string from[RULES_MAX][STRINGS_MAX];
    struct config_string to[RULES_MAX][STRINGS_MAX];
    struct config_string expect[LISTENERS][STRINGS_MAX];
    struct diag_list diags;
    struct policy *policy;
};

static struct config_string string_at(const char *text, uint32_t line)
{
    /* A configuration's strings are its own; these literals are only read. */
    union {
        const char *constant;
        char *text;
    } literal = {.constant = text};
    return (struct config_string){.text = literal.text, .pos = {.line = line, .column = 9}};
}

static struct config_strings strings_of(struct config_string *items, const char *const *texts,
                                        uint32_t line)
{
    struct config_strings strings = {.items = items};
    while (strings.count < STRINGS_MAX && texts[strings.count] != NULL) {
        items[strings.count] = string_at(texts[strings.count], line + (uint32_t)strings.count);
        strings.count++;
    }
    return strings;
}

static void fixture_init(struct fixture *f)
{
    static char certificate[] = "a.pem"; /* with the Workload API domains come later */
    memset(f, 0, sizeof *f);
    static const char *const names[] = {"orders", "to-payments", "edge"};
    for (size_t i = 0; i < LISTENERS; i++) {
        f->listeners[i].name = string_at(names[i], 2);
        f->listeners[i].kind = (enum config_kind)i;
    }
    f->trust[0].domain = string_at("prod.example", 3);
    f->trust[1].domain = string_at("partner.example", 4);
    f->config.listeners = f->listeners;
    f->config.listener_count = LISTENERS;
    f->config.identity.certificate.text = certificate;
    f->config.trust = f->trust;
    f->config.trust_count = COUNT_OF(f->trust);
    f->config.rules = f->rules;
    diag_list_init(&f->diags);
    (void)diag_add_file(&f->diags, "b.yaml");
}

static void fixture_rules(struct fixture *f, const struct rule_text *rules, size_t count)
{
    assert_true(count <= RULES_MAX);
    for (size_t i = 0; i < count; i++) {
        uint32_t line = 10 * (uint32_t)(i + 1);
        f->rules[i] = (struct config_rule){
            .name = string_at(rules[i].name, line),
            .action = rules[i].action,
            .from = strings_of(f->from[i], rules[i].from, line),
            .to = strings_of(f->to[i], rules[i].to, line),
            .pos = {.line = line, .column = 5},
        };
    }
    f->config.rule_count = count;
}

static void fixture_expect(struct fixture *f, size_t listener, const char *const *texts)
{
    f->listeners[listener].expect = strings_of(f->expect[listener], texts, 100);
}

static void fixture_load(struct fixture *f)
{
    f->policy = policy_load(&f->config, &f->diags);
}

static void fixture_fini(struct fixture *f)
{
    policy_free(f->policy);
    diag_list_fini(&f->diags);
}

static struct decision decide(const struct fixture *f, const char *text, size_t listener)
{
    struct spiffe_id id;
    const char *why = NULL;
    if (text != NULL && spiffe_id_parse(strview_from(text), &id, &why) != 0) {
        fail_msg("%s: %s", text, why);
    }
    struct policy_input input = {.id = text != NULL ? &id : NULL, .listener = listener};
    struct decision decision;
    memset(&decision, 0xff, sizeof decision);
    policy_decide(f->policy, &input, &decision);
    return decision;
}

static struct decision decide_upstream(const struct fixture *f, const char *text, size_t listener)
{
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(text), &id, &why), 0);
    struct decision decision;
    memset(&decision, 0xff, sizeof decision);
    struct policy_input input = {.id = &id, .listener = listener};
    policy_decide_upstream(f->policy, &input, &decision);
    return decision;
}

static void assert_decision(struct decision decision, enum verdict verdict, enum reason reason,
                            const char *rule)
{
    assert_int_equal(decision.verdict, verdict);
    assert_int_equal(decision.reason, reason);
    if (rule == NULL) {
        assert_null(decision.rule);
    } else {
        assert_non_null(decision.rule);
        assert_string_equal(decision.rule->name, rule);
    }
}

static void test_policy_without_rules_denies_all(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_load(&f);
    assert_non_null(f.policy);
    assert_int_equal(policy_rule_count(f.policy), 0);
    assert_decision(decide(&f, "spiffe://prod.example/a", ORDERS), VERDICT_DENY,
                    REASON_POLICY_NO_RULE, NULL);
    assert_decision(decide(&f, "spiffe://prod.example/a", EDGE), VERDICT_DENY,
                    REASON_POLICY_NO_RULE, NULL);
    assert_decision(decide_upstream(&f, "spiffe://prod.example/a", EDGE), VERDICT_DENY,
                    REASON_POLICY_NOT_EXPECTED, NULL);
    fixture_fini(&f);
}

static void test_policy_rule_with_empty_lists_allows_nothing(void **state)
{
    (void)state;
    static const struct rule_text rules[] = {
        {"no-from", CONFIG_ACTION_ALLOW, {NULL}, {"orders"}},
        {"no-to", CONFIG_ACTION_ALLOW, {"spiffe://prod.example/**"}, {NULL}},
    };
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, rules, COUNT_OF(rules));
    fixture_load(&f);
    assert_decision(decide(&f, "spiffe://prod.example/a", ORDERS), VERDICT_DENY,
                    REASON_POLICY_NO_RULE, NULL);
    fixture_fini(&f);
}

static const struct rule_text shop[] = {
    {"no-canary", CONFIG_ACTION_DENY, {"spiffe://prod.example/ns/canary/**"}, {"all"}},
    {"web", CONFIG_ACTION_ALLOW, {"spiffe://prod.example/ns/shop/sa/web"}, {"orders"}},
    {"shop", CONFIG_ACTION_ALLOW, {"spiffe://prod.example/ns/*/sa/*"}, {"orders", "edge"}},
    {"partner", CONFIG_ACTION_ALLOW, {"spiffe://partner.example/**"}, {"edge"}},
    {"no-wiki", CONFIG_ACTION_DENY, {"spiffe://prod.example/ns/shop/sa/wiki"}, {"orders"}},
    {"wiki", CONFIG_ACTION_ALLOW, {"spiffe://prod.example/ns/shop/sa/wiki"}, {"orders"}},
};

static const struct {
    const char *id;
    size_t listener;
    enum verdict verdict;
    enum reason reason;
    const char *rule;
} decisions[] = {
    {"spiffe://prod.example/ns/shop/sa/web", ORDERS, VERDICT_ALLOW, REASON_NONE, "web"},
    {"spiffe://prod.example/ns/shop/sa/web", EDGE, VERDICT_ALLOW, REASON_NONE, "shop"},
    {"spiffe://prod.example/ns/other/sa/web", ORDERS, VERDICT_ALLOW, REASON_NONE, "shop"},
    {"spiffe://prod.example/ns/canary/sa/web", ORDERS, VERDICT_DENY, REASON_POLICY_DENY_RULE,
     "no-canary"},
    {"spiffe://prod.example/ns/canary/sa/web", EDGE, VERDICT_DENY, REASON_POLICY_DENY_RULE,
     "no-canary"},
    {"spiffe://prod.example/ns/canary", ORDERS, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {"spiffe://prod.example/ns/shop/sa/wiki", ORDERS, VERDICT_DENY, REASON_POLICY_DENY_RULE,
     "no-wiki"},
    {"spiffe://prod.example/ns/shop/sa/wiki", EDGE, VERDICT_ALLOW, REASON_NONE, "shop"},
    {"spiffe://partner.example/x", EDGE, VERDICT_ALLOW, REASON_NONE, "partner"},
    {"spiffe://partner.example/x", ORDERS, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {"spiffe://partner.example", EDGE, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {"spiffe://evil.example/ns/shop/sa/web", ORDERS, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {"spiffe://prod.example/ns/shop/sa/web/x", ORDERS, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {"spiffe://prod.example/ns/shop/sa", ORDERS, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {NULL, ORDERS, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {NULL, EDGE, VERDICT_DENY, REASON_POLICY_NO_RULE, NULL},
    {NULL, TO_PAYMENTS, VERDICT_ALLOW, REASON_NONE, NULL},
};

static void test_policy_decides(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, shop, COUNT_OF(shop));
    fixture_load(&f);
    assert_non_null(f.policy);
    assert_int_equal(f.diags.count, 0);
    assert_int_equal(policy_rule_count(f.policy), COUNT_OF(shop));
    for (size_t i = 0; i < COUNT_OF(decisions); i++) {
        print_message("%s on %zu\n", decisions[i].id != NULL ? decisions[i].id : "(none)",
                      decisions[i].listener);
        assert_decision(decide(&f, decisions[i].id, decisions[i].listener), decisions[i].verdict,
                        decisions[i].reason, decisions[i].rule);
    }
    fixture_fini(&f);
}

static void test_policy_rule_carries_place_and_action(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, shop, COUNT_OF(shop));
    fixture_load(&f);
    struct decision decision = decide(&f, "spiffe://prod.example/ns/canary/x", EDGE);
    assert_int_equal(decision.rule->action, CONFIG_ACTION_DENY);
    assert_int_equal(decision.rule->pos.line, 10);
    decision = decide(&f, "spiffe://partner.example/x", EDGE);
    assert_int_equal(decision.rule->action, CONFIG_ACTION_ALLOW);
    assert_int_equal(decision.rule->pos.line, 40);
    fixture_fini(&f);
}

static void test_policy_expects_servers(void **state)
{
    (void)state;
    static const char *const payments[] = {"spiffe://prod.example/ns/shop/sa/payments",
                                           "spiffe://partner.example/pay/*", NULL};
    static const char *const edge[] = {"spiffe://prod.example/edge/**", NULL};
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, shop, COUNT_OF(shop));
    fixture_expect(&f, TO_PAYMENTS, payments);
    fixture_expect(&f, EDGE, edge);
    fixture_load(&f);
    assert_non_null(f.policy);
    static const struct {
        const char *id;
        size_t listener;
        enum verdict verdict;
    } cases[] = {
        {"spiffe://prod.example/ns/shop/sa/payments", TO_PAYMENTS, VERDICT_ALLOW},
        {"spiffe://partner.example/pay/eu", TO_PAYMENTS, VERDICT_ALLOW},
        {"spiffe://partner.example/pay", TO_PAYMENTS, VERDICT_DENY},
        {"spiffe://prod.example/ns/shop/sa/payments", EDGE, VERDICT_DENY},
        {"spiffe://prod.example/edge/a/b", EDGE, VERDICT_ALLOW},
        {"spiffe://prod.example/edge/a/b", TO_PAYMENTS, VERDICT_DENY},
        /* A rule that allows an ID as a caller says nothing of it as a server. */
        {"spiffe://prod.example/ns/shop/sa/web", EDGE, VERDICT_DENY},
        {"spiffe://prod.example/edge/a", ORDERS, VERDICT_DENY},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        print_message("%s on %zu\n", cases[i].id, cases[i].listener);
        bool allowed = cases[i].verdict == VERDICT_ALLOW;
        assert_decision(decide_upstream(&f, cases[i].id, cases[i].listener), cases[i].verdict,
                        allowed ? REASON_NONE : REASON_POLICY_NOT_EXPECTED, NULL);
    }
    struct decision decision;
    struct policy_input nobody = {.id = NULL, .listener = EDGE};
    policy_decide_upstream(f.policy, &nobody, &decision);
    assert_decision(decision, VERDICT_DENY, REASON_POLICY_NOT_EXPECTED, NULL);
    fixture_fini(&f);
}

static void assert_diags(struct fixture *f, const char *const *wanted, size_t count)
{
    diag_sort(&f->diags);
    for (size_t i = 0; i < f->diags.count; i++) {
        char text[512];
        diag_format(&f->diags, &f->diags.items[i], text, sizeof text);
        print_message("%s\n", text);
        if (i < count) {
            assert_string_equal(text, wanted[i]);
        }
    }
    assert_int_equal(f->diags.count, count);
}

static void test_policy_says_all_that_is_wrong_with_places(void **state)
{
    (void)state;
    static const struct rule_text rules[] = {
        {"a", CONFIG_ACTION_ALLOW, {"spiffe:/x", "spiffe://prod.example/a"}, {"orders"}},
        {"b", CONFIG_ACTION_DENY, {"prod.example/ns/x", "spiffe://prod.example"}, {"all"}},
        {"c", CONFIG_ACTION_ALLOW, {"spiffe://prod.example/web-*", "groups:x"}, {"edge"}},
    };
    static const char *const expect[] = {"spiffe://*/x", NULL};
    static const char *const wanted[] = {
        "b.yaml:10:9: error: rules[0].from[0]: \"spiffe:/x\": must start with \"spiffe://\"",
        "b.yaml:20:9: error: rules[1].from[0]: \"prod.example/ns/x\": write the ID in full: "
        "spiffe://prod.example/ns/x",
        "b.yaml:21:9: error: rules[1].from[1]: \"spiffe://prod.example\": an ID of a workload has "
        "a "
        "path; spiffe://TRUST-DOMAIN/** admits the whole trust domain",
        "b.yaml:30:9: error: rules[2].from[0]: \"spiffe://prod.example/web-*\": `*` stands for "
        "exactly one whole segment, not for a part of one",
        "b.yaml:31:9: error: rules[2].from[1]: \"groups:x\": must start with \"spiffe://\"",
        "b.yaml:100:9: error: listeners[1].expect[0]: \"spiffe://*/x\": no pattern in a trust "
        "domain; write one entry for each trust domain",
    };
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, rules, COUNT_OF(rules));
    fixture_expect(&f, TO_PAYMENTS, expect);
    fixture_load(&f);
    assert_null(f.policy);
    assert_diags(&f, wanted, COUNT_OF(wanted));
    fixture_fini(&f);
}

static void test_policy_warns_of_trust_domains_without_bundle(void **state)
{
    (void)state;
    static const struct rule_text rules[] = {
        {"a", CONFIG_ACTION_ALLOW, {"spiffe://prod.exampel/ns/x"}, {"orders"}},
        {"b", CONFIG_ACTION_DENY, {"spiffe://prod.example/x", "spiffe://prod/**"}, {"all"}},
    };
    static const char *const expect[] = {"spiffe://partner.example/x", "spiffe://other.example/x",
                                         NULL};
    static const char *const wanted[] = {
        "b.yaml:10:9: warning: rules[0].from[0]: \"spiffe://prod.exampel/ns/x\": never matches: "
        "`trust` has no bundle for \"prod.exampel\"; did you mean \"prod.example\"?",
        "b.yaml:21:9: warning: rules[1].from[1]: \"spiffe://prod/**\": never matches: `trust` has "
        "no bundle for \"prod\"",
        "b.yaml:101:9: warning: listeners[1].expect[1]: \"spiffe://other.example/x\": never "
        "matches: `trust` has no bundle for \"other.example\"",
    };
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, rules, COUNT_OF(rules));
    fixture_expect(&f, TO_PAYMENTS, expect);
    fixture_load(&f);
    assert_non_null(f.policy);
    assert_diags(&f, wanted, COUNT_OF(wanted));
    fixture_fini(&f);
}

/* What was wrong before policy_load is not its error. */
static void test_policy_loads_beside_older_errors(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, shop, COUNT_OF(shop));
    diag_error(&f.diags, (struct config_pos){.line = 1}, "something else");
    fixture_load(&f);
    assert_non_null(f.policy);
    fixture_fini(&f);
}

/* Seven segments have 128 arrangements of `*`; the file that wants them all is told so. */
static void test_policy_refuses_too_many_arrangements(void **state)
{
    (void)state;
    enum { ALL = 128 };
    static char texts[ALL][64];
    static struct config_string from[ALL];
    struct fixture f;
    fixture_init(&f);
    fixture_rules(&f, shop, 1);
    for (unsigned i = 0; i < ALL; i++) {
        int len = snprintf(texts[i], sizeof texts[i], "spiffe://prod.example");
        for (unsigned bit = 0; bit < 7; bit++) {
            len += snprintf(texts[i] + len, sizeof texts[i] - (size_t)len, "/%s",
                            (i >> bit) & 1 ? "*" : "x");
        }
        from[i] = string_at(texts[i], 200 + i);
    }
    f.rules[0].from = (struct config_strings){.items = from, .count = ALL};
    fixture_load(&f);
    assert_null(f.policy);
    assert_int_equal(f.diags.error_count, ALL - 64);
    assert_non_null(strstr(f.diags.items[0].message, "have `*` in over 64 different arrangements"));
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_without_rules_denies_all),
        cmocka_unit_test(test_policy_rule_with_empty_lists_allows_nothing),
        cmocka_unit_test(test_policy_decides),
        cmocka_unit_test(test_policy_rule_carries_place_and_action),
        cmocka_unit_test(test_policy_expects_servers),
        cmocka_unit_test(test_policy_says_all_that_is_wrong_with_places),
        cmocka_unit_test(test_policy_warns_of_trust_domains_without_bundle),
        cmocka_unit_test(test_policy_loads_beside_older_errors),
        cmocka_unit_test(test_policy_refuses_too_many_arrangements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
