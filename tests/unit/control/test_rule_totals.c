/* rule_totals and rule_hits: counts of workers added up, and carried over setups by name. */
#include "unit/config/config_test.h"

#include "base/memory.h"
#include "control/rule_totals.h"
#include "policy/policy.h"
#include "proxy/rule_hits.h"
#include "proxy/setup.h"
#include "spiffe/crypto.h"
#include "unit/spiffe/test_provider.h"

enum { WORKERS = 3 };

#define LISTENERS                                                                         \
    "listeners: [{name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://127.0.0.1:9'}," \
    " {name: other, accept: 'mtls://127.0.0.1:0', forward: 'tcp://127.0.0.1:9'}]\n"
#define RULE(name, id, more) "{name: " name ", from: spiffe://prod.example/" id ", to: all" more "}"

static struct crypto *crypto;

static struct setup *make_setup(const char *text, const struct setup *former)
{
    char all[4096];
    struct diag_list diags;
    diag_list_init(&diags);
    int len = snprintf(all, sizeof(all),
                       "version: 1\n"
                       "identity: {files: {certificate: a.pem, private_key: a.key}}\n"
                       "trust: {prod.example: {bundle: b.pem}}\n%s",
                       text);
    assert_true(len > 0 && (size_t)len < sizeof(all));
    struct config *config = config_parse("test", all, (size_t)len, NULL, &diags);
    struct policy *policy = policy_load(config, &diags);
    assert_non_null(policy);
    const struct setup_parts parts = {.crypto = crypto};
    struct setup *setup = setup_build(config, policy, former, &parts, &diags);
    assert_non_null(setup);
    diag_list_fini(&diags);
    return setup;
}

/* A connection of that ID on a listener, decided and noted. */
static void connect_as(struct rule_hits *hits, const struct setup *setup, size_t listener,
                       const char *text)
{
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(text), &id, &why), 0);
    const struct policy_input input = {.id = &id, .listener = listener};
    struct decision decision;
    policy_decide(setup->policy, &input, &decision);
    rule_hits_note(hits, &setup->listeners[listener], &decision);
}

#define A "spiffe://prod.example/a"
#define B "spiffe://prod.example/b"
#define C "spiffe://prod.example/c"

static void assert_total(const struct rule_totals *totals, size_t rule, uint64_t enforced,
                         uint64_t shadow)
{
    const struct rule_total total = rule_totals_rule(totals, rule);
    assert_int_equal(total.enforced, enforced);
    assert_int_equal(total.shadow, shadow);
    assert_int_equal(total.last_ms != 0, enforced + shadow > 0);
}

static void test_rule_totals_add_the_workers_up(void **state)
{
    (void)state;
    struct setup *setup = make_setup(
        LISTENERS "rules: [" RULE("a", "a", "") ", " RULE(
            "no", "a",
            ", action: deny, mode: shadow") ", " RULE("b", "b",
                                                      ", action: deny") ", " RULE("off", "**",
                                                                                  ", mode: "
                                                                                  "disabled") "]\ne"
                                                                                              "nfor"
                                                                                              "ceme"
                                                                                              "nt: "
                                                                                              "audi"
                                                                                              "t\n",
        NULL);
    struct rule_totals *totals = rule_totals_new(setup, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct rule_hits *hits = rule_totals_hits(totals, i);
        for (unsigned k = 0; k <= i; k++) {
            connect_as(hits, setup, 0, A);
        }
        connect_as(hits, setup, 1, B);
        connect_as(hits, setup, 1, C);
    }
    assert_total(totals, 0, 6, 0);
    assert_total(totals, 1, 0, 6);
    assert_total(totals, 2, 3, 0);
    assert_total(totals, 3, 0, 0);
    assert_int_equal(rule_totals_would_deny(totals, 0), 0);
    assert_int_equal(rule_totals_would_deny(totals, 1), 3);
    rule_totals_free(totals);
    setup_unref(setup);
}

static void test_rule_totals_follow_names(void **state)
{
    (void)state;
    struct setup *first = make_setup(
        LISTENERS "rules: [" RULE("a", "a", "") ", " RULE("b", "b", "") "]\nenforcement: audit\n",
        NULL);
    struct rule_totals *totals = rule_totals_new(first, 1);
    connect_as(rule_totals_hits(totals, 0), first, 0, A);
    connect_as(rule_totals_hits(totals, 0), first, 0, B);
    connect_as(rule_totals_hits(totals, 0), first, 1, C);
    assert_null(rule_totals_prepare(totals, first)); /* the same: nothing changes */
    rule_totals_settle(totals);
    assert_int_equal(rule_totals_epoch(totals), 0);

    /* Another order, one gone, one new, one other than it was, a listener gone. */
    struct setup *second = make_setup(
        "listeners: [{name: other, accept: 'mtls://127.0.0.1:0', forward: 'tcp://127.0.0.1:9'}]\n"
        "rules: [" RULE("new", "c", "") ", " RULE("a", "a",
                                                  ", mode: shadow") "]\n"
                                                                    "enforcement: audit\n",
        first);
    struct rule_hits *const *hits = rule_totals_prepare(totals, second);
    assert_non_null(hits);
    /* Until all have swapped, the former setup is counted, also by who has not swapped yet. */
    connect_as(hits[0], second, 0, A);
    connect_as(rule_totals_hits(totals, 0), first, 0, A);
    assert_ptr_equal(rule_totals_setup(totals), first);
    assert_total(totals, 0, 2, 0);
    rule_totals_settle(totals);
    assert_ptr_equal(rule_totals_setup(totals), second);
    assert_int_equal(rule_totals_epoch(totals), 1);
    assert_total(totals, 0, 0, 0);
    assert_total(totals, 1, 2, 1);
    /* C on `other` before, and A now, for the rule is a shadow. */
    assert_int_equal(rule_totals_would_deny(totals, 0), 2);
    connect_as(rule_totals_hits(totals, 0), second, 0, C);
    assert_total(totals, 0, 1, 0);

    struct setup *third = make_setup(LISTENERS, second);
    assert_non_null(rule_totals_prepare(totals, third));
    rule_totals_settle(totals);
    assert_int_equal(rule_totals_would_deny(totals, 0), 0); /* `in` is new again */
    assert_int_equal(rule_totals_would_deny(totals, 1), 2);
    /* On its way when the process ends. */
    assert_non_null(rule_totals_prepare(totals, first));
    rule_totals_free(totals);
    setup_unref(first);
    setup_unref(second);
    setup_unref(third);
}

static int make_crypto(void **state)
{
    (void)state;
    struct errbuf err;
    crypto = test_crypto_new(&err);
    return crypto == NULL;
}

static int free_crypto(void **state)
{
    (void)state;
    crypto_free(crypto);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule_totals_add_the_workers_up),
        cmocka_unit_test(test_rule_totals_follow_names),
    };
    return cmocka_run_group_tests(tests, make_crypto, free_crypto);
}
