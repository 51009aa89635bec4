/* Modes, the end of a rule in time, audit, quarantine and shadow results, as policy_decide tells
   them. */
#include "base/memory.h"
#include "unit/policy/policy_text.h"

/* 2027-01-31T00:00:00Z */
#define END INT64_C(1801353600)

enum { BRIDGE = 3 };

#define BRIDGE_LISTENER                                                                          \
    "- {name: bridge, accept: 'mtls://0.0.0.0:6', forward: 'mtls://a.b:5', enforcement: audit, " \
    "expect: spiffe://a.example/pay}\n"
#define HEAD POLICY_HEAD("spiffe://a.example/pay") BRIDGE_LISTENER
#define A    "spiffe://a.example/"

/* What is asked, and all of the answer. NULL: none; now_s 0: long before every end. */
struct row {
    const char *id;
    size_t listener;
    int64_t now_s;
    enum verdict verdict;
    enum reason reason;
    const char *rule;
    bool would_deny;
    int64_t until_s; /* 0: POLICY_NEVER */
    const char *shadow_allow;
    const char *shadow_deny;
    enum verdict shadow_verdict;
    const char *shadow_rule;
};

static void assert_rule(const struct policy_rule *rule, const char *name)
{
    assert_string_equal(rule == NULL ? "(none)" : rule->name, name == NULL ? "(none)" : name);
}

static void assert_row(const struct text_policy *p, const struct row *row)
{
    print_message("%s on %zu at %lld\n", row->id, row->listener, (long long)row->now_s);
    struct decision decision = decide_at(p, row->id, row->listener, row->now_s);
    assert_int_equal(decision.verdict, row->verdict);
    assert_int_equal(decision.reason, row->reason);
    assert_rule(decision.rule, row->rule);
    assert_null(decision.quarantine);
    assert_int_equal(decision.would_deny, row->would_deny);
    assert_int_equal(decision.until_s, row->until_s == 0 ? POLICY_NEVER : row->until_s);
    assert_rule(decision.shadow.allow, row->shadow_allow);
    assert_rule(decision.shadow.deny, row->shadow_deny);
    if (row->shadow_allow != NULL || row->shadow_deny != NULL) {
        assert_int_equal(decision.shadow.verdict, row->shadow_verdict);
        assert_rule(decision.shadow.rule, row->shadow_rule);
    }
}

static void assert_rows(const char *text, const struct row *rows, size_t count)
{
    struct text_policy p = policy_of(text);
    assert_non_null(p.policy);
    for (size_t i = 0; i < count; i++) {
        assert_row(&p, &rows[i]);
    }
    policy_end(&p);
}

static const char MODES[] = HEAD
    "rules:\n"
    "- {name: off-allow, from: spiffe://a.example/off, to: in, mode: disabled}\n"
    "- {name: off-deny, action: deny, from: spiffe://a.example/web, to: all, mode: disabled}\n"
    "- {name: try, from: [spiffe://a.example/new, spiffe://a.example/both], to: in, mode: shadow}\n"
    "- {name: web, from: [spiffe://a.example/web, spiffe://a.example/api], to: in}\n"
    "- {name: try-deny, action: deny, from: [spiffe://a.example/api, spiffe://a.example/both],\n"
    "   to: [in, edge], mode: shadow}\n"
    "- {name: no, action: deny, from: spiffe://a.example/bad, to: all}\n"
    "- {name: try-bad, from: spiffe://a.example/bad, to: in, mode: shadow}\n";

static void test_policy_modes_decide_as_they_say(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* disabled: as if it were not there, either way */
        {A "off", IN, .reason = REASON_POLICY_NO_RULE},
        {A "web", IN, .verdict = VERDICT_ALLOW, .rule = "web"},
        /* a shadow allow grants nothing */
        {A "new", IN, .reason = REASON_POLICY_NO_RULE, .shadow_allow = "try",
         .shadow_verdict = VERDICT_ALLOW, .shadow_rule = "try"},
        {A "new", EDGE, .reason = REASON_POLICY_NO_RULE},
        /* a shadow deny takes nothing */
        {A "api", IN, .verdict = VERDICT_ALLOW, .rule = "web", .shadow_deny = "try-deny",
         .shadow_verdict = VERDICT_DENY, .shadow_rule = "try-deny"},
        {A "api", EDGE, .reason = REASON_POLICY_NO_RULE, .shadow_deny = "try-deny",
         .shadow_verdict = VERDICT_DENY, .shadow_rule = "try-deny"},
        /* among shadow rules too a deny wins */
        {A "both", IN, .reason = REASON_POLICY_NO_RULE, .shadow_allow = "try",
         .shadow_deny = "try-deny", .shadow_verdict = VERDICT_DENY, .shadow_rule = "try-deny"},
        /* an enforced deny wins over a shadow allow */
        {A "bad", IN, .reason = REASON_POLICY_DENY_RULE, .rule = "no", .shadow_allow = "try-bad",
         .shadow_verdict = VERDICT_DENY, .shadow_rule = "no"},
        {A "bad", EDGE, .reason = REASON_POLICY_DENY_RULE, .rule = "no"},
    };
    assert_rows(MODES, rows, COUNT_OF(rows));
}

static const char ENDS[] = HEAD
    "rules:\n"
    "- {name: brief, from: spiffe://a.example/job, to: in, expires: 2027-01-31}\n"
    "- {name: longer, from: spiffe://a.example/job, to: in, expires: 2027-02-01}\n"
    "- {name: no, action: deny, from: spiffe://a.example/bad, to: in, expires: 2027-01-31}\n"
    "- {name: bad, from: spiffe://a.example/bad, to: in}\n"
    "- {name: try, from: spiffe://a.example/x, to: in, mode: shadow, expires: 2027-01-31}\n"
    "- {name: once, from: spiffe://a.example/once, to: in, expires: 2027-01-31}\n"
    "- {name: off, from: spiffe://a.example/off, to: in, mode: disabled, expires: 2027-01-31}\n";

static void test_policy_rules_end_at_their_second(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {A "job", IN, POLICY_BEFORE_ALL, VERDICT_ALLOW, .rule = "brief", .until_s = END},
        {A "job", IN, END - 1, VERDICT_ALLOW, .rule = "brief", .until_s = END},
        {A "job", IN, END, VERDICT_ALLOW, .rule = "longer", .until_s = END + 86400},
        {A "job", IN, END + 86399, VERDICT_ALLOW, .rule = "longer", .until_s = END + 86400},
        {A "job", IN, END + 86400, .reason = REASON_POLICY_NO_RULE},
        {A "once", IN, END - 1, VERDICT_ALLOW, .rule = "once", .until_s = END},
        {A "once", IN, END, .reason = REASON_POLICY_NO_RULE},
        {A "once", IN, INT64_MAX, .reason = REASON_POLICY_NO_RULE},
        /* a deny ends too, and what it stood before holds then */
        {A "bad", IN, END - 1, .reason = REASON_POLICY_DENY_RULE, .rule = "no"},
        {A "bad", IN, END, VERDICT_ALLOW, .rule = "bad"},
        {A "bad", IN, INT64_MAX, VERDICT_ALLOW, .rule = "bad"},
        {A "x", IN, END - 1, .reason = REASON_POLICY_NO_RULE, .shadow_allow = "try",
         .shadow_verdict = VERDICT_ALLOW, .shadow_rule = "try"},
        {A "x", IN, END, .reason = REASON_POLICY_NO_RULE},
        {A "off", IN, END - 1, .reason = REASON_POLICY_NO_RULE},
    };
    assert_rows(ENDS, rows, COUNT_OF(rows));
}

static const char AUDIT[] =
    "enforcement: audit\n" HEAD
    "- {name: strict, accept: 'mtls://0.0.0.0:7', forward: 'tcp://[::1]:2', enforcement: enforce}\n"
    "rules:\n"
    "- {name: web, from: spiffe://a.example/web, to: all}\n"
    "- {name: no, action: deny, from: spiffe://a.example/bad, to: all}\n"
    "- {name: try-no, action: deny, from: spiffe://a.example/new, to: in, mode: shadow}\n"
    "- {name: try, from: spiffe://a.example/soon, to: in, mode: shadow}\n"
    "- {name: over, from: spiffe://a.example/over, to: in, expires: 2027-01-31}\n";

static void test_policy_audit_softens_no_rule_alone(void **state)
{
    (void)state;
    enum { STRICT = 4 };
    static const struct row rows[] = {
        {A "web", IN, .verdict = VERDICT_ALLOW, .rule = "web"},
        {A "who", IN, .verdict = VERDICT_ALLOW, .would_deny = true},
        {A "who", EDGE, .verdict = VERDICT_ALLOW, .would_deny = true},
        {A "who", BRIDGE, .verdict = VERDICT_ALLOW, .would_deny = true},
        /* the listener's own word counts over the file's */
        {A "who", STRICT, .reason = REASON_POLICY_NO_RULE},
        /* a written deny denies */
        {A "bad", IN, .reason = REASON_POLICY_DENY_RULE, .rule = "no"},
        {A "bad", BRIDGE, .reason = REASON_POLICY_DENY_RULE, .rule = "no"},
        /* shadow results are those of `enforce` */
        {A "new", IN, .verdict = VERDICT_ALLOW, .would_deny = true, .shadow_deny = "try-no",
         .shadow_verdict = VERDICT_DENY, .shadow_rule = "try-no"},
        {A "soon", IN, .verdict = VERDICT_ALLOW, .would_deny = true, .shadow_allow = "try",
         .shadow_verdict = VERDICT_ALLOW, .shadow_rule = "try"},
        {A "over", IN, END - 1, .verdict = VERDICT_ALLOW, .rule = "over", .until_s = END},
        {A "over", IN, END, .verdict = VERDICT_ALLOW, .would_deny = true},
    };
    assert_rows(AUDIT, rows, COUNT_OF(rows));
}

static void test_policy_audit_never_softens_expect(void **state)
{
    (void)state;
    struct text_policy p = policy_of(AUDIT);
    assert_true(expects(&p, A "pay", OUT));
    assert_true(expects(&p, A "pay", BRIDGE));
    assert_false(expects(&p, A "payx", OUT));
    assert_false(expects(&p, A "web", BRIDGE));
    /* of a listener without `expect` nothing is expected */
    assert_false(expects(&p, A "pay", IN));
    policy_end(&p);
}

static void test_policy_audit_never_admits_nobody(void **state)
{
    (void)state;
    struct text_policy p = policy_of(AUDIT);
    struct policy_input input = {.listener = IN};
    struct decision decision;
    policy_decide(p.policy, &input, &decision);
    assert_int_equal(decision.verdict, VERDICT_DENY);
    assert_false(decision.would_deny);
    policy_decide_upstream(p.policy, &input, &decision);
    assert_int_equal(decision.verdict, VERDICT_DENY);
    policy_end(&p);
}

static const uint8_t LEAF[QUARANTINE_SHA256_SIZE] = {0xab, 0xcd};
#define LEAF_ENTRY "sha256:abcd000000000000000000000000000000000000000000000000000000000000"

typedef void decide_fn(const struct policy *policy, const struct policy_input *input,
                       struct decision *decision);

static void assert_held(const struct text_policy *p, decide_fn *decide, struct policy_input *input,
                        const char *entry)
{
    struct decision decision;
    memset(&decision, 0xff, sizeof(decision));
    decide(p->policy, input, &decision);
    assert_int_equal(decision.verdict, VERDICT_DENY);
    assert_int_equal(decision.reason, REASON_POLICY_QUARANTINE);
    assert_string_equal(decision.quarantine, entry);
    assert_null(decision.rule);
    assert_false(decision.would_deny);
    assert_null(decision.shadow.allow);
    assert_null(decision.shadow.deny);
}

static void test_policy_quarantine_stands_above_all(void **state)
{
    (void)state;
    static const char *const entries[] = {A "web", A "ns/**", LEAF_ENTRY, A "pay"};
    static const struct {
        const char *id;
        const char *entry;
    } rows[] = {
        {A "web", A "web"},      /* a rule allows it */
        {A "ns/x/y", A "ns/**"}, /* audit would let it through */
        {"spiffe://b.example/any", LEAF_ENTRY},
        {A "pay", A "pay"}, /* `expect` names it */
    };
    struct text_policy p = policy_of(AUDIT);
    struct quarantine *quarantine = quarantine_build(entries, COUNT_OF(entries));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spiffe_id id;
        const char *why = NULL;
        assert_int_equal(spiffe_id_parse(strview_from(rows[i].id), &id, &why), 0);
        struct policy_input input = {.id = &id, .quarantine = quarantine};
        if (strcmp(rows[i].entry, LEAF_ENTRY) == 0) {
            input.leaf_sha256 = LEAF;
        }
        for (input.listener = IN; input.listener <= BRIDGE; input.listener++) {
            if (input.listener != OUT) {
                assert_held(&p, policy_decide, &input, rows[i].entry);
            }
            assert_held(&p, policy_decide_upstream, &input, rows[i].entry);
        }
    }
    quarantine_unref(quarantine);
    policy_end(&p);
}

static void test_policy_quarantine_holds_nobody_else(void **state)
{
    (void)state;
    static const char *const entries[] = {A "webb", A "we", A "web/**", "spiffe://b.example/web",
                                          LEAF_ENTRY};
    static const uint8_t other[QUARANTINE_SHA256_SIZE] = {0xab, 0xcc};
    struct text_policy p = policy_of(AUDIT);
    struct quarantine *quarantine = quarantine_build(entries, COUNT_OF(entries));
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(A "web"), &id, &why), 0);
    struct policy_input input = {.id = &id, .leaf_sha256 = other, .quarantine = quarantine};
    struct decision decision;
    policy_decide(p.policy, &input, &decision);
    assert_int_equal(decision.verdict, VERDICT_ALLOW);
    assert_null(decision.quarantine);
    /* A plaintext downstream is nobody that could be held: the server is asked about. */
    input = (struct policy_input){.listener = OUT, .quarantine = quarantine};
    policy_decide(p.policy, &input, &decision);
    assert_int_equal(decision.verdict, VERDICT_ALLOW);
    quarantine_unref(quarantine);
    policy_end(&p);
}

static void test_policy_explains_what_holds_and_what_ended(void **state)
{
    (void)state;
    struct text_policy p = policy_of(ENDS);
    assert_sentence(&p, A "once", IN, END - 1, "rule \"once\" allows it");
    assert_sentence(&p, A "once", IN, END,
                    "no rule matched; rule \"once\" allowed it until 2027-01-31T00:00:00Z");
    /* of several that ended, the first */
    assert_sentence(&p, A "job", IN, END + 86400,
                    "no rule matched; rule \"brief\" allowed it until 2027-01-31T00:00:00Z");
    assert_sentence(&p, A "bad", IN, END, "rule \"bad\" allows it");
    policy_end(&p);
    p = policy_of(AUDIT);
    assert_sentence(&p, A "wob", IN, 0,
                    "no rule matched; nearest: rule \"web\" differs in segment 1: \"wob\", not "
                    "\"web\"");
    assert_sentence(&p, A "bad", IN, 0, "deny rule \"no\" matched");
    policy_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_modes_decide_as_they_say),
        cmocka_unit_test(test_policy_rules_end_at_their_second),
        cmocka_unit_test(test_policy_audit_softens_no_rule_alone),
        cmocka_unit_test(test_policy_audit_never_softens_expect),
        cmocka_unit_test(test_policy_audit_never_admits_nobody),
        cmocka_unit_test(test_policy_quarantine_stands_above_all),
        cmocka_unit_test(test_policy_quarantine_holds_nobody_else),
        cmocka_unit_test(test_policy_explains_what_holds_and_what_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
