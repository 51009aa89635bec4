/*
 * Single values, and lists of texts, by the type of the field: the shape first, then what the
 * text means, then whether it is in range.
 */
#include "decode_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "config/address.h"
#include "config/config.h"
#include "config/scalar.h"

enum { MAX_WORD = 15 };

/* Left as it is, it would be looked for under a name that nobody meant. */
#define NO_VARIABLE \
    "holds a variable, which stands for the trust domain of a SPIFFE ID only; write it out"

/* For a scalar, whose text is named. */
static void report_value(struct decoder *d, const struct yaml_node *node, const char *sentence)
{
    diag_error(d->diags, decoder_pos(d, node), "%s: \"%s\" %s", d->path, node->u.text, sentence);
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
        diag_error(d->diags, decoder_pos(d, node), "%s: must be %s, not a %s", d->path, wanted,
                   node->kind == YAML_KIND_LIST ? "list" : "map");
        return NULL;
    }
    if (yaml_node_is_null(node)) {
        diag_error(d->diags, decoder_pos(d, node),
                   "%s: has no value; write %s or leave the key out", d->path, wanted);
        return NULL;
    }
    if (node->count == 0) {
        decoder_report(d, node, "must not be empty");
        return NULL;
    }
    if (has_control_char(node->u.text)) {
        decoder_report(d, node,
                       "must be one line without control characters; a text on several lines "
                       "begins with \">-\", which joins them");
        return NULL;
    }
    return node->u.text;
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

void decode_string_store(struct config_string *out, char *text, struct config_pos pos)
{
    mem_free(out->text);
    *out = (struct config_string){.text = text, .pos = pos};
}

/* The texts are kept when they are wrong, so that references to a bad name still find it. */
static void check_text(struct decoder *d, enum field_type type, const struct yaml_node *node)
{
    const char *text = node->u.text;
    const char *why = NULL;
    if (type == FIELD_NAME && !scalar_is_name(text, SCALAR_NAME_MAX)) {
        report_value(
            d, node,
            "must be 1 to 63 of a-z, 0-9, \".\", \"_\" and \"-\", a letter or digit first");
    } else if (type == FIELD_WORD &&
               (!scalar_is_name(text, MAX_WORD) || strchr(text, '.') != NULL)) {
        report_value(d, node, "must be 1 to 15 of a-z, 0-9, \"_\" and \"-\"");
    } else if (type == FIELD_DNS_NAME && !address_check_dns_name(text, &why)) {
        report_value(d, node, why);
    } else if (type == FIELD_OUTPUT && strcmp(text, "stdout") != 0 && strcmp(text, "none") != 0 &&
               strpbrk(text, "/.") == NULL) {
        report_value(d, node, "must be stdout, none or a file; a file here is written \"./name\"");
    }
}

void decode_name_check(struct decoder *d, const struct yaml_node *key)
{
    check_text(d, FIELD_NAME, key);
}

static void decode_string(struct decoder *d, const struct field *field,
                          const struct yaml_node *node, void *base)
{
    const char *text = scalar_text(d, node, "text");
    if (text == NULL) {
        return;
    }
    bool is_path =
        field->type == FIELD_PATH || (field->type == FIELD_OUTPUT && strpbrk(text, "/.") != NULL);
    if (is_path && strstr(text, "${") != NULL) {
        report_value(d, node, NO_VARIABLE);
        return; /* a file of that name would be missed besides */
    }
    check_text(d, field->type, node);
    char *copy = is_path ? join_path(d->directory, text) : mem_strndup(text, node->count);
    decode_string_store(decoder_at(base, field->offset), copy, decoder_pos(d, node));
}

static const char *wanted_number(enum field_type type)
{
    if (type == FIELD_DURATION) {
        return "a duration such as 10s";
    }
    if (type == FIELD_PERCENT) {
        return "a share such as 30%";
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
    (void)snprintf(out, SCALAR_TEXT_SIZE, "%" PRIu64 "%s", value, type == FIELD_PERCENT ? "%" : "");
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
    if (type == FIELD_PERCENT) {
        return scalar_parse_percent(text, value, why);
    }
    return scalar_parse_count(text, value, why);
}

static void report_range(struct decoder *d, const struct field *field, const struct yaml_node *node)
{
    char least[SCALAR_TEXT_SIZE];
    char most[SCALAR_TEXT_SIZE];
    diag_error(d->diags, decoder_pos(d, node), "%s: \"%s\" must be %s%s to %s", d->path,
               node->u.text,
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
        memcpy(decoder_at(base, field->offset), &value, sizeof value);
    }
}

static void decode_version(struct decoder *d, const struct yaml_node *node)
{
    const char *text = scalar_text(d, node, "the number 1");
    if (text != NULL && strcmp(text, "1") != 0) {
        report_value(d, node, "is not known; this bulkhead reads version: 1");
    } else if (text != NULL && !node->plain) {
        report_value(d, node, "must be a number; write it without quotes: version: 1");
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
    memcpy(decoder_at(base, field->offset), &value, sizeof value);
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

static const struct field_choice *find_choice(const struct field_choice *choices, const char *text)
{
    const struct field_choice *choice = choices;
    while (choice->name != NULL && strcmp(choice->name, text) != 0) {
        choice++;
    }
    return choice->name == NULL ? NULL : choice;
}

static void decode_choice(struct decoder *d, const struct field *field,
                          const struct yaml_node *node, void *base)
{
    if (node->kind == YAML_KIND_SCALAR) {
        const struct field_choice *choice = find_choice(field->choices, node->u.text);
        if (choice != NULL) {
            /* Every enum of ours has the size of an int (asserted in config.c). */
            memcpy(decoder_at(base, field->offset), &choice->value, sizeof choice->value);
            return;
        }
    }
    char names[128];
    list_choices(field->choices, names, sizeof names);
    const char *text = scalar_text(d, node, names);
    if (text != NULL) {
        diag_error(d->diags, decoder_pos(d, node), "%s: \"%s\" must be %s", d->path, text, names);
    }
}

static unsigned set_member(struct decoder *d, const struct field *field,
                           const struct yaml_node *node, unsigned former)
{
    int value = 0;
    struct field one = *field;
    one.offset = 0;
    decode_choice(d, &one, node, &value);
    if (((unsigned)value & former) != 0) {
        report_value(d, node, "stands there already");
    }
    return (unsigned)value;
}

static void decode_set(struct decoder *d, const struct field *field, const struct yaml_node *node,
                       void *base)
{
    unsigned set = 0;
    if (node->line == 0) {
        set = field_default_set(field); /* of no file */
    } else if (node->kind != YAML_KIND_LIST) {
        set = set_member(d, field, node, 0);
    } else if (node->count == 0) {
        char names[128];
        list_choices(field->choices, names, sizeof names);
        diag_error(d->diags, decoder_pos(d, node), "%s: must name at least one of %s", d->path,
                   names);
    } else {
        for (size_t i = 0; i < node->count; i++) {
            size_t former = decoder_enter_index(d, i);
            set |= set_member(d, field, node->u.items[i], set);
            decoder_leave(d, former);
        }
    }
    memcpy(decoder_at(base, field->offset), &set, sizeof set);
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
    memcpy(decoder_at(base, field->offset), &mode, sizeof mode);
}

static void decode_time(struct decoder *d, const struct field *field, const struct yaml_node *node,
                        void *base)
{
    struct config_time *time = decoder_at(base, field->offset);
    int64_t seconds = 0;
    const char *why = NULL;
    const char *text = scalar_text(d, node, "a date such as 2027-01-31");
    if (text == NULL) {
        return;
    }
    if (!scalar_parse_time(text, &seconds, &why)) {
        report_value(d, node, why);
        return;
    }
    decode_string_store(&time->text, mem_strdup(text), decoder_pos(d, node));
    time->s = seconds;
}

/* A mapped IPv4 address is one in disguise: nobody writes it who means the loopback. */
static bool is_local(const struct config_address *address)
{
    struct netaddr addr;
    if (address->scheme != CONFIG_SCHEME_TCP) {
        return address->scheme == CONFIG_SCHEME_UNIX;
    }
    return address_to_netaddr(address, &addr) && netaddr_is_loopback(&addr) &&
           (addr.u.sa.sa_family == AF_INET || IN6_IS_ADDR_LOOPBACK(&addr.u.in6.sin6_addr));
}

static void decode_address(struct decoder *d, const struct field *field,
                           const struct yaml_node *node, void *base)
{
    struct errbuf err;
    struct config_address *address = decoder_at(base, field->offset);
    const char *text = scalar_text(d, node, "an address such as tcp://127.0.0.1:8080");
    if (text == NULL) {
        return;
    }
    address_release(address);
    decode_string_store(&address->text, mem_strdup(text), decoder_pos(d, node));
    if (strstr(text, "${") != NULL) {
        report_value(d, node, NO_VARIABLE);
        return;
    }
    enum address_role role = field->type == FIELD_FORWARD ? ADDRESS_FORWARD : ADDRESS_ACCEPT;
    if (!address_parse(text, role, address, &err)) {
        diag_error(d->diags, decoder_pos(d, node), "%s: \"%s\": %s", d->path, text, err.text);
    } else if (field->type == FIELD_LOCAL && !is_local(address)) {
        diag_error(d->diags, decoder_pos(d, node),
                   "%s: \"%s\": must be a Unix socket such as unix:///run/bulkhead/admin.sock, or "
                   "tcp on 127.0.0.0/8 or [::1]: whoever reaches it may do everything",
                   d->path, text);
    }
}

static void release_strings(struct config_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++) {
        mem_free(strings->items[i].text);
    }
    mem_free(strings->items);
    *strings = (struct config_strings){0};
}

/* out->items has room. */
static void add_string(struct decoder *d, const struct yaml_node *node, const char *wanted,
                       struct config_strings *out)
{
    const char *text = scalar_text(d, node, wanted);
    if (text == NULL) {
        out->broken = true;
        return;
    }
    out->items[out->count++] =
        (struct config_string){.text = mem_strndup(text, node->count), .pos = decoder_pos(d, node)};
}

static void decode_strings(struct decoder *d, const struct field *field,
                           const struct yaml_node *node, void *base)
{
    struct config_strings *out = decoder_at(base, field->offset);
    release_strings(out);
    out->pos = decoder_pos(d, node);
    if (node->kind != YAML_KIND_LIST) {
        /* One string where a list belongs is a list of one. */
        out->items = mem_alloc(sizeof *out->items);
        add_string(d, node, "text or a list of texts", out);
        return;
    }
    if (field->max != 0 && node->count > field->max) {
        diag_error(d->diags, out->pos, "%s: must have at most %" PRIu64 " entries", d->path,
                   field->max);
        out->broken = true;
        return;
    }
    if (node->count > 0) {
        out->items = mem_alloc_array(node->count, sizeof *out->items);
    }
    for (size_t i = 0; i < node->count; i++) {
        size_t former = decoder_enter_index(d, i);
        add_string(d, node->u.items[i], "text", out);
        decoder_leave(d, former);
    }
}

void decode_value(struct decoder *d, const struct field *field, const struct yaml_node *node,
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
    case FIELD_PERCENT:
        decode_number(d, field, node, base);
        break;
    case FIELD_BOOL:
        decode_bool(d, field, node, base);
        break;
    case FIELD_CHOICE:
        decode_choice(d, field, node, base);
        break;
    case FIELD_SET:
        decode_set(d, field, node, base);
        break;
    case FIELD_MODE:
        decode_mode(d, field, node, base);
        break;
    case FIELD_TIME:
        decode_time(d, field, node, base);
        break;
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
        decode_address(d, field, node, base);
        break;
    case FIELD_STRINGS:
        decode_strings(d, field, node, base);
        break;
    case FIELD_STRUCT:
    case FIELD_LIST:
    case FIELD_MAP:
        ASSERT(false);
    }
}

void decode_string_release(struct config_string *string)
{
    mem_free(string->text);
    string->text = NULL;
}

static void release_address(struct config_address *address)
{
    decode_string_release(&address->text);
    address_release(address);
}

void decode_value_release(const struct field *field, void *base)
{
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
        decode_string_release(decoder_at(base, field->offset));
        break;
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
        release_address(decoder_at(base, field->offset));
        break;
    case FIELD_TIME:
        decode_string_release(&((struct config_time *)decoder_at(base, field->offset))->text);
        break;
    case FIELD_STRINGS:
        release_strings(decoder_at(base, field->offset));
        break;
    case FIELD_VERSION:
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
    case FIELD_BOOL:
    case FIELD_CHOICE:
    case FIELD_SET:
    case FIELD_MODE:
        break;
    case FIELD_STRUCT:
    case FIELD_LIST:
    case FIELD_MAP:
        ASSERT(false);
    }
}
