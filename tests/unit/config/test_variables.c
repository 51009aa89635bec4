/* Variables: where one may stand, what comes of it, and what is said of the rest. */
#include "config/variables.h"

#include "unit/config/config_test.h"

/* Line 2 is the row's `variables`, line 3 the trust domain's key, line 8 a member of `from`. */
#define FILE_FORMAT                                                            \
    "version: 1\n"                                                             \
    "%s\n"                                                                     \
    "trust: {%s: {bundle: b.pem}}\n"                                           \
    "identity: {files: {certificate: a.pem, private_key: a.key}}\n"            \
    "listeners:\n"                                                             \
    "- {name: in, accept: 'mtls://0.0.0.0:1', forward: 'tcp://127.0.0.1:2'}\n" \
    "rules: [{name: web, to: in, from: [spiffe://prod.example/a,\n"            \
    " %s]}]\n"

#define VARIABLES "variables: {prod: prod.example, stage: stage.example}"

struct fixture {
    struct diag_list diags;
    struct config *config;
};

static void parse(struct fixture *f, const char *text, const struct config_variable_value *values,
                  size_t count)
{
    const struct config_options options = {.variables = values, .variable_count = count};
    diag_list_init(&f->diags);
    f->config = config_parse("f", text, strlen(text), &options, &f->diags);
    assert_non_null(f->config);
    assert_int_equal(f->config->valid, !diag_has_errors(&f->diags));
}

static void fixture_end(struct fixture *f)
{
    config_free(f->config);
    diag_list_fini(&f->diags);
}

static const char *const none[WANTED_MAX] = {NULL};

static void test_variables_stand_in_every_place_of_an_id(void **state)
{
    (void)state;
    static const char text[] =
        "version: 1\n"
        "variables: {prod: prod.example, partner: p.example}\n"
        "identity:\n"
        "  spiffe_id: spiffe://${prod}/own\n"
        "  files: {certificate: a.pem, private_key: a.key}\n"
        "trust:\n"
        "  ${prod}: {bundle: b.pem}\n"
        "  ${partner}: {bundle: c.pem, crl: c.crl}\n"
        "  x.example: {bundle: d.pem}\n"
        "listeners:\n"
        "- {name: in, accept: 'mtls://0.0.0.0:1', forward: 'tcp://127.0.0.1:2'}\n"
        "- name: out\n"
        "  accept: tcp://127.0.0.1:3\n"
        "  forward: mtls://a.b:4\n"
        "  expect: spiffe://${partner}/*/pay\n"
        "groups:\n"
        "  web: ['spiffe://${prod}/web/**', spiffe://x.example/web]\n"
        "rules:\n"
        "- {name: web, from: [group:web, 'spiffe://${prod}/w'], to: in}\n"
        "quarantine: ['spiffe://${partner}/wiki', 'sha256:00']\n"
        "tests: [{from: 'spiffe://${prod}/web/a', to: in, decision: allow}]\n";
    struct fixture f;
    parse(&f, text, NULL, 0);
    assert_diags(&f.diags, none);
    const struct config *config = f.config;
    assert_string_equal(config->identity.spiffe_id.text, "spiffe://prod.example/own");
    assert_string_equal(config->trust[0].domain.text, "prod.example");
    assert_string_equal(config->trust[1].domain.text, "p.example");
    assert_string_equal(config->trust[2].domain.text, "x.example");
    assert_string_equal(config->listeners[1].expect.items[0].text, "spiffe://p.example/*/pay");
    assert_string_equal(config->groups[0].members.items[0].text, "spiffe://prod.example/web/**");
    assert_string_equal(config->groups[0].members.items[1].text, "spiffe://x.example/web");
    assert_string_equal(config->rules[0].from.items[0].text, "group:web");
    assert_string_equal(config->rules[0].from.items[1].text, "spiffe://prod.example/w");
    assert_string_equal(config->quarantine.items[0].text, "spiffe://p.example/wiki");
    assert_string_equal(config->quarantine.items[1].text, "sha256:00");
    assert_string_equal(config->tests[0].from.text, "spiffe://prod.example/web/a");
    /* Places stay, and what was written is known still. */
    assert_int_equal(config->rules[0].from.items[1].pos.line, 19);
    assert_int_equal(config->rules[0].from.items[1].pos.column, 33);
    assert_string_equal(config->variables[0].name.text, "prod");
    assert_string_equal(config->variables[0].value.text, "prod.example");
    fixture_end(&f);
}

static void test_variables_are_a_trust_domain_alone(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024];
    (void)snprintf(text, sizeof(text), FILE_FORMAT, VARIABLES, "'${prod}'",
                   "'spiffe://${stage}', spiffe://prod.example/b");
    parse(&f, text, NULL, 0);
    assert_diags(&f.diags, none);
    assert_string_equal(f.config->rules[0].from.items[1].text, "spiffe://stage.example");
    fixture_end(&f);
}

static void test_variables_of_the_command_line_take_precedence(void **state)
{
    (void)state;
    static const struct config_variable_value values[] = {{"prod", "dev.example"},
                                                          {"more", "m.example"}};
    struct fixture f;
    char text[1024];
    (void)snprintf(text, sizeof(text), FILE_FORMAT, VARIABLES, "'${prod}'",
                   "'spiffe://${prod}/x', 'spiffe://${stage}/x', 'spiffe://${more}/x'");
    parse(&f, text, values, COUNT_OF(values));
    assert_diags(&f.diags, none);
    assert_string_equal(f.config->trust[0].domain.text, "dev.example");
    assert_string_equal(f.config->rules[0].from.items[1].text, "spiffe://dev.example/x");
    assert_string_equal(f.config->rules[0].from.items[2].text, "spiffe://stage.example/x");
    assert_string_equal(f.config->rules[0].from.items[3].text, "spiffe://m.example/x");
    fixture_end(&f);
}

/* One line is said of each, and the rest of the list stays. */
static void test_variables_elsewhere_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        const char *wanted;
    } rows[] = {
        {"'spiffe://${prod}x/a'", "a variable stands for a whole trust domain and for nothing"},
        {"'spiffe://x${prod}/a'", "a variable stands for a whole trust domain and for nothing"},
        {"'spiffe://${prod}.x/a'", "a variable stands for a whole trust domain and for nothing"},
        {"'spiffe://x.${prod}/a'", "a variable stands for a whole trust domain and for nothing"},
        {"'spiffe://${prod}${stage}/a'", "a variable stands for a whole trust domain"},
        {"'spiffe://${prod}${prod}'", "a variable stands for a whole trust domain"},
        {"'spiffe://${prod}/${stage}'", "a variable stands for a whole trust domain"},
        {"'spiffe://prod.example/${prod}'", "a variable stands for a whole trust domain"},
        {"'spiffe://prod.example/a/${prod}/*'", "a variable stands for a whole trust domain"},
        {"'spiffe://${prod}/a$'", "a variable stands for a whole trust domain"},
        {"'spiffe://${prod}:1/a'", "a variable stands for a whole trust domain"},
        {"'spiffe:/${prod}/a'", "a variable stands for a whole trust domain"},
        {"'SPIFFE://${prod}/a'", "a variable stands for a whole trust domain"},
        {"' spiffe://${prod}/a'", "a variable stands for a whole trust domain"},
        {"'${prod}'", "a variable stands for a whole trust domain"},
        {"'${prod}/a'", "a variable stands for a whole trust domain"},
        {"'group:${prod}'", "a variable stands for a whole trust domain"},
        {"'sha256:${prod}'", "a variable stands for a whole trust domain"},
        {"'spiffe://$prod/a'", "\"$\" begins a variable: write spiffe://${name}/..."},
        {"'spiffe://$/a'", "\"$\" begins a variable"},
        {"'spiffe://$(prod)/a'", "\"$\" begins a variable"},
        {"'spiffe://$$prod/a'", "\"$\" begins a variable"},
        {"'spiffe://$${prod}/a'", "\"$\" begins a variable"},
        {"'spiffe://prod.example/a$b'", "\"$\" begins a variable"},
        {"'spiffe://${prod/a'", "\"${\" lacks its \"}\": write spiffe://${name}/..."},
        {"'spiffe://${'", "\"${\" lacks its \"}\""},
        {"'spiffe://${}/a'", "\"${}\" lacks the variable's name"},
        {"'spiffe://${PROD}/a'", "unknown variable \"PROD\"; give its trust domain in `variables`"},
        {"'spiffe://${prodd}/a'", "unknown variable \"prodd\"; did you mean \"${prod}\"?"},
        {"'spiffe://${stage }/a'", "unknown variable \"stage \"; did you mean \"${stage}\"?"},
        {"'spiffe://${zz}/a'", "unknown variable \"zz\"; give its trust domain in `variables` of "
                               "the main file or by --var zz=..."},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        char text[1024];
        char line[512];
        char quoted[128];
        (void)snprintf(text, sizeof(text), FILE_FORMAT, VARIABLES, "prod.example", rows[i].member);
        (void)snprintf(quoted, sizeof(quoted), "%.*s", (int)strlen(rows[i].member) - 2,
                       rows[i].member + 1);
        (void)snprintf(line, sizeof(line), "f:8:2: error: rules[0].from[1]: \"%s\": %s", quoted,
                       rows[i].wanted);
        const char *const wanted[WANTED_MAX] = {line};
        parse(&f, text, NULL, 0);
        assert_diags(&f.diags, wanted);
        assert_int_equal(f.config->rules[0].from.count, 1);
        assert_true(f.config->rules[0].from.broken);
        fixture_end(&f);
    }
}

static void test_variables_as_keys_of_trust(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        const char *wanted;
    } rows[] = {
        {"'spiffe://${prod}'", "write ${name}"},
        {"'${prod}.x'", "write ${name}"},
        {"'x${prod}'", "write ${name}"},
        {"'${prod}${stage}'", "write ${name}"},
        {"'${prod}/a'", "write ${name}"},
        {"'$prod'", "\"$\" begins a variable: write ${name}"},
        {"'${prod'", "\"${\" lacks its \"}\": write ${name}"},
        {"'${prd}'", "unknown variable \"prd\"; did you mean \"${prod}\"?"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        char text[1024];
        (void)snprintf(text, sizeof(text), FILE_FORMAT, VARIABLES, rows[i].key,
                       "spiffe://prod.example/b");
        parse(&f, text, NULL, 0);
        print_message("%s\n", rows[i].key);
        assert_int_equal(f.diags.count, 1);
        assert_int_equal(f.diags.items[0].pos.line, 3);
        assert_int_equal(f.diags.items[0].pos.column, 9);
        assert_memory_equal(f.diags.items[0].message, "trust: \"", 8);
        assert_non_null(strstr(f.diags.items[0].message, rows[i].wanted));
        assert_int_equal(f.config->trust_count, 0);
        fixture_end(&f);
    }
}

static void test_variables_may_not_make_one_domain_of_two(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024];
    (void)snprintf(text, sizeof(text), FILE_FORMAT, "variables: {a: prod.example, b: prod.example}",
                   "'${a}': {bundle: a.pem}, x.example: {bundle: x.pem}, '${b}'", "x");
    static const char *const wanted[WANTED_MAX] = {
        "f:3:62: error: trust: \"prod.example\" stands on line 3 already; a trust domain has one "
        "bundle"};
    parse(&f, text, NULL, 0);
    assert_diags(&f.diags, wanted);
    fixture_end(&f);
}

static void test_variables_have_trust_domains_for_values(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *wanted; /* NULL: good */
    } rows[] = {
        {"a", NULL},
        {"a-b_c.d", NULL},
        {"10.0.0.1", NULL},
        {"Prod.example", "must be a trust domain: 1 to 255 of a-z"},
        {"a b", "must be a trust domain"},
        {"a/b", "must be a trust domain"},
        {"a:1", "must be a trust domain"},
        {"'*'", "must be a trust domain"},
        {"prod.*", "must be a trust domain"},
        {"spiffe://a", "write the trust domain alone, without spiffe://"},
        {"'${stage}'", "write the trust domain itself; a variable is not made of another"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        char text[1024];
        char variables[128];
        char line[256];
        (void)snprintf(variables, sizeof(variables), "variables: {x: %s}", rows[i].value);
        (void)snprintf(text, sizeof(text), FILE_FORMAT, variables, "prod.example",
                       "'spiffe://${x}/a', 'spiffe://${x}/b'");
        const char *bare = rows[i].value + (rows[i].value[0] == '\'');
        size_t len = strcspn(bare, "'");
        (void)snprintf(line, sizeof(line), "f:2:16: error: variables.x: \"%.*s\": %s", (int)len,
                       bare, rows[i].wanted == NULL ? "" : rows[i].wanted);
        const char *const wanted[WANTED_MAX] = {rows[i].wanted == NULL ? NULL : line};
        parse(&f, text, NULL, 0);
        assert_diags(&f.diags, wanted);
        /* Nothing is said again where a bad one is used. */
        assert_int_equal(f.config->rules[0].from.count, rows[i].wanted == NULL ? 3 : 1);
        fixture_end(&f);
    }
}

static void test_variables_with_values_of_a_wrong_kind(void **state)
{
    (void)state;
    static const struct {
        const char *variables;
        const char *wanted[WANTED_MAX];
    } rows[] = {
        {"variables: [x]", {"f:2:12: error: variables: must be a map with one key for each"}},
        {"variables: {x: }", {"f:2:16: error: variables.x: has no value"}},
        {"variables: {x: [a]}", {"f:2:16: error: variables.x: must be text, not a list"}},
        {"variables: {X: a}", {"f:2:13: error: variables.X: \"X\" must be 1 to 63 of a-z"}},
        {"variables: {x: a, x: b}", {"f:2:19: error: duplicate key \"x\""}},
        {"variables: {x: a}", {"f:2:13: warning: variables.x: nothing uses it"}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        char text[1024];
        (void)snprintf(text, sizeof(text), FILE_FORMAT, rows[i].variables, "prod.example",
                       "spiffe://prod.example/x");
        print_message("%s\n", rows[i].variables);
        parse(&f, text, NULL, 0);
        assert_diags(&f.diags, rows[i].wanted);
        fixture_end(&f);
    }
}

static void test_variables_of_the_command_line_that_are_wrong(void **state)
{
    (void)state;
    static const struct {
        struct config_variable_value value;
        const char *wanted[WANTED_MAX];
    } rows[] = {
        {{"prod", "Prod"}, {"f: error: --var prod: \"Prod\": must be a trust domain"}},
        {{"prod", ""}, {"f: error: --var prod: \"\": must be a trust domain"}},
        {{"prod", "spiffe://x"}, {"f: error: --var prod: \"spiffe://x\": write the trust domain"}},
        {{"other", "x.example"}, {"f: warning: --var other: nothing uses it"}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        char text[1024];
        (void)snprintf(text, sizeof(text), FILE_FORMAT, VARIABLES, "prod.example",
                       "'spiffe://${prod}/x', 'spiffe://${stage}/x'");
        parse(&f, text, &rows[i].value, 1);
        assert_diags(&f.diags, rows[i].wanted);
        fixture_end(&f);
    }
}

/* An error elsewhere may be why nothing uses it. */
static void test_variables_unused_are_not_told_after_errors(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024];
    (void)snprintf(text, sizeof(text), FILE_FORMAT, VARIABLES, "prod.example",
                   "'spiffe://${prod}/x', 'spiffe://${stge}/x'");
    static const char *const wanted[WANTED_MAX] = {"f:8:24: error: rules[0].from[2]: "};
    parse(&f, text, NULL, 0);
    assert_diags(&f.diags, wanted);
    fixture_end(&f);
}

/* The emergency brake: what is broken in a quarantine holds nothing else of it back. */
static void test_variables_unknown_in_a_quarantine_leave_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   FILE_FORMAT "quarantine: ['spiffe://prod.example/a', 'spiffe://${x}/b', "
                               "'spiffe://${prod}/c']\n",
                   "variables: {prod: prod.example}", "prod.example", "x");
    static const char *const wanted[WANTED_MAX] = {
        "f:9:41: error: quarantine[1]: \"spiffe://${x}/b\": unknown variable \"x\""};
    parse(&f, text, NULL, 0);
    assert_diags(&f.diags, wanted);
    assert_int_equal(f.config->quarantine.count, 2);
    assert_string_equal(f.config->quarantine.items[0].text, "spiffe://prod.example/a");
    assert_string_equal(f.config->quarantine.items[1].text, "spiffe://prod.example/c");
    fixture_end(&f);
}

static void test_variables_are_named_where_they_stand(void **state)
{
    (void)state;
    static const char text[] =
        "version: 1\n"
        "identity: {spiffe_id: 'spiffe://${x}/a', files: {certificate: a.pem, private_key: a}}\n"
        "trust: {prod.example: {bundle: b.pem}}\n"
        "listeners:\n"
        "- {name: in, accept: 'mtls://0.0.0.0:1', forward: 'tcp://127.0.0.1:2'}\n"
        "- {name: out, accept: 'tcp://127.0.0.1:1', forward: 'mtls://a.b:2',\n"
        "   expect: 'spiffe://${x}/b'}\n"
        "groups: {g: [spiffe://prod.example/c, 'spiffe://${x}/c']}\n"
        "rules: [{name: r, from: 'group:g', to: in}]\n"
        "tests:\n"
        "- {from: spiffe://prod.example/c, to: in, decision: allow}\n"
        "- {from: 'spiffe://${x}/c', to: in, decision: allow}\n";
    static const char *const wanted[WANTED_MAX] = {
        "f:2:23: error: identity.spiffe_id: \"spiffe://${x}/a\": unknown variable",
        "f:7:12: error: listeners[1].expect[0]: \"spiffe://${x}/b\": unknown variable",
        "f:8:39: error: groups.g[1]: \"spiffe://${x}/c\": unknown variable",
        "f:12:10: error: tests[1].from: \"spiffe://${x}/c\": unknown variable",
    };
    struct fixture f;
    parse(&f, text, NULL, 0);
    assert_diags(&f.diags, wanted);
    assert_null(f.config->identity.spiffe_id.text);
    assert_null(f.config->tests[1].from.text);
    fixture_end(&f);
}

static void test_variables_inside_brackets_want_quotes(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "rules: [{name: a, from: [spiffe://${x}/a], to: in}]\n",
        "rules:\n- {name: a, from: spiffe://${x}/a, to: in}\n",
        "trust: {${x}: {bundle: b}}\n",
        "groups: {g: [group:a, spiffe://${x}/a]}\n",
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct diag_list diags;
        diag_list_init(&diags);
        print_message("%s", rows[i]);
        assert_null(config_parse("f", rows[i], strlen(rows[i]), NULL, &diags));
        assert_int_equal(diags.count, 1);
        assert_string_equal(diags.items[0].message, "quote what holds a variable inside [ ] or "
                                                    "{ }: \"spiffe://${name}/...\"");
        diag_list_fini(&diags);
    }
}

static void test_variables_make_no_names_of_files_or_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *wanted;
    } rows[] = {
        {"include: '${prod}/*.yaml'", "f:2:10: error: include: \"${prod}/*.yaml\" holds a var"},
        {"access_log: {to: './${prod}'}", "f:2:18: error: access_log.to: \"./${prod}\" holds a "
                                          "variable, which stands for the trust domain of a SPIFF"},
        {"quarantine_file: '/etc/${prod}'", "f:2:18: error: quarantine_file: \"/etc/${prod}\" hol"},
        {"admin: {listen: 'unix:///${prod}'}", "f:2:17: error: admin.listen: \"unix:///${prod}\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        char text[1024];
        const char *const wanted[WANTED_MAX] = {rows[i].wanted};
        (void)snprintf(text, sizeof(text), FILE_FORMAT, rows[i].line, "prod.example", "x");
        parse(&f, text, NULL, 0);
        assert_diags(&f.diags, wanted);
        fixture_end(&f);
    }
}

/* In a file's name and in free text "$" is a character like others. */
static void test_variables_are_of_ids_alone(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024];
    (void)snprintf(text, sizeof(text), FILE_FORMAT, "access_log: {to: './$x.log'}", "prod.example",
                   "x], note: 'costs $5 ${prod}', owner: '$x'}, {name: b, to: in, from: [x");
    parse(&f, text, NULL, 0);
    assert_diags(&f.diags, none);
    assert_string_equal(f.config->rules[0].note.text, "costs $5 ${prod}");
    fixture_end(&f);
}

static void test_variables_option(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *name;  /* NULL: refused */
        const char *value; /* or a part of why */
    } rows[] = {
        {"a=b", "a", "b"},
        {"a-1.x_=b=c", "a-1.x_", "b=c"},
        {"a=", "a", ""},
        {"a", NULL, "must be NAME=VALUE"},
        {"", NULL, "must be NAME=VALUE"},
        {"=b", NULL, "the name must be 1 to 63"},
        {"A=b", NULL, "the name must be 1 to 63"},
        {"${a}=b", NULL, "the name must be 1 to 63"},
        {"-a=b", NULL, "the name must be 1 to 63"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=b", NULL, "1 to 63"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct variables_option option;
        struct errbuf err;
        print_message("%s\n", rows[i].text);
        int result = variables_option_parse(rows[i].text, &option, &err);
        assert_int_equal(result, rows[i].name == NULL ? -1 : 0);
        if (result == 0) {
            assert_string_equal(option.name, rows[i].name);
            assert_string_equal(option.value, rows[i].value);
        } else {
            assert_non_null(strstr(err.text, rows[i].value));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variables_stand_in_every_place_of_an_id),
        cmocka_unit_test(test_variables_are_a_trust_domain_alone),
        cmocka_unit_test(test_variables_of_the_command_line_take_precedence),
        cmocka_unit_test(test_variables_elsewhere_are_refused),
        cmocka_unit_test(test_variables_as_keys_of_trust),
        cmocka_unit_test(test_variables_may_not_make_one_domain_of_two),
        cmocka_unit_test(test_variables_have_trust_domains_for_values),
        cmocka_unit_test(test_variables_with_values_of_a_wrong_kind),
        cmocka_unit_test(test_variables_of_the_command_line_that_are_wrong),
        cmocka_unit_test(test_variables_unused_are_not_told_after_errors),
        cmocka_unit_test(test_variables_unknown_in_a_quarantine_leave_the_rest),
        cmocka_unit_test(test_variables_are_named_where_they_stand),
        cmocka_unit_test(test_variables_inside_brackets_want_quotes),
        cmocka_unit_test(test_variables_make_no_names_of_files_or_addresses),
        cmocka_unit_test(test_variables_are_of_ids_alone),
        cmocka_unit_test(test_variables_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
