/* `tests` of a configuration: what passes, how one that fails is told, and what is left out. */
#include "policy/policy_tests.h"

#include "unit/policy/policy_text.h"

#define RULES                                                                               \
    "rules:\n"                                                                              \
    "- {name: web, from: spiffe://a.example/web, to: in}\n"                                 \
    "- {name: no, action: deny, from: 'spiffe://a.example/bad/**', to: all}\n"              \
    "- {name: brief, from: spiffe://a.example/job, to: in, expires: 2027-01-31}\n"          \
    "- {name: try, from: spiffe://a.example/new, to: in, mode: shadow}\n"                   \
    "- {name: try-no, action: deny, from: spiffe://a.example/web, to: all, mode: shadow}\n" \
    "- {name: api, from: spiffe://a.example/api, to: edge}\n"

struct outcome {
    struct text_policy p;
    struct policy_tests_result result;
};

static struct outcome run(const char *text)
{
    struct outcome o = {.p = policy_of(text)};
    assert_non_null(o.p.policy);
    size_t before = o.p.diags.test_count;
    o.result = policy_tests_run(o.p.policy, &o.p.diags);
    assert_int_equal(o.p.diags.test_count - before, o.result.failed);
    assert_int_equal(o.p.diags.error_count, 0);
    diag_sort(&o.p.diags);
    return o;
}

static void assert_result(const struct outcome *o, size_t passed, size_t failed, size_t skipped)
{
    for (size_t i = 0; i < o->p.diags.count; i++) {
        print_message("%s\n", o->p.diags.items[i].message);
    }
    assert_int_equal(o->result.passed, passed);
    assert_int_equal(o->result.failed, failed);
    assert_int_equal(o->result.skipped, skipped);
}

static void test_policy_tests_pass(void **state)
{
    (void)state;
    struct outcome o = run(
        POLICY_HEAD("spiffe://a.example/pay") RULES
        "tests:\n"
        "- {from: spiffe://a.example/web, to: in, decision: allow}\n"
        "- {from: spiffe://a.example/web, to: in, decision: allow, rule: web}\n"
        "- {from: spiffe://a.example/web, to: edge, decision: deny}\n"
        "- {from: spiffe://a.example/bad/x, to: in, decision: deny, rule: 'no'}\n"
        "- {from: spiffe://a.example/new, to: in, decision: deny}\n"
        /* time does not count, unless a test says so */
        "- {from: spiffe://a.example/job, to: in, decision: allow, rule: brief}\n"
        "- {from: spiffe://a.example/job, to: in, decision: allow, at: '2027-01-30T23:59:59Z'}\n"
        "- {from: spiffe://a.example/job, to: in, decision: deny, at: 2027-01-31}\n");
    assert_result(&o, 8, 0, 0);
    static const char *const none[] = {NULL};
    assert_says(&o.p, none);
    policy_end(&o.p);
}

static void test_policy_tests_without_any_pass(void **state)
{
    (void)state;
    struct outcome o = run(POLICY_HEAD("spiffe://a.example/pay") RULES);
    assert_result(&o, 0, 0, 0);
    policy_end(&o.p);
}

/* What is asked, and what is said; the test is in line 16. */
static const struct {
    const char *test;
    const char *says;
} failing[] = {
    {"from: spiffe://a.example/wob, to: in, decision: allow",
     "16:3: error: tests[0]: \"spiffe://a.example/wob\" to \"in\" must be allowed, but is denied: "
     "no rule matched; nearest: rule \"web\" differs in segment 1: \"wob\", not \"web\""},
    {"from: spiffe://a.example/web, to: edge, decision: allow",
     "16:3: error: tests[0]: \"spiffe://a.example/web\" to \"edge\" must be allowed, but is "
     "denied: no rule matched; rule \"web\" allows this ID, but not on listener \"edge\""},
    {"from: spiffe://a.example/web, to: in, decision: deny",
     "16:3: error: tests[0]: \"spiffe://a.example/web\" to \"in\" must be denied, but is allowed: "
     "rule \"web\" allows it (f:9)"},
    {"from: spiffe://a.example/bad/x, to: in, decision: allow",
     "16:3: error: tests[0]: \"spiffe://a.example/bad/x\" to \"in\" must be allowed, but is "
     "denied: deny rule \"no\" matched (f:10)"},
    {"from: spiffe://a.example/job, to: in, decision: allow, at: 2027-01-31",
     "16:3: error: tests[0]: \"spiffe://a.example/job\" to \"in\" must be allowed, but is denied: "
     "no rule matched; rule \"brief\" allowed it until 2027-01-31T00:00:00Z"},
    {"from: spiffe://a.example/job, to: in, decision: deny",
     "16:3: error: tests[0]: \"spiffe://a.example/job\" to \"in\" must be denied, but is allowed: "
     "rule \"brief\" allows it (f:11)"},
    {"from: spiffe://a.example/new, to: in, decision: allow",
     "16:3: error: tests[0]: \"spiffe://a.example/new\" to \"in\" must be allowed, but is denied"},
    {"from: spiffe://a.example/web, to: in, decision: allow, rule: brief",
     "16:65: error: tests[0]: \"spiffe://a.example/web\" to \"in\" must be allowed by rule "
     "\"brief\", but another decided: rule \"web\" allows it (f:9)"},
    {"from: spiffe://a.example/x, to: in, decision: deny, rule: 'no'",
     "16:62: error: tests[0]: \"spiffe://a.example/x\" to \"in\" must be denied by rule \"no\", "
     "but none decided: no rule matched; nearest: rule \"web\""},
    /* the decision first, then who made it */
    {"from: spiffe://a.example/web, to: in, decision: deny, rule: 'no'",
     "16:3: error: tests[0]: \"spiffe://a.example/web\" to \"in\" must be denied, but is allowed"},
};

static void test_policy_tests_say_what_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(failing); i++) {
        char text[4096];
        (void)snprintf(text, sizeof(text), "%s" RULES "tests:\n- {%s}\n",
                       POLICY_HEAD("spiffe://a.example/pay"), failing[i].test);
        struct outcome o = run(text);
        assert_result(&o, 0, 1, 0);
        char said[1024];
        diag_format(&o.p.diags, &o.p.diags.items[0], said, sizeof(said));
        print_message("said %s\n", said);
        assert_int_equal(strncmp(said + 2, failing[i].says, strlen(failing[i].says)), 0);
        policy_end(&o.p);
    }
}

/* An `audit` and a quarantine change nothing of what the rules say. */
static void test_policy_tests_judge_the_rules_alone(void **state)
{
    (void)state;
    struct outcome o = run("enforcement: audit\n" POLICY_HEAD("spiffe://a.example/pay") RULES
                           "quarantine: [spiffe://a.example/web]\n"
                           "tests:\n"
                           "- {from: spiffe://a.example/web, to: in, decision: allow, rule: web}\n"
                           "- {from: spiffe://a.example/x, to: in, decision: deny}\n"
                           "- {from: spiffe://a.example/x, to: in, decision: allow}\n");
    assert_result(&o, 2, 1, 0);
    assert_non_null(strstr(o.p.diags.items[0].message, "must be allowed, but is denied: no rule"));
    policy_end(&o.p);
}

static const struct {
    const char *from;
    const char *says;
} wrong_ids[] = {
    {"group:g", "write one SPIFFE ID in full, no pattern and no group"},
    {"'spiffe://a.example/*'", "write one SPIFFE ID in full, no pattern and no group"},
    {"'spiffe://a.example/**'", "write one SPIFFE ID in full, no pattern and no group"},
    {"spiffe://a.example", "an ID of a workload has a path"},
    {"a.example/web", "tests[1].from: \"a.example/web\": "},
    {"spiffe://A.example/web", "tests[1].from: \"spiffe://A.example/web\": "},
    {"spiffe://a.example/web/", "tests[1].from: \"spiffe://a.example/web/\": "},
};

static void test_policy_refuses_tests_of_no_id(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong_ids); i++) {
        char text[4096];
        (void)snprintf(text, sizeof(text),
                       "%s" RULES "groups: {g: spiffe://a.example/g}\n"
                       "tests:\n- {from: spiffe://a.example/x, to: in, decision: deny}\n"
                       "- {from: %s, to: in, decision: deny}\n",
                       POLICY_HEAD("spiffe://a.example/pay"), wrong_ids[i].from);
        struct text_policy p = policy_of(text);
        assert_null(p.policy);
        assert_int_equal(p.diags.error_count, 1);
        bool found = false;
        for (size_t k = 0; k < p.diags.count; k++) {
            print_message("%s\n", p.diags.items[k].message);
            found |= p.diags.items[k].severity == DIAG_ERROR &&
                     strstr(p.diags.items[k].message, wrong_ids[i].says) != NULL;
        }
        assert_true(found);
        policy_end(&p);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A folder of rules may be shared: what is about somebody else is left out there, with a note. */
static void test_policy_tests_of_included_files_may_be_about_others(void **state)
{
    (void)state;
    char directory[] = "/tmp/bulkhead-tests-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char main_path[64];
    char part_path[64];
    (void)snprintf(main_path, sizeof(main_path), "%s/main.yaml", directory);
    (void)snprintf(part_path, sizeof(part_path), "%s/part.yaml", directory);
    write_file(main_path, POLICY_HEAD("spiffe://a.example/pay") RULES
               "include: part.yaml\n"
               "tests:\n"
               "- {from: spiffe://c.example/web, to: in, decision: deny}\n");
    write_file(part_path, "tests:\n"
                          "- {from: spiffe://a.example/web, to: elsewhere, decision: allow}\n"
                          "- {from: spiffe://c.example/web, to: in, decision: allow}\n"
                          "- {from: spiffe://a.example/web, to: in, decision: deny}\n");
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_load(main_path, NULL, &diags);
    assert_non_null(config);
    assert_true(config->valid);
    struct policy *policy = policy_load(config, &diags);
    assert_non_null(policy);
    struct policy_tests_result result = policy_tests_run(policy, &diags);
    assert_int_equal(result.passed, 1);
    assert_int_equal(result.failed, 1);
    assert_int_equal(result.skipped, 2);
    static const char *const wanted[] = {
        "main.yaml:17:10: warning: tests[0].from: no peer has this ID: `trust` has no bundle for "
        "\"c.example\"",
        "part.yaml:2:38: note: tests[0].to: has no effect: there is no listener \"elsewhere\" here",
        "part.yaml:3:10: note: tests[1].from: has no effect: `trust` has no bundle for "
        "\"c.example\" here",
        "part.yaml:4:3: error: tests[2]: \"spiffe://a.example/web\" to \"in\" must be denied, but "
        "is allowed: rule \"web\" allows it (",
    };
    diag_sort(&diags);
    size_t seen = 0;
    for (size_t i = 0; i < diags.count; i++) {
        char text[1024];
        diag_format(&diags, &diags.items[i], text, sizeof(text));
        print_message("%s\n", text);
        if (strstr(text, "tests[") != NULL) {
            assert_true(seen < COUNT_OF(wanted));
            assert_non_null(strstr(text, wanted[seen]));
            seen++;
        }
    }
    assert_int_equal(seen, COUNT_OF(wanted));
    policy_free(policy);
    config_free(config);
    diag_list_fini(&diags);
    assert_int_equal(remove(main_path), 0);
    assert_int_equal(remove(part_path), 0);
    assert_int_equal(remove(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policy_tests_pass),
        cmocka_unit_test(test_policy_tests_without_any_pass),
        cmocka_unit_test(test_policy_tests_say_what_fails),
        cmocka_unit_test(test_policy_tests_judge_the_rules_alone),
        cmocka_unit_test(test_policy_refuses_tests_of_no_id),
        cmocka_unit_test(test_policy_tests_of_included_files_may_be_about_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
