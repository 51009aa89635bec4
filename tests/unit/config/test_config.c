/* A whole file: what comes back when, what follows from other keys, and where paths start. */
#include "config/config.h"

#include <stdlib.h>
#include <unistd.h>

#include "unit/config/config_test.h"

static const char good[] =
    "version: 1\n"
    "identity: {files: {certificate: a.pem, private_key: /k/a.key}}\n"
    "trust: {prod.example: {bundle: ../b.pem}, x.example: {bundle: x.pem}}\n"
    "timeouts: {idle: 2h}\n"
    "listeners:\n"
    "- {name: in, accept: 'mtls://0.0.0.0:1', forward: 'tcp://127.0.0.1:2'}\n"
    "- name: out\n"
    "  accept: tcp://127.0.0.1:3\n"
    "  forward: mtls://a.b:4\n"
    "  expect: spiffe://prod.example/a\n"
    "  timeouts: {idle: 5s, connect: 1ms}\n"
    "- name: edge\n"
    "  accept: mtls://0.0.0.0:5\n"
    "  forward: mtls://a.b:4\n"
    "  expect: spiffe://prod.example/a\n"
    "rules: [{name: all, from: spiffe://prod.example/**, to: all}]\n";

struct parsed {
    struct diag_list diags;
    struct config *config;
};

static void parse(struct parsed *parsed, const char *name, const char *text)
{
    diag_list_init(&parsed->diags);
    parsed->config = config_parse(name, text, strlen(text), NULL, &parsed->diags);
}

static void parsed_fini(struct parsed *parsed)
{
    config_free(parsed->config);
    diag_list_fini(&parsed->diags);
}

static void test_config_of_a_good_file(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "/etc/bulkhead/main.yaml", good);
    static const char *const none[WANTED_MAX] = {NULL};
    assert_diags(&p.diags, none);
    const struct config *config = p.config;
    assert_true(config->valid);
    assert_string_equal(config->path, "/etc/bulkhead/main.yaml");
    assert_string_equal(config->identity.certificate.text, "/etc/bulkhead/a.pem");
    assert_string_equal(config->identity.private_key.text, "/k/a.key");
    assert_int_equal(config->identity.certificate.pos.line, 2);
    assert_int_equal(config->identity.certificate.pos.column, 33);
    assert_string_equal(config->trust[0].bundle.text, "/etc/bulkhead/../b.pem");
    assert_string_equal(config->trust[1].domain.text, "x.example");
    assert_int_equal(config->listener_count, 3);
    assert_int_equal(config->listeners[0].kind, CONFIG_KIND_TERMINATE);
    assert_int_equal(config->listeners[1].kind, CONFIG_KIND_ORIGINATE);
    assert_int_equal(config->listeners[2].kind, CONFIG_KIND_BRIDGE);
    parsed_fini(&p);
}

static void test_config_listener_timeouts_stand_over_those_of_the_file(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "f", good);
    assert_int_equal(p.config->listeners[0].timeouts.idle_ms, 7200000);
    assert_int_equal(p.config->listeners[0].timeouts.connect_ms, 5000);
    assert_int_equal(p.config->listeners[1].timeouts.idle_ms, 5000);
    assert_int_equal(p.config->listeners[1].timeouts.connect_ms, 1);
    assert_int_equal(p.config->listeners[1].timeouts.half_close_ms, 60000);
    parsed_fini(&p);
}

static void test_config_paths_start_at_the_file(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"f.yaml", "a.pem"},
        {"./f.yaml", "./a.pem"},
        {"/f.yaml", "//a.pem"},
        {"a/b/f", "a/b/a.pem"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct parsed p;
        parse(&p, rows[i][0], good);
        assert_string_equal(p.config->identity.certificate.text, rows[i][1]);
        parsed_fini(&p);
    }
}

static void test_config_of_rules_that_say_more(void **state)
{
    (void)state;
    static const char more[] =
        "- {name: try, action: deny, from: a, to: in, mode: shadow,\n"
        "   expires: 2027-01-31, owner: shop, note: why}\n"
        "- {name: old, from: a, to: in, mode: disabled,\n"
        "   expires: 2027-01-31T18:00:00+01:00}\n"
        "enforcement: audit\n"
        "quarantine: ['sha256:00', spiffe://x.example/*]\n"
        "quarantine_file: q.list\n"
        "tests:\n"
        "- {from: a, to: in, decision: allow}\n"
        "- {from: b, to: edge, decision: deny, rule: more, at: 2030-01-01}\n";
    char text[4096];
    (void)snprintf(text, sizeof(text),
                   "%.*srules:\n- {name: more, action: deny, from: b, to: edge}\n%s",
                   (int)(strstr(good, "rules:") - good), good, more);
    struct parsed p;
    parse(&p, "/etc/bulkhead/main.yaml", text);
    static const char *const none[WANTED_MAX] = {NULL};
    assert_diags(&p.diags, none);
    const struct config_rule *rule = &p.config->rules[1];
    assert_int_equal(rule->mode, CONFIG_MODE_SHADOW);
    assert_int_equal(rule->action, CONFIG_ACTION_DENY);
    assert_string_equal(rule->expires.text.text, "2027-01-31");
    assert_int_equal(rule->expires.s, 1801353600);
    assert_string_equal(rule->owner.text, "shop");
    assert_string_equal(rule->note.text, "why");
    assert_int_equal(p.config->rules[2].mode, CONFIG_MODE_DISABLED);
    assert_int_equal(p.config->rules[2].expires.s, 1801414800);
    assert_int_equal(p.config->enforcement, CONFIG_ENFORCEMENT_AUDIT);
    assert_int_equal(p.config->quarantine.count, 2);
    assert_string_equal(p.config->quarantine_file.text, "/etc/bulkhead/q.list");
    assert_int_equal(p.config->test_count, 2);
    const struct config_test *test = &p.config->tests[1];
    assert_string_equal(test->from.text, "b");
    assert_string_equal(test->to.text, "edge");
    assert_int_equal(test->decision, CONFIG_ACTION_DENY);
    assert_string_equal(test->rule.text, "more");
    assert_int_equal(test->at.s, 1893456000);
    assert_null(p.config->tests[0].rule.text);
    assert_null(p.config->tests[0].at.text.text);
    parsed_fini(&p);
}

static void test_config_listener_enforcement_stands_over_that_of_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        const char *listener;
        enum config_enforcement first;
        enum config_enforcement second;
    } rows[] = {
        {"enforce", "audit", CONFIG_ENFORCEMENT_AUDIT, CONFIG_ENFORCEMENT_ENFORCE},
        {"audit", "enforce", CONFIG_ENFORCEMENT_ENFORCE, CONFIG_ENFORCEMENT_AUDIT},
        {"audit", "audit", CONFIG_ENFORCEMENT_AUDIT, CONFIG_ENFORCEMENT_AUDIT},
        {"enforce", "enforce", CONFIG_ENFORCEMENT_ENFORCE, CONFIG_ENFORCEMENT_ENFORCE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        struct parsed p;
        (void)snprintf(text, sizeof(text),
                       "enforcement: %s\nlisteners:\n"
                       "- {name: a, accept: 'mtls://0.0.0.0:1', forward: 'tcp://127.0.0.1:2', "
                       "enforcement: %s}\n"
                       "- {name: b, accept: 'mtls://0.0.0.0:3', forward: 'tcp://127.0.0.1:2'}\n",
                       rows[i].file, rows[i].listener);
        parse(&p, "f", text);
        assert_int_equal(p.config->listeners[0].enforcement, rows[i].first);
        assert_int_equal(p.config->listeners[1].enforcement, rows[i].second);
        parsed_fini(&p);
    }
}

static void test_config_finds_listeners(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "f", good);
    assert_ptr_equal(config_find_listener(p.config, "edge"), &p.config->listeners[2]);
    assert_null(config_find_listener(p.config, "edg"));
    assert_null(config_find_listener(p.config, "all"));
    parsed_fini(&p);
}

static bool says(const struct diag_list *diags, const char *part)
{
    for (size_t i = 0; i < diags->count; i++) {
        if (strstr(diags->items[i].message, part) != NULL) {
            return true;
        }
    }
    return false;
}

static void test_config_is_never_valid_after_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool readable;
        const char *part;
    } rows[] = {
        {"", false, "the file is empty; the least that works is {version: 1"},
        {"# nothing\n", false, "the file is empty"},
        {"---\n...\n", false, "the file is empty"},
        {"x: [", false, "flow"},
        {"\xff", false, "UTF-8"},
        {"{}", true, "required key \"version\" is missing"},
        {"[]", true, "must be a map"},
        {"x", true, "must be a map"},
        {"*x", true, "aliases are refused"},
        {"version: 1\nversion: 1\n", true, "duplicate key"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct parsed p;
        parse(&p, "f", rows[i].text);
        print_message("%s\n", rows[i].text);
        assert_true(diag_has_errors(&p.diags));
        assert_true(says(&p.diags, rows[i].part));
        assert_int_equal(p.config != NULL, rows[i].readable);
        assert_true(p.config == NULL || !p.config->valid);
        parsed_fini(&p);
    }
}

/* The least file that the message for an empty one shows does load. */
static void test_config_least_file_is_valid(void **state)
{
    (void)state;
    struct parsed empty;
    parse(&empty, "f", "");
    const char *least = strchr(empty.diags.items[0].message, '{');
    assert_non_null(least);
    struct parsed p;
    parse(&p, "f", least);
    assert_non_null(p.config);
    assert_true(p.config->valid);
    assert_int_equal(p.diags.count, 0);
    parsed_fini(&p);
    parsed_fini(&empty);
}

/* Errors of another file in the same list are not this one's. */
static void test_config_counts_its_own_errors(void **state)
{
    (void)state;
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *bad = config_parse("bad", "x: 1", 4, NULL, &diags);
    struct config *fine = config_parse("good", good, strlen(good), NULL, &diags);
    assert_false(bad->valid);
    assert_true(fine->valid);
    assert_int_equal(fine->listeners[0].pos.file, 1);
    config_free(bad);
    config_free(fine);
    diag_list_fini(&diags);
}

static void test_config_load_reads_a_file_or_says_why_not(void **state)
{
    (void)state;
    char path[] = "/tmp/bulkhead-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, good, sizeof good - 1), (ssize_t)sizeof good - 1);
    close(fd);
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_load(path, NULL, &diags);
    assert_non_null(config);
    assert_true(config->valid);
    assert_string_equal(config->identity.certificate.text, "/tmp/a.pem");
    config_free(config);
    unlink(path);
    assert_null(config_load(path, NULL, &diags));
    assert_null(config_load("/tmp", NULL, &diags));
    assert_int_equal(diags.error_count, 2);
    assert_int_equal(diags.items[0].pos.line, 0);
    diag_list_fini(&diags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_of_a_good_file),
        cmocka_unit_test(test_config_listener_timeouts_stand_over_those_of_the_file),
        cmocka_unit_test(test_config_paths_start_at_the_file),
        cmocka_unit_test(test_config_of_rules_that_say_more),
        cmocka_unit_test(test_config_listener_enforcement_stands_over_that_of_the_file),
        cmocka_unit_test(test_config_finds_listeners),
        cmocka_unit_test(test_config_is_never_valid_after_an_error),
        cmocka_unit_test(test_config_least_file_is_valid),
        cmocka_unit_test(test_config_counts_its_own_errors),
        cmocka_unit_test(test_config_load_reads_a_file_or_says_why_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
