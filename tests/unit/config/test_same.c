/* same: each key that is changed makes a difference, places in the file make none. */
#include "config/same.h"

#include <unistd.h>

#include "unit/config/config_test.h"

static const char head[] = "version: 1\n"
                           "identity: {files: {certificate: a.pem, private_key: a.key}}\n"
                           "trust: {prod.example: {bundle: b.pem}}\n";

#define LISTENERS  \
    "listeners:\n" \
    "- {name: in, accept: 'mtls://127.0.0.1:1', forward: 'tcp://127.0.0.1:2'}\n"

static struct config *parse_at(const char *path, const char *text)
{
    char all[4096];
    struct diag_list diags;
    diag_list_init(&diags);
    int len = snprintf(all, sizeof(all), "%s%s", head, text);
    assert_true(len > 0 && (size_t)len < sizeof(all));
    struct config *config = config_parse(path, all, (size_t)len, NULL, &diags);
    assert_int_equal(diags.error_count, 0);
    assert_non_null(config);
    diag_list_fini(&diags);
    return config;
}

static struct config *parse(const char *text)
{
    return parse_at("test", text);
}

static void test_same_listener(void **state)
{
    (void)state;
#define BASE "name: in, accept: 'mtls://127.0.0.1:1', forward: 'mtls://127.0.0.1:2', expect: "
    static const char *const rows[] = {
        BASE "[spiffe://prod.example/a]",
        BASE "[spiffe://prod.example/b]",
        BASE "[spiffe://prod.example/a, spiffe://prod.example/b]",
        BASE "[spiffe://prod.example/b, spiffe://prod.example/a]",
        BASE "[spiffe://prod.example/a], alpn: [h2]",
        BASE "[spiffe://prod.example/a], alpn: [h2], alpn_required: true",
        BASE "[spiffe://prod.example/a], max_age: 1h",
        BASE "[spiffe://prod.example/a], max_age: 2h",
        BASE "[spiffe://prod.example/a], max_age: 1h, close_on_expiry: false",
        BASE "[spiffe://prod.example/a], timeouts: {idle: 1m}",
        BASE "[spiffe://prod.example/a], timeouts: {connect: 1m}",
        BASE "[spiffe://prod.example/a], limits: {connections: 1}",
        BASE "[spiffe://prod.example/a], limits: {buffered: 1MiB}",
        BASE "[spiffe://prod.example/a], sni: x.example",
        BASE "[spiffe://prod.example/a], truncation: tolerate",
        BASE "[spiffe://prod.example/a], tcp_congestion: cubic",
        BASE "[spiffe://prod.example/a], resumption: none",
        BASE "[spiffe://prod.example/a], enforcement: audit",
        BASE "[spiffe://prod.example/a], proxy_protocol: v2",
        BASE "[spiffe://prod.example/a], proxy_protocol: v2, proxy_protocol_certificate: true",
        "name: in, accept: 'mtls://127.0.0.1:3', forward: 'mtls://127.0.0.1:2', "
        "expect: spiffe://prod.example/a",
        "name: in, accept: 'mtls+unix:///x', forward: 'tcp://127.0.0.1:2', socket: {mode: '0660'}",
        "name: in, accept: 'mtls+unix:///x', forward: 'tcp://127.0.0.1:2', socket: {mode: '0600'}",
        "name: in, accept: 'mtls+unix:///x', forward: 'tcp://127.0.0.1:2', "
        "socket: {mode: '0660', owner: '0'}",
    };
#undef BASE
    struct config *configs[COUNT_OF(rows)];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text), "listeners:\n- {%s}\n", rows[i]);
        configs[i] = parse(text);
        struct config *again = parse(text);
        assert_true(config_same_listener(&configs[i]->listeners[0], &again->listeners[0]));
        config_free(again);
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t k = 0; k < COUNT_OF(rows); k++) {
            bool same = config_same_listener(&configs[i]->listeners[0], &configs[k]->listeners[0]);
            if (same != (i == k)) {
                fail_msg("%s\n%s", rows[i], rows[k]);
            }
        }
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        config_free(configs[i]);
    }
}

static void test_same_rule(void **state)
{
    (void)state;
    struct config *config =
        parse(LISTENERS "rules:\n"
                        "- {name: a, from: spiffe://prod.example/x, to: in}\n"
                        "- {name: b, from: spiffe://prod.example/x, to: in}\n"
                        "- {name: c, from: spiffe://prod.example/y, to: in}\n"
                        "- {name: d, from: spiffe://prod.example/x, to: all}\n"
                        "- {name: e, from: spiffe://prod.example/x, to: in, action: deny}\n");
    struct config *moved =
        parse("\n\n" LISTENERS "rules:\n"
              "- to:   [in]\n  from: [\"spiffe://prod.example/x\"]\n  name: a\n  action: allow\n");
    const struct config_rule *rules = config->rules;
    assert_true(config_same_rule(&rules[0], &moved->rules[0]));
    for (size_t i = 1; i < config->rule_count; i++) {
        assert_false(config_same_rule(&rules[0], &rules[i]));
    }
    config_free(config);
    config_free(moved);
}

static void test_same_rule_by_mode_and_expires(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "mode: shadow",
        "mode: disabled",
        "expires: 2027-01-31",
        "expires: 2027-02-01",
        "expires: 1970-01-01", /* not the same as none */
        "mode: shadow, expires: 2027-01-31",
        "action: deny, mode: shadow",
    };
    struct config *configs[COUNT_OF(rows)];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text),
                       LISTENERS "rules: [{name: a, from: spiffe://prod.example/x, to: in, %s}]\n",
                       rows[i]);
        configs[i] = parse(text);
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t k = 0; k < COUNT_OF(rows); k++) {
            bool same = config_same_rule(&configs[i]->rules[0], &configs[k]->rules[0]);
            if (same != (i == k)) {
                fail_msg("%s\n%s", rows[i], rows[k]);
            }
        }
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        config_free(configs[i]);
    }
}

/* One moment may be written in several ways, and what is for people changes nothing. */
static void test_same_rule_in_other_words(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "mode: enforce, expires: 2027-01-31",
        "expires: '2027-01-31'",
        "expires: 2027-01-31T00:00:00Z",
        "expires: 2027-01-31T01:00+01:00",
        "expires: 2027-01-31, owner: shop",
        "expires: 2027-01-31, owner: shop-team, note: until then",
    };
    struct config *first = NULL;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text),
                       LISTENERS "rules: [{name: a, from: spiffe://prod.example/x, to: in, %s}]\n",
                       rows[i]);
        struct config *config = parse(text);
        print_message("%s\n", rows[i]);
        if (first == NULL) {
            first = config;
            continue;
        }
        assert_true(config_same_rule(&first->rules[0], &config->rules[0]));
        config_free(config);
    }
    config_free(first);
}

/* What a variable stands for counts, not its name. */
static void test_same_rule_with_variables(void **state)
{
    (void)state;
#define RULES(td) LISTENERS "rules: [{name: a, from: '" td "', to: in}]\n"
    struct config *plain = parse(RULES("spiffe://prod.example/x"));
    struct config *same = parse("variables: {p: prod.example}\n" RULES("spiffe://${p}/x"));
    struct config *other = parse("variables: {p: x.example}\n" RULES("spiffe://${p}/x"));
#undef RULES
    assert_true(config_same_rule(&plain->rules[0], &same->rules[0]));
    assert_false(config_same_rule(&plain->rules[0], &other->rules[0]));
    config_free(plain);
    config_free(same);
    config_free(other);
}

static void test_same_text(void **state)
{
    (void)state;
    struct config *one = parse(LISTENERS);
    struct config *two = parse(LISTENERS);
    struct config *other = parse(LISTENERS "# a word\n");
    assert_true(config_same_text(one, two));
    assert_false(config_same_text(one, other));
    config_free(one);
    config_free(two);
    config_free(other);
}

static void on_key(void *arg, const char *key)
{
    char *keys = arg;
    (void)strcat(strcat(keys, key), " ");
}

static void test_same_fixed_keys(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *keys;
    } rows[] = {
        {"", ""},
        {"workers: 2\n", "workers "},
        {"tls: {provider: stock}\n", "tls.provider "},
        {"tls: {provider: filtered}\n", ""},
        {"log: {format: json}\n", "log.format "},
        {"log: {level: debug}\n", ""},
        {"access_log: {to: none}\n", "access_log.to "},
        {"access_log: {events: open, fold: 0s}\n", ""},
        {"workers: 2\nlog: {format: json, level: debug}\ntimeouts: {idle: 1s}\n",
         "workers log.format "},
        {"admin: {listen: 'unix:///a'}\n", "admin.listen "},
        {"probes: {listen: 'unix:///a', metrics: true}\n", "probes.listen "},
    };
    struct config *base = parse(LISTENERS);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[1024];
        char keys[256] = "";
        (void)snprintf(text, sizeof(text), "%s%s", LISTENERS, rows[i].text);
        struct config *config = parse(text);
        config_each_fixed_change(base, config, on_key, keys);
        assert_string_equal(keys, rows[i].keys);
        keys[0] = '\0';
        config_each_fixed_change(config, base, on_key, keys);
        assert_string_equal(keys, rows[i].keys);
        keys[0] = '\0';
        config_each_fixed_change(config, config, on_key, keys);
        assert_string_equal(keys, "");
        config_free(config);
    }
    config_free(base);
}

/* The path by which a file was named, absolute or from the working directory, is no change. */
static void test_same_fixed_path(void **state)
{
    (void)state;
    char here[1024];
    char path[1100];
    char keys[256] = "";
    assert_non_null(getcwd(here, sizeof(here)));
    (void)snprintf(path, sizeof(path), "%s/f.yaml", here);
    struct config *one = parse_at("f.yaml", LISTENERS "access_log: {to: a.log}\n"
                                                      "first_seen_file: seen\n");
    struct config *same = parse_at(path, LISTENERS "access_log: {to: a.log}\n"
                                                   "first_seen_file: seen\n");
    struct config *other = parse_at("/f.yaml", LISTENERS "access_log: {to: a.log}\n");
    config_each_fixed_change(one, same, on_key, keys);
    config_each_fixed_change(same, one, on_key, keys);
    assert_string_equal(keys, "");
    config_each_fixed_change(one, other, on_key, keys);
    assert_string_equal(keys, "first_seen_file access_log.to ");
    config_free(one);
    config_free(same);
    config_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_listener),
        cmocka_unit_test(test_same_rule),
        cmocka_unit_test(test_same_rule_by_mode_and_expires),
        cmocka_unit_test(test_same_rule_in_other_words),
        cmocka_unit_test(test_same_rule_with_variables),
        cmocka_unit_test(test_same_text),
        cmocka_unit_test(test_same_fixed_keys),
        cmocka_unit_test(test_same_fixed_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
