/* Groups: whom they let in, what is wrong with them, and what many rules over a large one cost. */
#include <malloc.h>

#include "base/clock.h"
#include "base/memory.h"
#include "unit/policy/policy_text.h"

static void test_groups_let_in_their_members(void **state)
{
    (void)state;
    struct text_policy p = policy_of(POLICY_HEAD(
        "[group:inner, 'spiffe://b.example/pay']") "rules:\n"
                                                   "- {name: r, from: [group:outer, "
                                                   "spiffe://a.example/own], to: in}\n"
                                                   "- {name: e, from: spiffe://a.example/e, to: "
                                                   "edge}\n"
                                                   "- {name: no, action: deny, from: group:bad, "
                                                   "to: all}\n"
                                                   "groups:\n"
                                                   "  outer: [group:inner, "
                                                   "spiffe://a.example/outer]\n"
                                                   "  inner: [spiffe://a.example/inner/*, "
                                                   "spiffe://b.example/**]\n"
                                                   "  bad: spiffe://b.example/bad\n");
    static const char *const none[] = {NULL};
    assert_says(&p, none);
    static const struct {
        const char *id;
        size_t listener;
        enum verdict verdict;
        const char *rule;
    } rows[] = {
        {"spiffe://a.example/own", IN, VERDICT_ALLOW, "r"},
        {"spiffe://a.example/outer", IN, VERDICT_ALLOW, "r"},
        {"spiffe://a.example/inner/x", IN, VERDICT_ALLOW, "r"},
        {"spiffe://b.example/x/y", IN, VERDICT_ALLOW, "r"},
        {"spiffe://b.example/bad", IN, VERDICT_DENY, "no"},
        {"spiffe://b.example/bad", EDGE, VERDICT_DENY, "no"},
        {"spiffe://a.example/inner", IN, VERDICT_DENY, ""},
        {"spiffe://a.example/outer/x", IN, VERDICT_DENY, ""},
        {"spiffe://a.example/outer", EDGE, VERDICT_DENY, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        print_message("%s\n", rows[i].id);
        struct decision decision = decide_at(&p, rows[i].id, rows[i].listener, 0);
        assert_int_equal(decision.verdict, rows[i].verdict);
        assert_string_equal(rule_of(&decision), rows[i].rule);
    }
    assert_true(expects(&p, "spiffe://a.example/inner/x", OUT));
    assert_true(expects(&p, "spiffe://b.example/pay", OUT));
    assert_false(expects(&p, "spiffe://a.example/outer", OUT));
    assert_false(expects(&p, "spiffe://a.example/own", OUT));
    policy_end(&p);
}

static void test_groups_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *wanted[6];
    } rows[] = {
        {"rules: [{name: r, from: group:sho, to: all}]\ngroups: {shop: spiffe://a.example/x}\n",
         {"8:25: error: rules[0].from[0]: unknown group \"group:sho\"; did you mean "
          "\"group:shop\"?",
          "9:10: warning: groups.shop: nobody uses it"}},
        {"rules: [{name: r, from: group:x, to: all}]\n",
         {"8:25: error: rules[0].from[0]: unknown group \"group:x\"; groups are defined under"}},
        {"rules: [{name: r, from: group:a, to: all}]\n"
         "groups: {a: group:b, b: [group:c], c: [group:b, group:d]}\n",
         {"9:40: error: groups.c: goes round: b, c, b; take one of them out",
          "9:49: error: groups.c[1]: unknown group \"group:d\"; groups are"}},
        {"rules: [{name: r, from: group:a, to: all}]\ngroups: {a: group:a}\n",
         {"9:13: error: groups.a: goes round: a, a;"}},
        {"rules: [{name: r, from: group:a, to: all}]\n"
         "groups: {a: [], b: [a.example/x, spiffe://c.example/x]}\n",
         {"9:13: warning: groups.a: is empty: it matches nobody",
          "9:17: warning: groups.b: nobody uses it",
          "9:21: error: groups.b[0]: \"a.example/x\": write the ID in full: spiffe://a.example/x",
          "9:34: warning: groups.b[1]: \"spiffe://c.example/x\": never matches: `trust` has no"}},
        {"rules: [{name: r, from: group:A, to: all}]\ngroups: {A: spiffe://a.example/x}\n",
         {"9:10: error: groups.A: \"A\" must be 1 to 63 of a-z"}},
        {"rules: [{name: r, from: spiffe://a.example/x, to: all}]\ngroups: [a]\n",
         {"9:9: error: groups: must be a map"}},
        {"rules: [{name: r, from: group:a, to: all}]\ngroups: {a: {x: y}}\n",
         {"9:13: error: groups.a: must be text or a list of texts, not a map"}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[2048];
        (void)snprintf(text, sizeof text, "%s%s", POLICY_HEAD("spiffe://a.example/x"),
                       rows[i].text);
        print_message("%s", rows[i].text);
        struct text_policy p = policy_of(text);
        assert_says(&p, rows[i].wanted);
        policy_end(&p);
    }
}

static void test_groups_nest_32_levels(void **state)
{
    (void)state;
    static const char *const wanted[][2] = {
        {NULL}, {"41:8: error: groups.g32[0]: groups nest deeper than 32 levels", NULL}};
    for (unsigned more = 0; more <= 1; more++) {
        char text[4096];
        size_t len = (size_t)snprintf(text, sizeof text,
                                      "%srules: [{name: r, from: group:g01, to: all}]\ngroups:\n",
                                      POLICY_HEAD("spiffe://a.example/x"));
        for (unsigned i = 1; i < 32 + more; i++) {
            len +=
                (size_t)snprintf(text + len, sizeof text - len, "  g%02u: group:g%02u\n", i, i + 1);
        }
        (void)snprintf(text + len, sizeof text - len, "  g%02u: spiffe://a.example/x\n", 32 + more);
        struct text_policy p = policy_of(text);
        assert_says(&p, wanted[more]);
        if (p.policy != NULL) {
            struct decision decision = decide_at(&p, "spiffe://a.example/x", IN, 0);
            assert_int_equal(decision.verdict, VERDICT_ALLOW);
        }
        policy_end(&p);
    }
}

enum { MEMBERS = 20000, RULES = 200 };

static char *large_text(void)
{
    size_t size = MEMBERS * 64 + RULES * 96 + 4096;
    char *text = mem_alloc(size);
    size_t len = (size_t)snprintf(text, size, "%sgroups:\n  many:\n", POLICY_HEAD("[group:many]"));
    for (unsigned i = 0; i < MEMBERS; i++) {
        len += (size_t)snprintf(text + len, size - len, "  - spiffe://a.example/n%u/s%u\n", i, i);
    }
    len += (size_t)snprintf(text + len, size - len, "rules:\n");
    for (unsigned i = 0; i < RULES; i++) {
        len += (size_t)snprintf(text + len, size - len,
                                "- {name: r%u, from: group:many, to: [in, edge]}\n", i);
    }
    return text;
}

/* Were it the product, there would be 8 million grants. */
static void test_groups_cost_their_sum(void **state)
{
    (void)state;
    char *text = large_text();
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_parse("f", text, strlen(text), NULL, &diags);
    struct mallinfo2 before = mallinfo2();
    struct policy *policy = policy_load(config, &diags);
    struct mallinfo2 after = mallinfo2();
    assert_non_null(policy);
    assert_int_equal(diags.count, 0);
    size_t used = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    print_message("%zu bytes a member\n", used / MEMBERS);
    assert_true(used < (size_t)MEMBERS * 600);
    policy_free(policy);
    config_free(config);
    diag_list_fini(&diags);
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups_let_in_their_members),
        cmocka_unit_test(test_groups_say_what_is_wrong),
        cmocka_unit_test(test_groups_nest_32_levels),
        cmocka_unit_test(test_groups_cost_their_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
