/* Which rules come near, in which order, and in what each fails first. */
#include "policy/findings.h"

#include "unit/policy/policy_text.h"

#define A "spiffe://a.example/"

static const char TEXT[] = POLICY_HEAD(
    "spiffe://a.example/pay") "groups:\n"
                              "  g: [spiffe://a.example/ns/x/far, group:h, "
                              "spiffe://b.example/ns/x/web]\n"
                              "  h: ['spiffe://a.example/ns/*/w']\n"
                              "rules:\n"
                              "- {name: other, from: spiffe://b.example/ns/x/web, to: in}\n"
                              "- {name: shop, from: spiffe://a.example/shop/web, to: in}\n"
                              "- {name: group, from: group:g, to: in}\n"
                              "- {name: longer, from: spiffe://a.example/ns/x/web/api, to: in}\n"
                              "- {name: tail, from: 'spiffe://a.example/ns/x/web/**', to: in}\n"
                              "- {name: edge, from: 'spiffe://a.example/ns/**', to: edge}\n"
                              "- {name: edge2, from: spiffe://a.example/ns/x/wob, to: edge}\n"
                              "- {name: off, from: spiffe://a.example/ns/x/web, to: all, mode: "
                              "disabled}\n"
                              "- {name: past, from: spiffe://a.example/ns/x/web, to: all, expires: "
                              "2020-01-01}\n"
                              "- {name: both, from: spiffe://a.example/ns/x/web, to: all, mode: "
                              "disabled, expires: "
                              "2020-01-01}\n"
                              "- {name: no, action: deny, from: spiffe://a.example/ns/x/wob, to: "
                              "in}\n"
                              "- {name: try, from: spiffe://a.example/ns/x/wob, to: in, mode: "
                              "shadow}\n"
                              "- {name: one, from: spiffe://a.example/ns/x/web, to: in}\n"
                              "- {name: two, from: ['spiffe://a.example/*/*/*', "
                              "spiffe://a.example/ns], to: [edge, in]}\n"
                              "- {name: empty, from: [], to: in}\n";

struct wanted {
    const char *rule;
    enum clause failed;
    unsigned segment;
    const char *wanted;
    const char *got;
};

static void assert_findings(const char *id_text, size_t listener, int64_t now_s,
                            const struct wanted *wanted, size_t count, size_t far)
{
    struct text_policy p = policy_of(TEXT);
    struct spiffe_id id;
    const char *why = NULL;
    assert_non_null(p.policy);
    assert_int_equal(spiffe_id_parse(strview_from(id_text), &id, &why), 0);
    const struct policy_input input = {.id = &id, .listener = listener, .now_s = now_s};
    struct findings findings;
    findings_collect(&findings, p.policy, &input);
    for (size_t i = 0; i < findings.count; i++) {
        const struct finding *finding = &findings.items[i];
        print_message("%s: %s segment %u\n", finding->rule->name, clause_name(finding->failed),
                      finding->near.segment);
        assert_true(i < count);
        assert_string_equal(finding->rule->name, wanted[i].rule);
        assert_int_equal(finding->failed, wanted[i].failed);
        assert_int_equal(finding->near.segment, wanted[i].segment);
        if (wanted[i].failed == CLAUSE_FROM) {
            assert_true(strview_equal_text(finding->near.wanted, wanted[i].wanted));
            assert_true(strview_equal_text(finding->near.got, wanted[i].got));
        }
        assert_non_null(finding->entry);
    }
    assert_int_equal(findings.count, count);
    assert_int_equal(findings.far, far);
    findings_fini(&findings);
    policy_end(&p);
}

static void test_findings_are_nearest_first(void **state)
{
    (void)state;
    static const struct wanted wanted[] = {
        {.rule = "one", .failed = CLAUSE_NONE},
        {.rule = "two", .failed = CLAUSE_NONE},
        {.rule = "past", .failed = CLAUSE_EXPIRES},
        /* mode comes before expires */
        {.rule = "off", .failed = CLAUSE_MODE},
        {.rule = "both", .failed = CLAUSE_MODE},
        {.rule = "edge", .failed = CLAUSE_TO},
        {"longer", CLAUSE_FROM, 4, "api", ""},
        {"tail", CLAUSE_FROM, 4, "**", ""},
        /* of a group, the entry that came closest; among equals an enforced allow comes first */
        {"group", CLAUSE_FROM, 3, "far", "web"},
        {"no", CLAUSE_FROM, 3, "wob", "web"},
        {"try", CLAUSE_FROM, 3, "wob", "web"},
        {"shop", CLAUSE_FROM, 1, "shop", "ns"},
    };
    /* far: another trust domain, another listener as well, nobody at all */
    assert_findings(A "ns/x/web", IN, INT64_C(1577836800), wanted, COUNT_OF(wanted), 3);
}

static void test_findings_know_the_time(void **state)
{
    (void)state;
    static const struct wanted wanted[] = {
        {.rule = "past", .failed = CLAUSE_NONE}, {.rule = "two", .failed = CLAUSE_NONE},
        {.rule = "edge", .failed = CLAUSE_NONE}, {.rule = "off", .failed = CLAUSE_MODE},
        {.rule = "both", .failed = CLAUSE_MODE}, {.rule = "one", .failed = CLAUSE_TO},
        {"edge2", CLAUSE_FROM, 3, "wob", "web"},
    };
    struct wanted sorted[COUNT_OF(wanted)];
    memcpy(sorted, wanted, sizeof(sorted));
    /* in the order of the file: edge, past, two */
    sorted[0] = wanted[2];
    sorted[1] = wanted[0];
    sorted[2] = wanted[1];
    assert_findings(A "ns/x/web", EDGE, INT64_C(1577836799), sorted, COUNT_OF(sorted), 8);
}

static void test_findings_of_another_trust_domain_are_far(void **state)
{
    (void)state;
    assert_findings("spiffe://c.example/ns/x/web", IN, 0, NULL, 0, 15);
}

static void test_findings_are_told(void **state)
{
    (void)state;
    struct text_policy p = policy_of(TEXT);
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(A "ns/x/wob"), &id, &why), 0);
    const struct policy_input input = {.id = &id, .listener = IN};
    struct decision decision;
    policy_decide(p.policy, &input, &decision);
    assert_string_equal(rule_of(&decision), "no");
    struct findings findings;
    findings_collect(&findings, p.policy, &input);
    static const struct {
        const char *rule;
        const char *says;
    } rows[] = {
        {"no", "matches, and decides"},
        {"two", "matches; the deny wins"},
        {"try", "matches in shadow: would allow it"},
        {"edge", "does not name listener \"in\""},
        {"edge2", "does not name listener \"in\""},
        {"one", "differs in segment 3: \"wob\", not \"web\""},
        {"longer", "differs in segment 3: \"wob\", not \"web\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool found = false;
        for (size_t k = 0; k < findings.count; k++) {
            char text[256];
            if (strcmp(findings.items[k].rule->name, rows[i].rule) == 0) {
                explain_finding(p.policy, &input, &decision, &findings.items[k], text,
                                sizeof(text));
                assert_string_equal(text, rows[i].says);
                found = true;
            }
        }
        assert_true(found);
    }
    findings_fini(&findings);
    policy_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_findings_are_nearest_first),
        cmocka_unit_test(test_findings_know_the_time),
        cmocka_unit_test(test_findings_of_another_trust_domain_are_far),
        cmocka_unit_test(test_findings_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
