/* effective: each key is written once, with its value, and says whether that is the default. */
#include "config/effective.h"

#include "base/json_writer.h"
#include "config/field_table.h"
#include "unit/config/config_test.h"

#include <stdlib.h>

static const char least[] =
    "version: 1\n"
    "identity: {files: {certificate: /a.pem, private_key: /a.key}}\n"
    "trust: {prod.example: {bundle: /b.pem}}\n"
    "listeners:\n"
    "- {name: in, accept: 'mtls://127.0.0.1:1', forward: 'tcp://127.0.0.1:2'}\n";

static struct config *parse(const char *text)
{
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_parse("test", text, strlen(text), NULL, &diags);
    assert_int_equal(diags.error_count, 0);
    assert_non_null(config);
    diag_list_fini(&diags);
    return config;
}

/* All units in one array; the caller's. */
static char *text_of(const char *yaml)
{
    enum { SIZE = 256 * 1024 };
    char *text = malloc(SIZE);
    assert_non_null(text);
    struct config *config = parse(yaml);
    struct effective_cursor cursor = {0};
    struct json_writer w;
    json_writer_init(&w, text, SIZE);
    json_array_begin(&w);
    while (!effective_is_end(&cursor)) {
        effective_write(config, &cursor, &w);
        effective_advance(config, &cursor);
    }
    json_array_end(&w);
    assert_int_not_equal(json_writer_finish(&w), 0);
    config_free(config);
    return text;
}

static size_t times_in(const char *text, const char *part)
{
    size_t count = 0;
    while ((text = strstr(text, part)) != NULL) {
        count++;
        text++;
    }
    return count;
}

static void assert_has(const char *yaml, const char *object)
{
    char *text = text_of(yaml);
    if (times_in(text, object) != 1) {
        fail_msg("not once: %s in %s", object, text);
    }
    free(text);
}

struct row {
    const char *yaml; /* behind the least file */
    const char *object;
};

static void assert_rows(const struct row *rows, size_t count)
{
    char yaml[2048];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(yaml, sizeof(yaml), "%s%s", least, rows[i].yaml);
        assert_has(yaml, rows[i].object);
    }
}

#define KEY(key, value, by_default, reloadable)                        \
    "{\"key\":\"" key "\",\"value\":" value ",\"default\":" by_default \
    ",\"reloadable\":" reloadable "}"

static void test_what_is_not_written_is_a_default(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", KEY("timeouts.idle", "\"1h\"", "true", "true")},
        {"", KEY("keepalive", "\"1m\"", "true", "true")},
        {"", KEY("limits.buffered", "\"256MiB\"", "true", "true")},
        {"", KEY("limits.handshakes", "1024", "true", "true")},
        {"", KEY("enforcement", "\"enforce\"", "true", "true")},
        {"", KEY("metrics.peers", "0", "true", "false")},
        {"", KEY("log.format", "\"text\"", "true", "false")},
        {"", KEY("access_log.events", "[\"deny\",\"close\"]", "true", "true")},
        {"", KEY("access_log.to", "\"stdout\"", "true", "false")},
        {"", KEY("listeners[in].timeouts.idle", "\"1h\"", "true", "true")},
        {"", KEY("listeners[in].close_on_expiry", "true", "true", "true")},
        {"", KEY("listeners[in].enforcement", "\"enforce\"", "true", "true")},
        {"", KEY("listeners[in].socket.mode", "\"0600\"", "true", "true")},
        {"", "{\"key\":\"trust[prod.example].crl_check\",\"value\":null,\"default\":true,"
             "\"reloadable\":true,\"note\":\"with `crl`: leaf; of the Workload API: those that are "
             "there\"}"},
        {"",
         "{\"key\":\"workers\",\"value\":null,\"default\":true,\"reloadable\":false,\"note\":\"the "
         "CPUs that the process may use\"}"},
        {"",
         "{\"key\":\"listeners[in].max_age\",\"value\":null,\"default\":true,\"reloadable\":true,"
         "\"note\":\"none\"}"},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_what_is_written_is_told_as_it_was_meant(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", KEY("version", "1", "false", "true")},
        {"", KEY("identity.files.certificate", "\"/a.pem\"", "false", "true")},
        {"", KEY("trust[prod.example].bundle", "\"/b.pem\"", "false", "true")},
        {"", KEY("listeners[in].accept", "\"mtls://127.0.0.1:1\"", "false", "true")},
        {"timeouts: {idle: 2h}\n", KEY("timeouts.idle", "\"2h\"", "false", "true")},
        {"timeouts: {idle: 2h}\n", KEY("listeners[in].timeouts.idle", "\"2h\"", "true", "true")},
        {"timeouts: {idle: 3600s}\n", KEY("timeouts.idle", "\"1h\"", "true", "true")},
        {"workers: 3\n", KEY("workers", "3", "false", "false")},
        {"keepalive: 0s\n", KEY("keepalive", "\"0s\"", "false", "true")},
        {"reload: {max_cut: 30%}\n", KEY("reload.max_cut", "\"30%\"", "false", "true")},
        {"log: {level: debug}\n", KEY("log.level", "\"debug\"", "false", "true")},
        {"access_log: {events: [open, deny]}\n",
         KEY("access_log.events", "[\"deny\",\"open\"]", "false", "true")},
        {"access_log: {events: [close, deny]}\n",
         KEY("access_log.events", "[\"deny\",\"close\"]", "true", "true")},
        {"enforcement: audit\n", KEY("enforcement", "\"audit\"", "false", "true")},
        {"enforcement: audit\n", KEY("listeners[in].enforcement", "\"audit\"", "true", "true")},
        {"variables: {p: prod.example}\n"
         "rules: [{name: r, from: ['spiffe://${p}/a'], to: in}]\n",
         KEY("rules[r].from", "[\"spiffe://prod.example/a\"]", "false", "true")},
        {"variables: {p: prod.example}\n",
         KEY("variables[p]", "\"prod.example\"", "false", "true")},
        {"groups: {g: [spiffe://prod.example/a]}\n",
         KEY("groups[g]", "[\"spiffe://prod.example/a\"]", "false", "true")},
        {"rules: [{name: r, from: [spiffe://prod.example/a], to: in, expires: 2099-01-31}]\n",
         KEY("rules[r].expires", "\"2099-01-31\"", "false", "true")},
        {"tests: [{from: spiffe://prod.example/a, to: in, decision: deny}]\n",
         KEY("tests[0].decision", "\"deny\"", "false", "true")},
        {"quarantine: [spiffe://prod.example/a]\n",
         KEY("quarantine", "[\"spiffe://prod.example/a\"]", "false", "true")},
    };
    assert_rows(rows, COUNT_OF(rows));
}

static void test_of_rules_only_what_there_is_is_told(void **state)
{
    (void)state;
    char yaml[2048];
    (void)snprintf(yaml, sizeof(yaml), "%s%s", least,
                   "rules: [{name: r, from: [spiffe://prod.example/a], to: in}]\n");
    char *text = text_of(yaml);
    assert_int_equal(times_in(text, "\"rules[r]."), 5); /* name, action, from, to, mode */
    free(text);
    text = text_of(least);
    assert_int_equal(times_in(text, "\"rules"), 0);
    assert_int_equal(times_in(text, "\"quarantine\""), 0);
    free(text);
}

static size_t count_keys(const struct field_table *table)
{
    size_t count = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        count += field->type == FIELD_STRUCT
                     ? count_keys(field->table)
                     : field->type != FIELD_LIST && field->type != FIELD_MAP;
    }
    return count;
}

/* A key with a row is told without a word in effective.c. */
static void test_every_row_is_told(void **state)
{
    (void)state;
    const struct field_table *root = field_table_root();
    size_t wanted = count_keys(root);
    wanted += count_keys(field_table_find(root, "listeners")->table);
    wanted += count_keys(field_table_find(root, "trust")->table);
    char yaml[2048];
    (void)snprintf(yaml, sizeof(yaml), "%squarantine: [spiffe://prod.example/a]\n", least);
    char *text = text_of(yaml);
    assert_int_equal(times_in(text, "{\"key\":"), wanted);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_written_is_a_default),
        cmocka_unit_test(test_what_is_written_is_told_as_it_was_meant),
        cmocka_unit_test(test_of_rules_only_what_there_is_is_told),
        cmocka_unit_test(test_every_row_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
