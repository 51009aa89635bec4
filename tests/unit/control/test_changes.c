/* changes: what is new, gone and other, by name. */
#include "unit/config/config_test.h"

#include "control/changes.h"
#include "control/material.h"

static const char head[] = "version: 1\n"
                           "identity: {files: {certificate: a.pem, private_key: a.key}}\n"
                           "trust: {prod.example: {bundle: b.pem}}\n";

static struct config *parse(const char *text)
{
    char all[4096];
    struct diag_list diags;
    diag_list_init(&diags);
    int len = snprintf(all, sizeof(all), "%s%s", head, text);
    assert_true(len > 0 && (size_t)len < sizeof(all));
    struct config *config = config_parse("test", all, (size_t)len, NULL, &diags);
    assert_int_equal(diags.error_count, 0);
    diag_list_fini(&diags);
    return config;
}

static void on_change(void *arg, enum change_kind kind, enum change_what what, const char *name)
{
    char *told = arg;
    size_t len = strlen(told);
    (void)snprintf(told + len, 1024 - len, "%s %s %s; ", change_kind_name(kind),
                   change_what_name(what), name);
}

static void assert_changes(const struct material *from, const struct material *to,
                           const char *wanted)
{
    char told[1024] = "";
    changes_each(from, to, on_change, told);
    assert_string_equal(told, wanted);
}

#define IN(name, port) \
    "- {name: " name ", accept: 'mtls://127.0.0.1:" port "', forward: 'tcp://127.0.0.1:9'}\n"
#define RULE(name, from) "- {name: " name ", from: 'spiffe://prod.example/" from "', to: all}\n"

static void test_changes_of_rules_and_listeners(void **state)
{
    (void)state;
    struct setup before = {.config = parse("listeners:\n" IN("z", "1") IN("a", "2")
                                               IN("m", "3") "rules:\n" RULE("one", "x")
                                                   RULE("two", "x") RULE("three", "x"))};
    struct setup after = {.config = parse("listeners:\n" IN("m", "3") IN("b", "2")
                                              IN("z", "4") "rules:\n" RULE("three", "y")
                                                  RULE("four", "x") RULE("one", "x"))};
    const struct material from = {.setup = &before};
    const struct material to = {.setup = &after};
    assert_changes(&from, &from, "");
    assert_changes(&from, &to,
                   "rule added four; rule changed three; rule removed two; "
                   "listener removed a; listener added b; listener changed z; ");
    assert_changes(&to, &from,
                   "rule removed four; rule changed three; rule added two; "
                   "listener added a; listener removed b; listener changed z; ");
    struct change_counts counts;
    changes_count(&from, &to, &counts);
    assert_int_equal(counts.of[CHANGE_RULE][CHANGE_ADDED], 1);
    assert_int_equal(counts.of[CHANGE_RULE][CHANGE_REMOVED], 1);
    assert_int_equal(counts.of[CHANGE_LISTENER][CHANGE_CHANGED], 1);
    assert_int_equal(counts.of[CHANGE_BUNDLE][CHANGE_ADDED], 0);
    config_free(before.config);
    config_free(after.config);
}

static void test_changes_of_an_order_are_none(void **state)
{
    (void)state;
    struct setup before = {.config = parse("listeners:\n" IN("a", "1") IN("b", "2") "rules:\n" RULE(
                               "one", "x") RULE("two", "x"))};
    struct setup after = {.config = parse("listeners:\n" IN("b", "2") IN("a", "1") "rules:\n" RULE(
                              "two", "x") RULE("one", "x"))};
    const struct material from = {.setup = &before};
    const struct material to = {.setup = &after};
    assert_changes(&from, &to, "");
    config_free(before.config);
    config_free(after.config);
}

/* What stands for a bundle or CRLs: only whether it is the same object counts. */
static int things[4];
#define BUNDLE(n) ((struct trust_bundle *)(void *)&things[n])
#define CRLS(n)   ((struct crl_set *)(void *)&things[n])

static void test_changes_of_trust(void **state)
{
    (void)state;
    char one[] = "one.example";
    char two[] = "two.example";
    char three[] = "three.example";
    char four[] = "four.example";
    struct material_domain before[] = {
        {.name = one, .bundle = BUNDLE(0), .crls = CRLS(0), .crl_check = CRL_CHECK_LEAF},
        {.name = two, .bundle = BUNDLE(1)},
        {.name = three, .bundle = BUNDLE(2), .crls = CRLS(0), .crl_check = CRL_CHECK_LEAF},
    };
    struct material_domain after[] = {
        {.name = three, .bundle = BUNDLE(2), .crls = CRLS(0), .crl_check = CRL_CHECK_CHAIN},
        {.name = four, .bundle = BUNDLE(1), .crl_check = CRL_CHECK_LEAF}, /* no file yet */
        {.name = one, .bundle = BUNDLE(3), .crls = CRLS(1), .crl_check = CRL_CHECK_LEAF},
    };
    const struct material from = {.domains = before, .domain_count = 3};
    const struct material to = {.domains = after, .domain_count = 3};
    assert_changes(&from, &from, "");
    assert_changes(&from, &to,
                   "bundle added four.example; bundle changed one.example; "
                   "bundle removed two.example; crl changed three.example; "
                   "crl added four.example; crl changed one.example; ");
    const struct material nothing = {.domain_count = 0};
    assert_changes(&nothing, &nothing, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_of_rules_and_listeners),
        cmocka_unit_test(test_changes_of_an_order_are_none),
        cmocka_unit_test(test_changes_of_trust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
