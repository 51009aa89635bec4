/*
 * What every row of the configuration's own tables must keep, so that a new key can't overlap
 * another's storage, lack a sentence or have a default that is not in its own range.
 */
#include "config/field_table.h"

#include <stdlib.h>

#include "config/decode.h"
#include "unit/config/config_test.h"

/* One mark for each byte of a struct that a field has taken. */
struct storage {
    unsigned char *taken;
    size_t size;
};

static size_t size_of(enum field_type type)
{
    switch (type) {
    case FIELD_VERSION:
    case FIELD_STRUCT:
        return 0;
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
        return sizeof(struct config_string);
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
        return sizeof(uint64_t);
    case FIELD_BOOL:
        return sizeof(bool);
    case FIELD_CHOICE:
        return sizeof(int);
    case FIELD_SET:
        return sizeof(unsigned);
    case FIELD_MODE:
        return sizeof(uint32_t);
    case FIELD_TIME:
        return sizeof(struct config_time);
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
        return sizeof(struct config_address);
    case FIELD_STRINGS:
        return sizeof(struct config_strings);
    case FIELD_LIST:
    case FIELD_MAP:
        return sizeof(void *);
    }
    return 0;
}

static void take(struct storage *storage, size_t offset, size_t size)
{
    assert_true(offset + size <= storage->size);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(storage->taken[offset + i], 0);
        storage->taken[offset + i] = 1;
    }
}

static void check_table(const struct field_table *table, struct storage *storage, size_t base);

static void check_items(const struct field *field)
{
    const struct field_table *table = field->table;
    struct storage item = {.taken = calloc(1, table->size), .size = table->size};
    assert_non_null(item.taken);
    if (field->type == FIELD_MAP) {
        take(&item, table->key_offset, sizeof(struct config_string));
    }
    check_table(table, &item, 0);
    free(item.taken);
}

static void check_range(const struct field *field)
{
    bool is_number =
        field->type == FIELD_DURATION || field->type == FIELD_SIZE || field->type == FIELD_COUNT;
    if (is_number) {
        assert_true(field->max > 0 && field->min <= field->max);
    }
    bool chooses = field->type == FIELD_CHOICE || field->type == FIELD_SET;
    assert_int_equal(field->choices != NULL, chooses);
    assert_true(field->default_text == NULL || !field->required);
    assert_true(field->default_text == NULL || field->default_note == NULL);
}

static void check_field(const struct field *field, struct storage *storage, size_t base)
{
    bool has_table =
        field->type == FIELD_STRUCT || field->type == FIELD_LIST || field->type == FIELD_MAP;
    assert_int_equal(field->table != NULL, has_table);
    size_t len = strlen(field->sentence);
    assert_true(len > 10 && field->sentence[len - 1] == '.');
    check_range(field);
    take(storage, base + field->offset, size_of(field->type));
    if (field->pos_offset != 0) {
        take(storage, base + field->pos_offset, sizeof(struct config_pos));
    }
    if (field->type == FIELD_STRUCT) {
        check_table(field->table, storage, base + field->offset);
    } else if (has_table) {
        take(storage, base + field->count_offset, sizeof(size_t));
        check_items(field);
    }
}

static void check_table(const struct field_table *table, struct storage *storage, size_t base)
{
    if (table->pos_offset != SIZE_MAX) {
        take(storage, base + table->pos_offset, sizeof(struct config_pos));
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        print_message("%s: %s\n", table->title, field->name);
        assert_ptr_equal(field_table_find(table, field->name), field);
        assert_true(strspn(field->name, "abcdefghijklmnopqrstuvwxyz_") == strlen(field->name));
        check_field(field, storage, base);
    }
}

static void test_field_table_rows_are_sound(void **state)
{
    (void)state;
    const struct field_table *root = field_table_root();
    struct storage storage = {.taken = calloc(1, root->size), .size = root->size};
    assert_non_null(storage.taken);
    assert_int_equal(root->size, sizeof(struct config));
    check_table(root, &storage, 0);
    free(storage.taken);
}

/* Each default is in its row's range (decode asserts it), and values differ from zero where zero
   would mean something else. */
static void test_field_table_defaults(void **state)
{
    (void)state;
    struct diag_list diags;
    diag_list_init(&diags);
    static const char text[] =
        "listeners: [{name: a, accept: x, forward: y}]\ntrust: {a: {bundle: b}}\n"
        "rules: [{name: a, from: b, to: c}]\n";
    struct config *config = config_parse("f", text, sizeof text - 1, NULL, &diags);
    assert_non_null(config);
    assert_false(config->valid);
    assert_int_equal(config->timeouts.handshake_ms, 10000);
    assert_int_equal(config->timeouts.connect_ms, 5000);
    assert_int_equal(config->timeouts.idle_ms, 3600000);
    assert_int_equal(config->timeouts.half_close_ms, 60000);
    assert_int_equal(config->keepalive.time_ms, 60000);
    assert_int_equal(config->drain.delay_ms, 0);
    assert_int_equal(config->drain.timeout_ms, 25000);
    assert_int_equal(config->limits.connections, 0);
    assert_int_equal(config->limits.handshakes, 1024);
    assert_int_equal(config->limits.buffered_bytes, 256 << 20);
    assert_string_equal(config->access_log.to.text, "stdout");
    assert_int_equal(config->access_log.events, CONFIG_ACCESS_DENY | CONFIG_ACCESS_CLOSE);
    assert_int_equal(config->access_log.fold_ms, 10000);
    const struct config_listener *listener = &config->listeners[0];
    assert_int_equal(listener->timeouts.idle_ms, 3600000);
    assert_int_equal(listener->limits.handshakes, 0);
    assert_int_equal(listener->socket.mode, 0600);
    assert_int_equal(listener->truncation, CONFIG_TRUNCATION_ABORT);
    assert_false(listener->unsafe_plaintext);
    assert_int_equal(listener->proxy_protocol, CONFIG_PROXY_PROTOCOL_NONE);
    assert_false(listener->proxy_protocol_certificate);
    assert_false(listener->alpn_required);
    assert_int_equal(listener->enforcement, CONFIG_ENFORCEMENT_ENFORCE);
    assert_int_equal(config->enforcement, CONFIG_ENFORCEMENT_ENFORCE);
    assert_int_equal(config->quarantine.count, 0);
    assert_null(config->quarantine_file.text);
    const struct config_rule *rule = &config->rules[0];
    assert_int_equal(rule->action, CONFIG_ACTION_ALLOW);
    assert_int_equal(rule->mode, CONFIG_MODE_ENFORCE);
    assert_null(rule->expires.text.text);
    assert_null(rule->owner.text);
    assert_null(rule->note.text);
    config_free(config);
    diag_list_fini(&diags);
}

/* An included file says nothing that the main file could not say, and in the same words. */
static void test_field_table_of_included_files(void **state)
{
    (void)state;
    static const char *const keys[] = {"groups", "rules", "quarantine", "tests"};
    const struct field_table *included = field_table_included();
    assert_int_equal(included->count, COUNT_OF(keys));
    assert_ptr_equal(included->elsewhere, field_table_root());
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct field *field = field_table_find(included, keys[i]);
        const struct field *root = field_table_find(field_table_root(), keys[i]);
        assert_non_null(field);
        assert_non_null(root);
        assert_int_equal(field->type, root->type);
        assert_int_equal(field->offset, root->offset);
        assert_int_equal(field->count_offset, root->count_offset);
        assert_ptr_equal(field->table, root->table);
        assert_string_equal(field->sentence, root->sentence);
    }
    struct storage storage = {.taken = calloc(1, included->size), .size = included->size};
    assert_non_null(storage.taken);
    check_table(included, &storage, 0);
    free(storage.taken);
}

static void count_remarks(const struct field_table *table, size_t *count)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->remark) {
            assert_true(strcmp(field->name, "owner") == 0 || strcmp(field->name, "note") == 0);
            assert_int_equal(field->type, FIELD_STRING);
            (*count)++;
        }
        if (field->table != NULL) {
            count_remarks(field->table, count);
        }
    }
}

/* What is decided by a key must count as a change. */
static void test_field_table_remarks_are_for_people(void **state)
{
    (void)state;
    size_t count = 0;
    count_remarks(field_table_root(), &count);
    assert_int_equal(count, 2);
}

static void test_field_table_finds_by_whole_names(void **state)
{
    (void)state;
    const struct field_table *root = field_table_root();
    assert_non_null(field_table_find(root, "rules"));
    assert_null(field_table_find(root, "rule"));
    assert_null(field_table_find(root, "ruless"));
    assert_null(field_table_find(root, "Rules"));
    assert_null(field_table_find(root, ""));
    assert_null(field_table_find(root, "identity.files"));
}

/* More would be more than there are slots for; a process that runs must not end over it. */
static void test_field_table_bounds_lists(void **state)
{
    (void)state;
    static const char head[] = "version: 1\nidentity: {files: {certificate: a, private_key: b}}\n"
                               "trust: {a.b: {bundle: b}}\nlisteners:\n";
    static const size_t counts[] = {CONFIG_MAX_LISTENERS, CONFIG_MAX_LISTENERS + 1};
    size_t size = sizeof(head) + (CONFIG_MAX_LISTENERS + 1) * 96;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        struct diag_list diags;
        size_t len = (size_t)snprintf(text, size, "%s", head);
        for (size_t k = 0; k < counts[i]; k++) {
            len += (size_t)snprintf(
                text + len, size - len,
                "- {name: l%zu, accept: 'mtls://127.0.0.1:%zu', forward: 'tcp://127.0.0.1:1'}\n", k,
                2000 + k);
        }
        diag_list_init(&diags);
        struct config *config = config_parse("f", text, len, NULL, &diags);
        assert_non_null(config);
        assert_int_equal(config->valid, i == 0);
        if (i == 1) {
            static const char *const wanted[WANTED_MAX] = {
                "f: warning: rules: nothing is allowed",
                "f:5:1: error: listeners: must have at most 1024 entries, and has 1025"};
            assert_diags(&diags, wanted);
        }
        config_free(config);
        diag_list_fini(&diags);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field_table_rows_are_sound),
        cmocka_unit_test(test_field_table_defaults),
        cmocka_unit_test(test_field_table_of_included_files),
        cmocka_unit_test(test_field_table_remarks_are_for_people),
        cmocka_unit_test(test_field_table_finds_by_whole_names),
        cmocka_unit_test(test_field_table_bounds_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
