/* What is said of rules that are valid: at every load, and by `check`. */
#include "unit/policy/lint_test.h"

/* 2027-01-31T00:00:00Z */
#define END INT64_C(1801353600)
#define DAY INT64_C(86400)

#define ENDS                                                                                    \
    POLICY_HEAD(EXPECT)                                                                         \
    "rules:\n"                                                                                  \
    "- {name: a, from: spiffe://a.example/a/x, to: in, expires: 2027-01-31}\n"                  \
    "- {name: b, from: spiffe://a.example/bee, to: edge}\n"                                     \
    "- {name: c, from: spiffe://a.example/c/cc, to: in, mode: disabled, expires: 2027-01-31}\n" \
    "- {name: d, action: deny, from: spiffe://a.example/d, to: in, expires: 2027-01-31}\n"

static const struct {
    int64_t now_s;
    const char *load; /* of rules a and d, at every load; NULL: nothing */
    const char *disabled;
} ends[] = {
    {END - 14 * DAY - 1, NULL, NULL},
    {END - 14 * DAY, "ends at 2027-01-31T00:00:00Z, within two weeks", NULL},
    {END - 2 * DAY - 1, "ends at 2027-01-31T00:00:00Z, within two weeks", NULL},
    {END - 2 * DAY, "ends at 2027-01-31T00:00:00Z, within two days", NULL},
    {END - 1, "ends at 2027-01-31T00:00:00Z, within two days", NULL},
    {END, "has ended, at 2027-01-31T00:00:00Z", "has ended, at 2027-01-31T00:00:00Z"},
    {END + 1000 * DAY, "has ended, at 2027-01-31T00:00:00Z", "has ended, at 2027-01-31T00:00:00Z"},
};

static size_t count(const struct diag_list *diags, enum diag_severity severity, const char *part)
{
    size_t found = 0;
    for (size_t i = 0; i < diags->count; i++) {
        found +=
            diags->items[i].severity == severity && strstr(diags->items[i].message, part) != NULL;
    }
    return found;
}

static void test_lint_warns_of_ends_that_are_near_or_past(void **state)
{
    (void)state;
    struct text_policy p = policy_of(ENDS);
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct diag_list diags;
        diag_list_init(&diags);
        print_message("row %zu\n", i);
        lint_run(p.policy, ends[i].now_s, LINT_LOAD, &diags);
        size_t warned = 2 * (size_t)(ends[i].load != NULL) + (size_t)(ends[i].disabled != NULL);
        assert_int_equal(diags.warning_count, warned);
        assert_int_equal(diags.count, warned);
        if (ends[i].load != NULL) {
            assert_int_equal(count(&diags, DIAG_WARNING, ends[i].load), warned);
        }
        diag_list_fini(&diags);
    }
    policy_end(&p);
}

static void test_lint_says_where_and_what_ends(void **state)
{
    (void)state;
    static const char *const soon[] = {
        "9:60: warning: rules[0].expires: rule \"a\" ends at 2027-01-31T00:00:00Z, within two days",
        "12:72: warning: rules[3].expires: rule \"d\" ends at 2027-01-31T00:00:00Z, within two "
        "days",
        NULL};
    static const char *const past[] = {
        "9:60: warning: rules[0].expires: rule \"a\" has ended, at 2027-01-31T00:00:00Z: it lets "
        "in nobody; take it out",
        "11:77: warning: rules[2].expires: rule \"c\" has ended, at 2027-01-31T00:00:00Z: it lets "
        "in nobody; take it out",
        "12:72: warning: rules[3].expires: rule \"d\" has ended, at 2027-01-31T00:00:00Z: it "
        "denies nobody; take it out",
        NULL};
    assert_lint(ENDS, END - 1, LINT_LOAD, soon);
    assert_lint(ENDS, END, LINT_LOAD, past);
}

/* `check` prints the instant of each. */
static void test_lint_notes_every_end_for_check(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "9:60: note: rules[0].expires: rule \"a\" ends at 2027-01-31T00:00:00Z",
        "11:77: note: rules[2].expires: rule \"c\" ends at 2027-01-31T00:00:00Z",
        "12:72: note: rules[3].expires: rule \"d\" ends at 2027-01-31T00:00:00Z", NULL};
    assert_lint(ENDS, 0, LINT_CHECK, wanted);
}

#define WHOLE                                                                           \
    POLICY_HEAD(EXPECT)                                                                 \
    "rules:\n"                                                                          \
    "- {name: r, from: ['spiffe://a.example/**', 'spiffe://a.example/*/**'], to: in}\n" \
    "- {name: no, action: deny, from: 'spiffe://b.example/**', to: edge}\n"             \
    "- {name: try, from: 'spiffe://b.example/**', to: edge, mode: shadow}\n"            \
    "- {name: off, from: 'spiffe://b.example/**', to: edge, mode: disabled}\n"          \
    "- {name: g, from: [group:outer, group:inner], to: edge}\n"                         \
    "- {name: h, from: group:outer, to: in}\n"                                          \
    "groups:\n"                                                                         \
    "  inner: [spiffe://b.example/own, 'spiffe://b.example/**']\n"                      \
    "  outer: group:inner\n"                                                            \
    "  other: 'spiffe://a.example/**'\n"

static void test_lint_warns_of_whole_trust_domains(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "9:20: warning: rules[0].from[0]: \"spiffe://a.example/**\" admits every workload of the "
        "trust domain",
        "16:35: warning: groups.inner[1]: \"spiffe://b.example/**\" admits every workload of the "
        "trust domain",
        NULL};
    assert_lint(WHOLE, 0, LINT_LOAD, wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lint_warns_of_ends_that_are_near_or_past),
        cmocka_unit_test(test_lint_says_where_and_what_ends),
        cmocka_unit_test(test_lint_notes_every_end_for_check),
        cmocka_unit_test(test_lint_warns_of_whole_trust_domains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
