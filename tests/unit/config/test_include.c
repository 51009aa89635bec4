/* Included files: what is read, in what order, what may stand in them, and what they mean. */
#include "config/include.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/same.h"
#include "policy/policy.h"
#include "unit/config/config_test.h"

#define HEAD(include)                                                                     \
    "version: 1\n"                                                                        \
    "include: " include "\n"                                                              \
    "identity: {files: {certificate: a.pem, private_key: a.key}}\n"                       \
    "trust: {prod.example: {bundle: b.pem}}\n"                                            \
    "listeners: [{name: in, accept: 'mtls://0.0.0.0:1', forward: 'tcp://127.0.0.1:2'},\n" \
    "  {name: out, accept: 'tcp://127.0.0.1:3', forward: 'mtls://a.b:4',\n"               \
    "   expect: spiffe://prod.example/a}]\n"                                              \
    "rules: [{name: main, from: spiffe://prod.example/main, to: in}]\n"
#define RULE(name, to) "{name: " name ", from: spiffe://prod.example/x, to: " to "}"

struct site {
    char base[64];
    struct diag_list diags;
    struct config *config;
};

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Works in a directory of its own, so that the messages name files without a directory. */
static struct site *site_new(const char *main_text)
{
    static struct site site;
    site = (struct site){.base = "/tmp/bulkhead-include-XXXXXX"};
    assert_non_null(mkdtemp(site.base));
    assert_int_equal(chdir(site.base), 0);
    assert_int_equal(mkdir("rules.d", 0700), 0);
    put("main.yaml", main_text);
    diag_list_init(&site.diags);
    return &site;
}

static void load(struct site *site)
{
    config_free(site->config);
    diag_list_fini(&site->diags);
    diag_list_init(&site->diags);
    site->config = config_load("main.yaml", NULL, &site->diags);
    assert_non_null(site->config);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void site_end(struct site *site)
{
    config_free(site->config);
    diag_list_fini(&site->diags);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(nftw(site->base, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void assert_files(const struct config *config, const char *const *wanted, size_t count)
{
    assert_int_equal(config->file_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(config->files[i], wanted[i]);
    }
}

static void test_include_reads_files_in_order_and_once(void **state)
{
    (void)state;
    struct site *site = site_new(HEAD("[one.yaml, rules.d/*.yaml, rules.d/b.yaml]"));
    put("one.yaml", "rules: [" RULE("one", "in") "]");
    put("rules.d/b.yaml", "rules: [" RULE("b0", "in") ", " RULE("b1", "in") "]");
    put("rules.d/a.yaml", "rules: [" RULE("a", "all") "]");
    put("rules.d/c.yaml", "# nothing yet\n");
    put("rules.d/.hidden.yaml", "broken: [");
    put("rules.d/d.yaml~", "broken: [");
    load(site);
    static const char *const none[WANTED_MAX] = {NULL};
    assert_diags(&site->diags, none);
    assert_true(site->config->valid);
    static const char *const files[] = {"main.yaml", "one.yaml", "rules.d/a.yaml", "rules.d/b.yaml",
                                        "rules.d/c.yaml"};
    assert_files(site->config, files, COUNT_OF(files));
    static const char *const names[] = {"main", "one", "a", "b0", "b1"};
    assert_int_equal(site->config->rule_count, COUNT_OF(names));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_string_equal(site->config->rules[i].name.text, names[i]);
    }
    assert_int_equal(site->config->rules[4].pos.file, 3);
    assert_int_equal(site->config->directory_count, 1);
    assert_string_equal(site->config->directories[0].path, "rules.d");
    assert_string_equal(site->config->directories[0].pattern, "*.yaml");
    site_end(site);
}

static void test_include_names_the_right_file(void **state)
{
    (void)state;
    struct site *site = site_new(HEAD("[rules.d/*.yaml]"));
    put("rules.d/a.yaml", "rules:\n- {name: main, from: spiffe:/x, to: in}\n- {name: b, form: x, "
                          "from: [], to: out}\n");
    put("rules.d/b.yaml", "rules: [" RULE("b", "in") "]\nlisteners: []\ninclude: c.yaml\nrule: []");
    put("rules.d/c.yaml", "rules: [");
    load(site);
    policy_free(policy_load(site->config, &site->diags));
    diag_sort(&site->diags);
    static const char *const wanted[WANTED_MAX] = {
        "rules.d/a.yaml:2:10: error: rules[0].name: the name \"main\" stands in main.yaml:8 "
        "already",
        "rules.d/a.yaml:2:22: error: rules[0].from[0]: \"spiffe:/x\": must start with "
        "\"spiffe://\"",
        "rules.d/a.yaml:3:13: error: rules[1]: unknown key \"form\"; did you mean \"from\"?",
        "rules.d/a.yaml:3:28: warning: rules[1].from: is empty",
        "rules.d/a.yaml:3:36: error: rules[1].to[0]: \"out\" accepts plaintext",
        "rules.d/b.yaml:1:16: error: rules[0].name: the name \"b\" stands in rules.d/a.yaml:3 "
        "already",
        "rules.d/b.yaml:2:1: error: \"listeners\" stands in the main file only; an included file",
        "rules.d/b.yaml:3:1: error: \"include\" stands in the main file only; an included file",
        "rules.d/b.yaml:4:1: error: unknown key \"rule\"; did you mean \"rules\"?",
        "rules.d/c.yaml:2:1: error: ",
    };
    assert_diags(&site->diags, wanted);
    assert_false(site->config->valid);
    site_end(site);
}

static void test_include_of_what_is_not_there(void **state)
{
    (void)state;
    static const struct {
        const char *include;
        const char *wanted;
    } rows[] = {
        {HEAD("[rules.d/*.yaml]"),
         "main.yaml:2:11: warning: include: no file matches \"rules.d/*.yaml\""},
        {HEAD("nowhere/*.yaml"), "main.yaml:2:10: warning: include: no file matches"},
        {HEAD("nowhere.yaml"),
         "main.yaml:2:10: error: include: can't open \"nowhere.yaml\": No such file"},
        {HEAD("rules.d"), "main.yaml:2:10: error: include: "},
        {HEAD("main.yaml/*.yaml"), "main.yaml:2:10: error: include: main.yaml: Not a directory"},
        {HEAD("'*/x.yaml'"),
         "main.yaml:2:10: error: include: \"*/x.yaml\": only the file's name may be a pattern"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct site *site = site_new(rows[i].include);
        load(site);
        const char *const wanted[WANTED_MAX] = {rows[i].wanted};
        assert_diags(&site->diags, wanted);
        assert_int_equal(site->config->valid, strstr(rows[i].wanted, "warning") != NULL);
        site_end(site);
    }
}

static void test_include_leaves_out_what_is_for_others(void **state)
{
    (void)state;
    struct site *site = site_new(HEAD("rules.d/*.yaml"));
    put("rules.d/a.yaml", "rules:\n"
                          "- {name: a, from: spiffe://prod.example/x, to: [in, billing]}\n"
                          "- {name: b, from: spiffe://other.example/x, to: in}\n"
                          "- {name: c, action: deny, from: spiffe://prod.example/x, to: inn}\n"
                          "- {name: d, action: deny, from: spiffe://other.example/x, to: in}\n"
                          "- {name: e, action: deny, mode: shadow, from: spiffe://other.example/x,"
                          " to: in}\n");
    load(site);
    struct policy *policy = policy_load(site->config, &site->diags);
    assert_non_null(policy);
    diag_sort(&site->diags);
    static const char *const wanted[WANTED_MAX] = {
        "rules.d/a.yaml:2:53: note: rules[0].to[1]: has no effect: there is no listener "
        "\"billing\"",
        "rules.d/a.yaml:3:19: note: rules[1].from[0]: \"spiffe://other.example/x\": never "
        "matches: ",
        "rules.d/a.yaml:4:62: warning: rules[2].to[0]: denies nobody: there is no listener \"inn\" "
        "here; did you mean \"in\"?",
        "rules.d/a.yaml:5:33: warning: rules[3].from[0]: \"spiffe://other.example/x\": never",
        "rules.d/a.yaml:6:47: note: rules[4].from[0]: \"spiffe://other.example/x\": never",
    };
    assert_diags(&site->diags, wanted);
    assert_int_equal(site->diags.warning_count, 2);
    policy_free(policy);
    site_end(site);
}

/* What is shadowed or disabled denies nobody anywhere. */
static void test_include_warns_of_denies_that_are_enforced(void **state)
{
    (void)state;
    struct site *site = site_new(HEAD("rules.d/*.yaml"));
    put("rules.d/a.yaml",
        "rules:\n"
        "- {name: a, action: deny, from: spiffe://prod.example/x, to: inn}\n"
        "- {name: b, action: deny, mode: shadow, from: spiffe://prod.example/x, to: inn}\n"
        "- {name: c, action: deny, mode: disabled, from: spiffe://prod.example/x, to: inn}\n");
    load(site);
    static const char *const wanted[WANTED_MAX] = {
        "rules.d/a.yaml:2:62: warning: rules[0].to[0]: denies nobody: there is no listener \"inn\"",
        "rules.d/a.yaml:3:76: note: rules[1].to[0]: has no effect: there is no listener \"inn\"",
        "rules.d/a.yaml:4:78: note: rules[2].to[0]: has no effect: there is no listener \"inn\"",
    };
    assert_diags(&site->diags, wanted);
    assert_true(site->config->valid);
    site_end(site);
}

static void test_include_takes_quarantine_and_tests(void **state)
{
    (void)state;
    struct site *site = site_new(HEAD("rules.d/*.yaml") "quarantine: spiffe://prod.example/q0\n"
                                                        "tests: [{from: spiffe://prod.example/main,"
                                                        " to: in, decision: allow}]\n");
    put("rules.d/a.yaml", "quarantine: [spiffe://prod.example/q1, spiffe://prod.example/q2]\n"
                          "tests:\n"
                          "- {from: spiffe://prod.example/x, to: in, decision: allow, rule: b}\n"
                          "- {from: spiffe://prod.example/x, to: elsewhere, decision: allow, "
                          "rule: of-another}\n"
                          "- {from: spiffe://prod.example/x, to: imn, decision: deny}\n");
    put("rules.d/b.yaml", "quarantine: spiffe://prod.example/q3\nrules: [" RULE("b", "in") "]\n");
    load(site);
    /* Of what is for others nothing is said here: whoever runs the tests does. */
    static const char *const none[WANTED_MAX] = {NULL};
    assert_diags(&site->diags, none);
    assert_true(site->config->valid);
    static const char *const entries[] = {"q0", "q1", "q2", "q3"};
    assert_int_equal(site->config->quarantine.count, COUNT_OF(entries));
    for (size_t i = 0; i < COUNT_OF(entries); i++) {
        const char *text = site->config->quarantine.items[i].text;
        assert_string_equal(strrchr(text, '/') + 1, entries[i]);
    }
    assert_int_equal(site->config->quarantine.items[3].pos.file, 2);
    assert_int_equal(site->config->test_count, 4);
    assert_int_equal(site->config->tests[0].pos.file, 0);
    assert_int_equal(site->config->tests[1].pos.file, 1);
    site_end(site);
}

/* Errors anywhere leave what can be read of a quarantine, for the emergency brake. */
static void test_include_keeps_the_quarantine_after_errors(void **state)
{
    (void)state;
    struct site *site = site_new(HEAD("rules.d/*.yaml") "quarantine: spiffe://prod.example/q0\n");
    put("rules.d/a.yaml", "rules: 7\nquarantine: [[], spiffe://prod.example/q1, "
                          "'spiffe://${x}/q', spiffe://prod.example/q2, '']\n");
    put("rules.d/b.yaml", "rules: [\n");
    put("rules.d/c.yaml", "quarantine: spiffe://prod.example/q3\nnonsense: 1\n");
    load(site);
    static const char *const wanted[WANTED_MAX] = {
        "rules.d/a.yaml:1:8: error: rules: must be a list",
        "rules.d/a.yaml:2:14: error: quarantine[0]: must be text, not a list",
        "rules.d/a.yaml:2:44: error: quarantine[1]: \"spiffe://${x}/q\": unknown variable \"x\"",
        "rules.d/a.yaml:2:89: error: quarantine[4]: must not be empty",
        "rules.d/b.yaml:2:1: error: ",
        "rules.d/c.yaml:2:1: error: unknown key \"nonsense\"",
    };
    assert_diags(&site->diags, wanted);
    assert_false(site->config->valid);
    assert_int_equal(site->config->quarantine.count, 4);
    assert_true(site->config->quarantine.broken);
    assert_string_equal(site->config->quarantine.items[3].text, "spiffe://prod.example/q3");
    site_end(site);
}

static void test_include_shares_the_variables_of_the_main_file(void **state)
{
    (void)state;
    struct site *site =
        site_new("variables: {p: prod.example, unused: x.example}\n" HEAD("rules.d/*.yaml"));
    put("rules.d/a.yaml", "groups: {g: ['spiffe://${p}/g']}\n"
                          "rules: [{name: a, from: ['group:g', 'spiffe://${p}/x'], to: in}]\n"
                          "tests: [{from: 'spiffe://${p}/x', to: in, decision: allow}]\n");
    load(site);
    static const char *const wanted[WANTED_MAX] = {
        "main.yaml:1:30: warning: variables.unused: nothing uses it: there is no \"${unused}\""};
    assert_diags(&site->diags, wanted);
    assert_string_equal(site->config->rules[1].from.items[1].text, "spiffe://prod.example/x");
    assert_string_equal(site->config->groups[0].members.items[0].text, "spiffe://prod.example/g");
    assert_string_equal(site->config->tests[0].from.text, "spiffe://prod.example/x");
    put("rules.d/a.yaml", "variables: {q: x.example}\n"
                          "rules:\n- {name: a, from: 'spiffe://${p}/x', to: in}\n"
                          "- {name: b, from: ['spiffe://${p}/x', 'spiffe://${q}/x'], to: in}\n");
    load(site);
    static const char *const errors[WANTED_MAX] = {
        "rules.d/a.yaml:1:1: error: \"variables\" stands in the main file only; an included file "
        "holds `rules`, `groups`, `quarantine` and `tests`",
        "rules.d/a.yaml:4:39: error: rules[1].from[1]: \"spiffe://${q}/x\": unknown variable",
    };
    assert_diags(&site->diags, errors);
    site_end(site);
}

static void test_include_notes_groups_that_others_use(void **state)
{
    (void)state;
    struct site *site =
        site_new(HEAD("rules.d/*.yaml") "groups: {mine: spiffe://prod.example/m}\n");
    put("rules.d/a.yaml", "groups: {ours: spiffe://prod.example/o}\n");
    load(site);
    static const char *const wanted[WANTED_MAX] = {
        "main.yaml:9:10: warning: groups.mine: nobody uses it",
        "rules.d/a.yaml:1:10: note: groups.ours: nobody uses it",
    };
    assert_diags(&site->diags, wanted);
    site_end(site);
}

static void test_include_counts_as_text_of_the_configuration(void **state)
{
    (void)state;
    struct site *site = site_new(HEAD("rules.d/*.yaml"));
    put("rules.d/a.yaml", "rules: []\n");
    load(site);
    struct config *before = site->config;
    site->config = NULL;
    load(site);
    assert_true(config_same_text(before, site->config));
    put("rules.d/a.yaml", "rules: [" RULE("a", "in") "]\n");
    load(site);
    assert_false(config_same_text(before, site->config));
    put("rules.d/a.yaml", "rules: []\n");
    load(site);
    assert_true(config_same_text(before, site->config));
    put("rules.d/b.yaml", "");
    load(site);
    assert_false(config_same_text(before, site->config));
    config_free(before);
    site_end(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_include_reads_files_in_order_and_once),
        cmocka_unit_test(test_include_names_the_right_file),
        cmocka_unit_test(test_include_of_what_is_not_there),
        cmocka_unit_test(test_include_leaves_out_what_is_for_others),
        cmocka_unit_test(test_include_warns_of_denies_that_are_enforced),
        cmocka_unit_test(test_include_takes_quarantine_and_tests),
        cmocka_unit_test(test_include_keeps_the_quarantine_after_errors),
        cmocka_unit_test(test_include_shares_the_variables_of_the_main_file),
        cmocka_unit_test(test_include_notes_groups_that_others_use),
        cmocka_unit_test(test_include_counts_as_text_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
