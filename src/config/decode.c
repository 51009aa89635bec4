/*
 * One walk over tree and tables together. Where the walk stands ("listeners[2].alpn") is kept as
 * text for the messages.
 *
 * Values are stored by memcpy at base + offset: the table knows sizes, the compiler can't.
 */
#include "config/decode.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "config/address.h"
#include "config/config.h"
#include "config/scalar.h"
#include "config/suggest.h"

enum { MAX_NAME = 63, MAX_WORD = 15, MAX_PATH_TEXT = 256 };

struct decoder {
    struct diag_list *diags;
    uint32_t file;
    const char *directory;
    size_t path_len;
    char path[MAX_PATH_TEXT]; /* cut when it doesn't fit */
};

static void decode_table(struct decoder *d, const struct field_table *table,
                         const struct yaml_node *node, void *base);
static void decode_field(struct decoder *d, const struct field *field, const struct yaml_node *node,
                         void *base);

static void *at(void *base, size_t offset)
{
    return (char *)base + offset;
}

static struct config_pos pos_of(const struct decoder *d, const struct yaml_node *node)
{
    return (struct config_pos){d->file, node->line, node->column};
}

/* Appends to the path and returns its former length, for leave(). */
__attribute__((format(printf, 2, 3))) static size_t enter(struct decoder *d, const char *format,
                                                          ...)
{
    size_t former = d->path_len;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(d->path + former, sizeof d->path - former, format, args);
    va_end(args);
    if (len > 0) {
        size_t room = sizeof d->path - former - 1;
        d->path_len += (size_t)len < room ? (size_t)len : room;
    }
    return former;
}

static void leave(struct decoder *d, size_t former)
{
    d->path_len = former;
    d->path[former] = '\0';
}

static void report(struct decoder *d, const struct yaml_node *node, const char *sentence)
{
    diag_error(d->diags, pos_of(d, node), "%s: %s", d->path_len > 0 ? d->path : "the file",
               sentence);
}

/* For a scalar, whose text is named. */
static void report_value(struct decoder *d, const struct yaml_node *node, const char *sentence)
{
    diag_error(d->diags, pos_of(d, node), "%s: \"%s\" %s", d->path, node->u.text, sentence);
}

static bool has_control_char(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

/* The text of a single value, or NULL, reported. wanted: "a duration such as 10s". */
static const char *scalar_text(struct decoder *d, const struct yaml_node *node, const char *wanted)
{
    if (node->kind == YAML_KIND_BROKEN) {
        return NULL;
    }
    if (node->kind != YAML_KIND_SCALAR) {
        diag_error(d->diags, pos_of(d, node), "%s: must be %s, not a %s", d->path, wanted,
                   node->kind == YAML_KIND_LIST ? "list" : "map");
        return NULL;
    }
    if (yaml_node_is_null(node)) {
        diag_error(d->diags, pos_of(d, node), "%s: has no value; write %s or leave the key out",
                   d->path, wanted);
        return NULL;
    }
    if (node->count == 0) {
        report(d, node, "must not be empty");
        return NULL;
    }
    if (has_control_char(node->u.text)) {
        report(d, node, "must be one line without control characters");
        return NULL;
    }
    return node->u.text;
}

static bool is_name(const char *text, size_t max)
{
    size_t len = strlen(text);
    return len <= max && strchr("._-", text[0]) == NULL &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static char *join_path(const char *directory, const char *path)
{
    if (path[0] == '/' || directory[0] == '\0') {
        return mem_strdup(path);
    }
    size_t size = strlen(directory) + 1 + strlen(path) + 1;
    char *joined = mem_alloc(size);
    (void)snprintf(joined, size, "%s/%s", directory, path);
    return joined;
}

/* Takes over text. */
static void store_string(struct config_string *out, char *text, struct config_pos pos)
{
    mem_free(out->text);
    *out = (struct config_string){.text = text, .pos = pos};
}

/* The texts are kept when they are wrong, so that references to a bad name still find it. */
static void check_text(struct decoder *d, enum field_type type, const struct yaml_node *node)
{
    const char *text = node->u.text;
    const char *why = NULL;
    if (type == FIELD_NAME && !is_name(text, MAX_NAME)) {
        report_value(
            d, node,
            "must be 1 to 63 of a-z, 0-9, \".\", \"_\" and \"-\", a letter or digit first");
    } else if (type == FIELD_WORD && (!is_name(text, MAX_WORD) || strchr(text, '.') != NULL)) {
        report_value(d, node, "must be 1 to 15 of a-z, 0-9, \"_\" and \"-\"");
    } else if (type == FIELD_DNS_NAME && !address_check_dns_name(text, &why)) {
        report_value(d, node, why);
    } else if (type == FIELD_OUTPUT && strcmp(text, "stdout") != 0 && strcmp(text, "none") != 0 &&
               strpbrk(text, "/.") == NULL) {
        report_value(d, node, "must be stdout, none or a file; a file here is written \"./name\"");
    }
}

static void decode_string(struct decoder *d, const struct field *field,
                          const struct yaml_node *node, void *base)
{
    const char *text = scalar_text(d, node, "text");
    if (text == NULL) {
        return;
    }
    check_text(d, field->type, node);
    bool is_path =
        field->type == FIELD_PATH || (field->type == FIELD_OUTPUT && strpbrk(text, "/.") != NULL);
    char *copy = is_path ? join_path(d->directory, text) : mem_strdup(text);
    store_string(at(base, field->offset), copy, pos_of(d, node));
}

static const char *wanted_number(enum field_type type)
{
    if (type == FIELD_DURATION) {
        return "a duration such as 10s";
    }
    return type == FIELD_SIZE ? "a size such as 64MiB" : "a decimal number";
}

static const char *format_number(enum field_type type, uint64_t value, char out[SCALAR_TEXT_SIZE])
{
    if (type == FIELD_DURATION) {
        return scalar_format_duration(value, out);
    }
    if (type == FIELD_SIZE) {
        return scalar_format_size(value, out);
    }
    (void)snprintf(out, SCALAR_TEXT_SIZE, "%" PRIu64, value);
    return out;
}

static bool parse_number(enum field_type type, const char *text, uint64_t *value, const char **why)
{
    if (type == FIELD_DURATION) {
        return scalar_parse_duration(text, value, why);
    }
    if (type == FIELD_SIZE) {
        return scalar_parse_size(text, value, why);
    }
    return scalar_parse_count(text, value, why);
}

static void report_range(struct decoder *d, const struct field *field, const struct yaml_node *node)
{
    char least[SCALAR_TEXT_SIZE];
    char most[SCALAR_TEXT_SIZE];
    diag_error(d->diags, pos_of(d, node), "%s: \"%s\" must be %s%s to %s", d->path, node->u.text,
               field->zero_ok ? (field->type == FIELD_DURATION ? "0s or " : "0 or ") : "",
               format_number(field->type, field->min, least),
               format_number(field->type, field->max, most));
}

static void decode_number(struct decoder *d, const struct field *field,
                          const struct yaml_node *node, void *base)
{
    uint64_t value = 0;
    const char *why = NULL;
    const char *text = scalar_text(d, node, wanted_number(field->type));
    if (text == NULL) {
        return;
    }
    if (field->type == FIELD_COUNT && !node->plain) {
        report_value(d, node, "must be a decimal number, without quotes");
    } else if (!parse_number(field->type, text, &value, &why)) {
        report_value(d, node, why);
    } else if ((value < field->min && !(value == 0 && field->zero_ok)) || value > field->max) {
        report_range(d, field, node);
    } else {
        memcpy(at(base, field->offset), &value, sizeof value);
    }
}

static void decode_version(struct decoder *d, const struct yaml_node *node)
{
    const char *text = scalar_text(d, node, "the number 1");
    if (text != NULL && (!node->plain || strcmp(text, "1") != 0)) {
        report_value(d, node, "is not known; this bulkhead reads version: 1");
    }
}

static void decode_bool(struct decoder *d, const struct field *field, const struct yaml_node *node,
                        void *base)
{
    const char *text = scalar_text(d, node, "true or false");
    if (text == NULL) {
        return;
    }
    bool value = strcmp(text, "true") == 0;
    if (!node->plain || (!value && strcmp(text, "false") != 0)) {
        report_value(d, node,
                     node->plain ? "must be true or false"
                                 : "must be true or false, without quotes");
        return;
    }
    memcpy(at(base, field->offset), &value, sizeof value);
}

static void list_choices(const struct field_choice *choices, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; choices[i].name != NULL && len < size; i++) {
        const char *joint = i == 0 ? "" : choices[i + 1].name == NULL ? " or " : ", ";
        int added = snprintf(out + len, size - len, "%s%s", joint, choices[i].name);
        ASSERT(added >= 0);
        len += (size_t)added;
    }
}

static void decode_choice(struct decoder *d, const struct field *field,
                          const struct yaml_node *node, void *base)
{
    char names[128];
    list_choices(field->choices, names, sizeof names);
    const char *text = scalar_text(d, node, names);
    if (text == NULL) {
        return;
    }
    for (const struct field_choice *choice = field->choices; choice->name != NULL; choice++) {
        if (strcmp(choice->name, text) == 0) {
            /* Every enum of ours has the size of an int (asserted in config.c). */
            memcpy(at(base, field->offset), &choice->value, sizeof choice->value);
            return;
        }
    }
    diag_error(d->diags, pos_of(d, node), "%s: \"%s\" must be %s", d->path, text, names);
}

static void decode_mode(struct decoder *d, const struct field *field, const struct yaml_node *node,
                        void *base)
{
    uint32_t mode = 0;
    const char *why = NULL;
    const char *text = scalar_text(d, node, "octal permissions such as \"0660\"");
    if (text == NULL) {
        return;
    }
    if (!scalar_parse_mode(text, &mode, &why)) {
        report_value(d, node, why);
        return;
    }
    memcpy(at(base, field->offset), &mode, sizeof mode);
}

static void decode_address(struct decoder *d, const struct field *field,
                           const struct yaml_node *node, void *base)
{
    struct errbuf err;
    struct config_address *address = at(base, field->offset);
    const char *text = scalar_text(d, node, "an address such as tcp://127.0.0.1:8080");
    if (text == NULL) {
        return;
    }
    store_string(&address->text, mem_strdup(text), pos_of(d, node));
    enum address_role role = field->type == FIELD_ACCEPT ? ADDRESS_ACCEPT : ADDRESS_FORWARD;
    if (!address_parse(text, role, address, &err)) {
        diag_error(d->diags, pos_of(d, node), "%s: \"%s\": %s", d->path, text, err.text);
    }
}

/* out->items has room. */
static void add_string(struct config_strings *out, const char *text, struct config_pos pos)
{
    out->items[out->count++] = (struct config_string){.text = mem_strdup(text), .pos = pos};
}

static void decode_strings(struct decoder *d, const struct field *field,
                           const struct yaml_node *node, void *base)
{
    struct config_strings *out = at(base, field->offset);
    out->pos = pos_of(d, node);
    if (node->kind != YAML_KIND_LIST) {
        /* One string where a list belongs is a list of one. */
        const char *text = scalar_text(d, node, "text or a list of texts");
        if (text != NULL) {
            out->items = mem_alloc(sizeof *out->items);
            add_string(out, text, pos_of(d, node));
        }
        return;
    }
    if (field->max != 0 && node->count > field->max) {
        diag_error(d->diags, pos_of(d, node), "%s: must have at most %" PRIu64 " entries", d->path,
                   field->max);
        return;
    }
    if (node->count > 0) {
        out->items = mem_alloc_array(node->count, sizeof *out->items);
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->u.items[i];
        size_t former = enter(d, "[%zu]", i);
        const char *text = scalar_text(d, item, "text");
        if (text != NULL) {
            add_string(out, text, pos_of(d, item));
        }
        leave(d, former);
    }
}

/* Room for the items of a list or map: at offset the array, at count_offset their number. */
static void *make_items(const struct field *field, size_t count, void *base)
{
    void *items = count == 0 ? NULL : mem_alloc_array(count, field->table->size);
    memcpy(at(base, field->offset), &items, sizeof items);
    memcpy(at(base, field->count_offset), &count, sizeof count);
    return items;
}

static void check_item_count(struct decoder *d, const struct field *field,
                             const struct yaml_node *node)
{
    if (node->count < field->min) {
        diag_error(d->diags, pos_of(d, node), "%s: must have at least %" PRIu64 " entr%s", d->path,
                   field->min, field->min == 1 ? "y" : "ies");
    }
}

static void decode_list(struct decoder *d, const struct field *field, const struct yaml_node *node,
                        void *base)
{
    if (node->kind != YAML_KIND_LIST) {
        if (node->kind != YAML_KIND_BROKEN) {
            report(d, node, "must be a list: each entry starts with \"- \"");
        }
        return;
    }
    check_item_count(d, field, node);
    void *items = make_items(field, node->count, base);
    for (size_t i = 0; i < node->count; i++) {
        size_t former = enter(d, "[%zu]", i);
        decode_table(d, field->table, node->u.items[i], at(items, i * field->table->size));
        leave(d, former);
    }
}

static void decode_map(struct decoder *d, const struct field *field, const struct yaml_node *node,
                       void *base)
{
    if (node->kind != YAML_KIND_MAP) {
        if (node->kind != YAML_KIND_BROKEN) {
            report(d, node, "must be a map with one key for each entry");
        }
        return;
    }
    check_item_count(d, field, node);
    void *items = make_items(field, node->count, base);
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->u.pairs[i];
        void *item = at(items, i * field->table->size);
        store_string(at(item, field->table->key_offset), mem_strdup(pair->key->u.text),
                     pos_of(d, pair->key));
        size_t former = enter(d, ".%s", pair->key->u.text);
        decode_table(d, field->table, pair->value, item);
        leave(d, former);
    }
}

static void report_unknown(struct decoder *d, const struct field_table *table,
                           const struct yaml_node *key)
{
    struct suggest suggest;
    suggest_init(&suggest, key->u.text);
    for (size_t i = 0; i < table->count; i++) {
        suggest_consider(&suggest, table->fields[i].name);
    }
    const char *joint = d->path_len > 0 ? ": " : "";
    if (suggest.best != NULL) {
        diag_error(d->diags, pos_of(d, key), "%s%sunknown key \"%s\"; did you mean \"%s\"?",
                   d->path, joint, key->u.text, suggest.best);
    } else {
        diag_error(d->diags, pos_of(d, key), "%s%sunknown key \"%s\"", d->path, joint, key->u.text);
    }
}

static void report_missing(struct decoder *d, const struct field *field,
                           const struct yaml_node *node)
{
    diag_error(d->diags, pos_of(d, node), "%s%srequired key \"%s\" is missing", d->path,
               d->path_len > 0 ? ": " : "", field->name);
}

/* A default is text like any other value, and goes the same way. */
static void apply_defaults(struct decoder *d, const struct field_table *table, void *base)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->default_text != NULL) {
            char *text = mem_strdup(field->default_text);
            struct yaml_node node = {.kind = YAML_KIND_SCALAR, .plain = true, .u.text = text};
            node.count = strlen(text);
            size_t errors = d->diags->error_count;
            decode_field(d, field, &node, base);
            ASSERT(d->diags->error_count == errors);
            mem_free(text);
        } else if (field->type == FIELD_STRUCT) {
            apply_defaults(d, field->table, at(base, field->offset));
        }
    }
}

/* The keys of one map over the defaults in base. */
static void decode_keys(struct decoder *d, const struct field_table *table,
                        const struct yaml_node *node, void *base)
{
    if (node->kind != YAML_KIND_MAP) {
        if (node->kind != YAML_KIND_BROKEN) {
            report(d, node,
                   yaml_node_is_null(node) ? "has no keys; write them, indented, below"
                                           : "must be a map of keys and values");
        }
        return;
    }
    if (table->pos_offset != SIZE_MAX) {
        struct config_pos pos = pos_of(d, node);
        memcpy(at(base, table->pos_offset), &pos, sizeof pos);
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->u.pairs[i];
        const struct field *field = field_table_find(table, pair->key->u.text);
        if (field == NULL) {
            report_unknown(d, table, pair->key);
            continue;
        }
        size_t former = enter(d, "%s%s", d->path_len > 0 ? "." : "", field->name);
        decode_field(d, field, pair->value, base);
        leave(d, former);
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
    switch (field->type) {
    case FIELD_VERSION:
        decode_version(d, node);
        break;
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
        decode_string(d, field, node, base);
        break;
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
        decode_number(d, field, node, base);
        break;
    case FIELD_BOOL:
        decode_bool(d, field, node, base);
        break;
    case FIELD_CHOICE:
        decode_choice(d, field, node, base);
        break;
    case FIELD_MODE:
        decode_mode(d, field, node, base);
        break;
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
        decode_address(d, field, node, base);
        break;
    case FIELD_STRINGS:
        decode_strings(d, field, node, base);
        break;
    case FIELD_STRUCT:
        decode_keys(d, field->table, node, at(base, field->offset));
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

static void release_string(struct config_string *string)
{
    mem_free(string->text);
    string->text = NULL;
}

static void release_address(struct config_address *address)
{
    release_string(&address->text);
    address_release(address);
}

static void release_items(const struct field *field, void *base)
{
    void *items = NULL;
    size_t count = 0;
    memcpy(&items, at(base, field->offset), sizeof items);
    memcpy(&count, at(base, field->count_offset), sizeof count);
    for (size_t i = 0; i < count; i++) {
        void *item = at(items, i * field->table->size);
        decode_release(field->table, item);
        if (field->type == FIELD_MAP) {
            release_string(at(item, field->table->key_offset));
        }
    }
    mem_free(items);
}

static void release_strings(struct config_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++) {
        mem_free(strings->items[i].text);
    }
    mem_free(strings->items);
}

static void release_field(const struct field *field, void *base)
{
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
        release_string(at(base, field->offset));
        break;
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
        release_address(at(base, field->offset));
        break;
    case FIELD_STRINGS:
        release_strings(at(base, field->offset));
        break;
    case FIELD_STRUCT:
        decode_release(field->table, at(base, field->offset));
        break;
    case FIELD_LIST:
    case FIELD_MAP:
        release_items(field, base);
        break;
    case FIELD_VERSION:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_BOOL:
    case FIELD_CHOICE:
    case FIELD_MODE:
        break;
    }
}

void decode_release(const struct field_table *table, void *base)
{
    for (size_t i = 0; i < table->count; i++) {
        release_field(&table->fields[i], base);
    }
}
