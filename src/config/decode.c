/*
 * One walk over tree and tables together. Where the walk stands ("listeners[2].alpn") is kept as
 * text for the messages. Single values are read by decode_value.c.
 */
#include "config/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "config/config.h"
#include "config/suggest.h"
#include "decode_private.h"

enum { DEFAULT_SIZE = 64, NAMES_SIZE = 512 };

static void decode_table(struct decoder *d, const struct field_table *table,
                         const struct yaml_node *node, void *base);
static void decode_field(struct decoder *d, const struct field *field, const struct yaml_node *node,
                         void *base);

static void append(struct decoder *d, const char *text, size_t len)
{
    size_t room = sizeof d->path - d->path_len - 1;
    len = len < room ? len : room;
    memcpy(d->path + d->path_len, text, len);
    d->path_len += len;
    d->path[d->path_len] = '\0';
}

size_t decoder_enter_key(struct decoder *d, const char *key)
{
    size_t former = d->path_len;
    append(d, ".", former > 0);
    append(d, key, strlen(key));
    return former;
}

size_t decoder_enter_index(struct decoder *d, size_t index)
{
    size_t former = d->path_len;
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = ']';
    do {
        digits[--at] = (char)('0' + index % 10);
        index /= 10;
    } while (index > 0);
    digits[--at] = '[';
    append(d, digits + at, sizeof digits - at);
    return former;
}

void decoder_leave(struct decoder *d, size_t former)
{
    d->path_len = former;
    d->path[former] = '\0';
}

void decoder_report(struct decoder *d, const struct yaml_node *node, const char *sentence)
{
    diag_error(d->diags, decoder_pos(d, node), "%s: %s", d->path_len > 0 ? d->path : "the file",
               sentence);
}

/* Defaults, which stand nowhere in a file, have line 0 here too. */
static void store_pos(struct decoder *d, size_t offset, const struct yaml_node *node, void *base)
{
    struct config_pos pos = decoder_pos(d, node);
    memcpy(decoder_at(base, offset), &pos, sizeof pos);
}

/* Room for the items of a list or map: at offset the array, at count_offset their number. */
static void *make_items(const struct field *field, size_t count, void *base)
{
    void *items = count == 0 ? NULL : mem_alloc_array(count, field->table->size);
    memcpy(decoder_at(base, field->offset), &items, sizeof items);
    memcpy(decoder_at(base, field->count_offset), &count, sizeof count);
    return items;
}

static void check_item_count(struct decoder *d, const struct field *field,
                             const struct yaml_node *node)
{
    if (node->count < field->min) {
        diag_error(d->diags, decoder_pos(d, node), "%s: must have at least %" PRIu64 " entr%s",
                   d->path, field->min, field->min == 1 ? "y" : "ies");
    } else if (field->max != 0 && node->count > field->max) {
        diag_error(d->diags, decoder_pos(d, node),
                   "%s: must have at most %" PRIu64 " entries, and has %zu", d->path, field->max,
                   node->count);
    }
}

static void decode_list(struct decoder *d, const struct field *field, const struct yaml_node *node,
                        void *base)
{
    if (node->kind != YAML_KIND_LIST) {
        if (node->kind != YAML_KIND_BROKEN) {
            decoder_report(d, node, "must be a list: each entry starts with \"- \"");
        }
        return;
    }
    check_item_count(d, field, node);
    void *items = make_items(field, node->count, base);
    for (size_t i = 0; i < node->count; i++) {
        size_t former = decoder_enter_index(d, i);
        decode_table(d, field->table, node->u.items[i], decoder_at(items, i * field->table->size));
        decoder_leave(d, former);
    }
}

static void decode_map(struct decoder *d, const struct field *field, const struct yaml_node *node,
                       void *base)
{
    if (node->kind != YAML_KIND_MAP) {
        if (node->kind != YAML_KIND_BROKEN) {
            decoder_report(d, node, "must be a map with one key for each entry");
        }
        return;
    }
    check_item_count(d, field, node);
    void *items = make_items(field, node->count, base);
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->u.pairs[i];
        void *item = decoder_at(items, i * field->table->size);
        decode_string_store(decoder_at(item, field->table->key_offset),
                            mem_strdup(pair->key->u.text), decoder_pos(d, pair->key));
        size_t former = decoder_enter_key(d, pair->key->u.text);
        if (field->table->bare) {
            decode_name_check(d, pair->key);
            decode_field(d, &field->table->fields[0], pair->value, item);
        } else {
            decode_table(d, field->table, pair->value, item);
        }
        decoder_leave(d, former);
    }
}

static void list_names(const struct field_table *table, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < table->count && len < size; i++) {
        int added =
            snprintf(out + len, size - len, "%s%s", i == 0 ? "" : ", ", table->fields[i].name);
        ASSERT(added >= 0);
        len += (size_t)added;
    }
}

static void report_unknown(struct decoder *d, const struct field_table *table,
                           const struct yaml_node *key)
{
    struct suggest suggest;
    if (table->elsewhere != NULL && field_table_find(table->elsewhere, key->u.text) != NULL) {
        diag_error(d->diags, decoder_pos(d, key), "\"%s\" %s", key->u.text, table->elsewhere_note);
        return;
    }
    suggest_init(&suggest, key->u.text);
    for (size_t i = 0; i < table->count; i++) {
        suggest_consider(&suggest, table->fields[i].name);
    }
    const char *joint = d->path_len > 0 ? ": " : "";
    char names[NAMES_SIZE];
    if (suggest.best != NULL) {
        diag_error(d->diags, decoder_pos(d, key), "%s%sunknown key \"%s\"; did you mean \"%s\"?",
                   d->path, joint, key->u.text, suggest.best);
    } else {
        list_names(table, names, sizeof names);
        diag_error(d->diags, decoder_pos(d, key), "%s%sunknown key \"%s\"; the keys here are %s",
                   d->path, joint, key->u.text, names);
    }
}

static void report_missing(struct decoder *d, const struct field *field,
                           const struct yaml_node *node)
{
    diag_error(d->diags, decoder_pos(d, node), "%s%srequired key \"%s\" is missing", d->path,
               d->path_len > 0 ? ": " : "", field->name);
}

/* A default is text like any other value, and goes the same way. */
static void apply_defaults(struct decoder *d, const struct field_table *table, void *base)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->default_text != NULL) {
            char text[DEFAULT_SIZE];
            struct yaml_node node = {.kind = YAML_KIND_SCALAR, .plain = true, .u.text = text};
            node.count = strlen(field->default_text);
            ASSERT(node.count < sizeof text);
            memcpy(text, field->default_text, node.count + 1);
            size_t errors = d->diags->error_count;
            decode_field(d, field, &node, base);
            ASSERT(d->diags->error_count == errors);
        } else if (field->type == FIELD_STRUCT) {
            apply_defaults(d, field->table, decoder_at(base, field->offset));
        }
    }
}

/* The keys of one map over the defaults in base. */
static void decode_keys(struct decoder *d, const struct field_table *table,
                        const struct yaml_node *node, void *base)
{
    if (node->kind != YAML_KIND_MAP) {
        if (node->kind != YAML_KIND_BROKEN) {
            decoder_report(d, node,
                           yaml_node_is_null(node) ? "has no keys; write them, indented, below"
                                                   : "must be a map of keys and values");
        }
        return;
    }
    if (table->pos_offset != SIZE_MAX) {
        store_pos(d, table->pos_offset, node, base);
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->u.pairs[i];
        const struct field *field = field_table_find(table, pair->key->u.text);
        if (field == NULL) {
            report_unknown(d, table, pair->key);
            continue;
        }
        size_t former = decoder_enter_key(d, field->name);
        decode_field(d, field, pair->value, base);
        decoder_leave(d, former);
    }
    for (size_t i = 0; i < table->count; i++) {
        if (table->fields[i].required && yaml_node_find(node, table->fields[i].name) == NULL) {
            report_missing(d, &table->fields[i], node);
        }
    }
}

static void decode_table(struct decoder *d, const struct field_table *table,
                         const struct yaml_node *node, void *base)
{
    apply_defaults(d, table, base);
    decode_keys(d, table, node, base);
}

static void decode_field(struct decoder *d, const struct field *field, const struct yaml_node *node,
                         void *base)
{
    if (field->pos_offset != 0) {
        store_pos(d, field->pos_offset, node, base);
    }
    switch (field->type) {
    case FIELD_VERSION:
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
    case FIELD_BOOL:
    case FIELD_CHOICE:
    case FIELD_SET:
    case FIELD_MODE:
    case FIELD_TIME:
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
    case FIELD_STRINGS:
        decode_value(d, field, node, base);
        break;
    case FIELD_STRUCT:
        decode_keys(d, field->table, node, decoder_at(base, field->offset));
        break;
    case FIELD_LIST:
        decode_list(d, field, node, base);
        break;
    case FIELD_MAP:
        decode_map(d, field, node, base);
        break;
    }
}

void decode_tree(const struct field_table *table, const struct yaml_node *root, uint32_t file,
                 const char *directory, struct diag_list *diags, void *base)
{
    struct decoder d = {.diags = diags, .file = file, .directory = directory};
    decode_table(&d, table, root, base);
}

static void release_items(const struct field *field, void *base)
{
    void *items = NULL;
    size_t count = 0;
    memcpy(&items, decoder_at(base, field->offset), sizeof items);
    memcpy(&count, decoder_at(base, field->count_offset), sizeof count);
    for (size_t i = 0; i < count; i++) {
        void *item = decoder_at(items, i * field->table->size);
        decode_release(field->table, item);
        if (field->type == FIELD_MAP) {
            decode_string_release(decoder_at(item, field->table->key_offset));
        }
    }
    mem_free(items);
}

static void release_field(const struct field *field, void *base)
{
    switch (field->type) {
    case FIELD_VERSION:
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
    case FIELD_BOOL:
    case FIELD_CHOICE:
    case FIELD_SET:
    case FIELD_MODE:
    case FIELD_TIME:
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
    case FIELD_STRINGS:
        decode_value_release(field, base);
        break;
    case FIELD_STRUCT:
        decode_release(field->table, decoder_at(base, field->offset));
        break;
    case FIELD_LIST:
    case FIELD_MAP:
        release_items(field, base);
        break;
    }
}

void decode_release(const struct field_table *table, void *base)
{
    for (size_t i = 0; i < table->count; i++) {
        release_field(&table->fields[i], base);
    }
}
