/*
 * config_reference: the reference and the JSON Schema of the configuration, from its key tables.
 *
 *     config_reference markdown > config/REFERENCE.md
 *     config_reference schema   > config/bulkhead.schema.json
 *     config_reference rules-schema > config/bulkhead-rules.schema.json   (of an included file)
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "config/field_table.h"
#include "config/scalar.h"

#define NAME_PATTERN     "^[a-z0-9][a-z0-9._-]{0,62}$"
#define DOMAIN_PATTERN   "^([a-z0-9._-]{1,255}|\\$\\{[a-z0-9][a-z0-9._-]{0,62}\\})$"
#define WORD_PATTERN     "^[a-z0-9_-]{1,15}$"
#define DURATION_PATTERN "^(0|[1-9][0-9]*)(ms|s|m|h|d)$"
#define SIZE_PATTERN     "^(0|[1-9][0-9]*)(KiB|MiB|GiB)?$"
#define TIME_PATTERN                   \
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt " \
    "][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]+)?)? ?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$"
#define MODE_PATTERN   "^0?[0-7]{3}$"
#define OUTPUT_PATTERN "^(stdout|none|.*[/.].*)$"
#define DNS_PATTERN    "^[A-Za-z0-9_-]{1,63}(\\.[A-Za-z0-9_-]{1,63})*$"
#define PATH_PATTERN   "(mtls\\+)?unix:///(.*[^/])?"
#define ACCEPT_PATTERN                                                         \
    "^((tcp|mtls)://([0-9.]+|\\[[^\\]]+\\]):(0|[1-9][0-9]{0,4})|" PATH_PATTERN \
    "|(mtls\\+unix|unix|tcp|mtls)://systemd:[A-Za-z0-9._@-]{1,255})$"
#define LOCAL_PATTERN \
    "^(unix:///(.*[^/])?|tcp://(127(\\.[0-9]{1,3}){3}|\\[[0:]*:0*1\\]):(0|[1-9][0-9]{0,4}))$"
#define PERCENT_PATTERN "^[1-9][0-9]?%$|^100%$"
#define FORWARD_PATTERN \
    "^((tcp|mtls)://([A-Za-z0-9._-]+|\\[[^\\]]+\\]):[1-9][0-9]{0,4}|" PATH_PATTERN ")$"

/* --- Markdown ------------------------------------------------------------------------------- */

static void print_range(const struct field *field)
{
    char least[SCALAR_TEXT_SIZE];
    char most[SCALAR_TEXT_SIZE];
    if (field->type == FIELD_DURATION) {
        printf("duration, %s%s to %s", field->zero_ok ? "0s or " : "",
               scalar_format_duration(field->min, least), scalar_format_duration(field->max, most));
    } else if (field->type == FIELD_SIZE) {
        printf("size, %s to %s", scalar_format_size(field->min, least),
               scalar_format_size(field->max, most));
    } else if (field->type == FIELD_PERCENT) {
        printf("percent, %" PRIu64 "%% to %" PRIu64 "%%", field->min, field->max);
    } else {
        printf("number, %" PRIu64 " to %" PRIu64, field->min, field->max);
    }
}

static void print_choices(const struct field_choice *choices)
{
    for (size_t i = 0; choices[i].name != NULL; i++) {
        printf("%s`%s`", i == 0 ? "" : ", ", choices[i].name);
    }
}

static void print_type(const struct field *field)
{
    switch (field->type) {
    case FIELD_VERSION:
        printf("`1`");
        break;
    case FIELD_STRING:
        printf("text");
        break;
    case FIELD_NAME:
    case FIELD_WORD:
        printf("name");
        break;
    case FIELD_DNS_NAME:
        printf("DNS name");
        break;
    case FIELD_ACCOUNT:
        printf("name or number");
        break;
    case FIELD_PATH:
        printf("path");
        break;
    case FIELD_OUTPUT:
        printf("`stdout`, `none` or path");
        break;
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
        print_range(field);
        break;
    case FIELD_BOOL:
        printf("`true`, `false`");
        break;
    case FIELD_CHOICE:
        print_choices(field->choices);
        break;
    case FIELD_SET:
        printf("one or a list of ");
        print_choices(field->choices);
        break;
    case FIELD_MODE:
        printf("octal");
        break;
    case FIELD_TIME:
        printf("date, or time with its zone");
        break;
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
        printf("address");
        break;
    case FIELD_LOCAL:
        printf("Unix socket, or `tcp` on the loopback");
        break;
    case FIELD_STRINGS:
        printf("text or list of texts");
        break;
    case FIELD_STRUCT:
    case FIELD_MAP:
        printf("map");
        break;
    case FIELD_LIST:
        printf("list");
        break;
    }
}

static void print_default(const struct field *field)
{
    if (field->required) {
        printf("**required**");
    } else if (field->default_text != NULL) {
        printf("`%s`", field->default_text);
    } else if (field->default_note != NULL) {
        printf("%s", field->default_note);
    }
}

/* A map of single values has no keys of its own: its row stands for what they map to. */
static void print_table(const struct field_table *table)
{
    printf("\n## %s\n\n", table->title[0] == '\0' ? "The file" : table->title);
    printf("| Key | Value | Default | Fixed | Meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        printf("| `%s` | ", table->bare ? "<name>" : field->name);
        print_type(field);
        printf(" | ");
        print_default(field);
        printf(" | %s | %s", field->fixed ? "yes" : "", field->sentence);
        if (field->example != NULL && field->type != FIELD_VERSION) {
            printf(" Example: `%s`.", field->example);
        }
        printf(" |\n");
    }
    for (size_t i = 0; i < table->count; i++) {
        if (table->fields[i].table != NULL) {
            print_table(table->fields[i].table);
        }
    }
}

static void print_markdown(void)
{
    fputs(
        "# Configuration reference\n"
        "\n"
        "Made from the key tables in `src/config/field_table.c` by `make reference`; edit those.\n"
        "A key that is not listed here is an error. A reload brings changes into force; *fixed* "
        "keys\n"
        "size or open things that last as long as the process: they take a restart.\n"
        "\n"
        "Values\n"
        "\n"
        "* **duration**: a whole number and one unit: `250ms`, `10s`, `2m`, `1h`, `1d`.\n"
        "* **size**: bytes, or a whole number with `KiB`, `MiB` or `GiB`: `64MiB`.\n"
        "* **number**: decimal digits without quotes, sign or leading zero.\n"
        "* **octal**: permissions in quotes: `\"0660\"`.\n"
        "* **name**: 1 to 63 of `a-z`, `0-9`, `.`, `_`, `-`, a letter or digit first.\n"
        "* **path**: relative ones start at the directory of the configuration file.\n"
        "* **address**: `tcp://HOST:PORT`, `mtls://HOST:PORT`, `unix:///PATH` or\n"
        "  `mtls+unix:///PATH`. IPv6 stands in brackets; inside `[ ]` or `{ }` the whole address\n"
        "  then wants quotes. `accept` takes IP addresses only, and port 0 lets the kernel "
        "choose;\n"
        "  `forward` takes host names too. `tcp` and `unix` are plaintext. In `accept`,\n"
        "  `systemd:NAME` may stand for HOST:PORT or /PATH (`mtls://systemd:orders`): the socket\n"
        "  that systemd passes under that name (FileDescriptorName=), TCP or Unix as the scheme "
        "says.\n"
        "* **date**: `2027-01-31`, which is its beginning in UTC, or a time with its zone:\n"
        "  `2027-01-31T18:00:00Z`, `2027-01-31T18:00+02:00`. Quotes may stand around either.\n"
        "* One text where a list belongs is a list of one.\n"
        "* `${NAME}` in place of the whole trust domain of a SPIFFE ID, of a pattern or of a key "
        "of\n"
        "  `trust` is a variable; `$` has no other place in them. Inside `[ ]` or `{ }` the ID "
        "then\n"
        "  wants quotes: `[\"spiffe://${prod}/ns/shop/sa/web\"]`.\n"
        "\n"
        "An included file (`include`) holds `groups`, `rules`, `quarantine` and `tests`, and "
        "nothing "
        "else.\n"
        "\n"
        "The YAML is plain: no anchors, aliases, tags, merge keys or second document, no key "
        "twice,\n"
        "at most 32 levels and 64 MiB.\n",
        stdout);
    print_table(field_table_root());
}

/* --- JSON Schema ---------------------------------------------------------------------------- */

static json_t *make_table(const struct field_table *table);

static json_t *make_text(const char *pattern)
{
    json_t *schema = json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
    if (pattern != NULL) {
        json_object_set_new(schema, "pattern", json_string(pattern));
    }
    return schema;
}

static json_t *make_integer(uint64_t least, uint64_t most)
{
    return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)least, "maximum",
                     (json_int_t)most);
}

static json_t *make_either(json_t *a, json_t *b)
{
    return json_pack("{s:[o, o]}", "anyOf", a, b);
}

static json_t *make_choices(const struct field_choice *choices)
{
    json_t *names = json_array();
    for (; choices->name != NULL; choices++) {
        json_array_append_new(names, json_string(choices->name));
    }
    return json_pack("{s:o}", "enum", names);
}

static json_t *make_strings(const struct field *field)
{
    json_t *list = json_pack("{s:s, s:o}", "type", "array", "items", make_text(NULL));
    if (field->max != 0) {
        json_object_set_new(list, "maxItems", json_integer((json_int_t)field->max));
    }
    return make_either(make_text(NULL), list);
}

static json_t *make_list(const struct field *field)
{
    json_t *list = json_pack("{s:s, s:I, s:o}", "type", "array", "minItems", (json_int_t)field->min,
                             "items", make_table(field->table));
    if (field->max != 0) {
        json_object_set_new(list, "maxItems", json_integer((json_int_t)field->max));
    }
    return list;
}

static json_t *make_value(const struct field *field);

static json_t *make_map(const struct field *field)
{
    bool bare = field->table->bare;
    return json_pack("{s:s, s:I, s:{s:s}, s:o}", "type", "object", "minProperties",
                     (json_int_t)field->min, "propertyNames", "pattern",
                     bare ? NAME_PATTERN : DOMAIN_PATTERN, "additionalProperties",
                     bare ? make_value(&field->table->fields[0]) : make_table(field->table));
}

static json_t *make_value(const struct field *field)
{
    switch (field->type) {
    case FIELD_VERSION:
        return json_pack("{s:i}", "const", 1);
    case FIELD_STRING:
    case FIELD_PATH:
        return make_text(NULL);
    case FIELD_NAME:
        return make_text(NAME_PATTERN);
    case FIELD_WORD:
        return make_text(WORD_PATTERN);
    case FIELD_DNS_NAME:
        return make_text(DNS_PATTERN);
    case FIELD_ACCOUNT:
        return make_either(make_text(NULL), make_integer(0, UINT32_MAX));
    case FIELD_OUTPUT:
        return make_text(OUTPUT_PATTERN);
    case FIELD_DURATION:
        return make_text(DURATION_PATTERN);
    case FIELD_SIZE:
        return make_either(make_text(SIZE_PATTERN), make_integer(field->min, field->max));
    case FIELD_COUNT:
        return make_integer(field->min, field->max);
    case FIELD_PERCENT:
        return make_text(PERCENT_PATTERN);
    case FIELD_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case FIELD_CHOICE:
        return make_choices(field->choices);
    case FIELD_SET:
        return make_either(make_choices(field->choices),
                           json_pack("{s:s, s:i, s:b, s:o}", "type", "array", "minItems", 1,
                                     "uniqueItems", 1, "items", make_choices(field->choices)));
    case FIELD_MODE:
        return make_either(make_text(MODE_PATTERN), make_integer(0, 777));
    case FIELD_TIME:
        return make_text(TIME_PATTERN);
    case FIELD_ACCEPT:
        return make_text(ACCEPT_PATTERN);
    case FIELD_FORWARD:
        return make_text(FORWARD_PATTERN);
    case FIELD_LOCAL:
        return make_text(LOCAL_PATTERN);
    case FIELD_STRINGS:
        return make_strings(field);
    case FIELD_STRUCT:
        return make_table(field->table);
    case FIELD_LIST:
        return make_list(field);
    case FIELD_MAP:
        return make_map(field);
    }
    return NULL;
}

static void add_default(json_t *schema, const struct field *field)
{
    if (field->default_text == NULL) {
        return;
    }
    if (field->type == FIELD_BOOL) {
        json_object_set_new(schema, "default",
                            json_boolean(strcmp(field->default_text, "true") == 0));
    } else if (field->type == FIELD_COUNT) {
        json_int_t value = (json_int_t)strtoll(field->default_text, NULL, 10);
        json_object_set_new(schema, "default", json_integer(value));
    } else if (field->type == FIELD_SET) {
        json_t *names = json_array();
        for (const struct field_choice *choice = field->choices; choice->name != NULL; choice++) {
            if ((field_default_set(field) & (unsigned)choice->value) != 0) {
                json_array_append_new(names, json_string(choice->name));
            }
        }
        json_object_set_new(schema, "default", names);
    } else {
        json_object_set_new(schema, "default", json_string(field->default_text));
    }
}

static json_t *make_table(const struct field_table *table)
{
    json_t *properties = json_object();
    json_t *required = json_array();
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        json_t *schema = make_value(field);
        json_object_set_new(schema, "description", json_string(field->sentence));
        add_default(schema, field);
        json_object_set_new(properties, field->name, schema);
        if (field->required) {
            json_array_append_new(required, json_string(field->name));
        }
    }
    json_t *schema = json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0,
                               "properties", properties);
    if (json_array_size(required) > 0) {
        json_object_set_new(schema, "required", required);
    } else {
        json_decref(required);
    }
    return schema;
}

static int print_schema(const struct field_table *table, const char *title)
{
    json_t *schema = json_pack("{s:s, s:s}", "$schema", "http://json-schema.org/draft-07/schema#",
                               "title", title);
    json_t *root = make_table(table);
    json_object_update(schema, root);
    json_decref(root);
    int result = json_dumpf(schema, stdout, JSON_INDENT(2));
    json_decref(schema);
    putchar('\n');
    return result == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "markdown") == 0) {
        print_markdown();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "schema") == 0) {
        return print_schema(field_table_root(), "bulkhead configuration");
    }
    if (argc == 2 && strcmp(argv[1], "rules-schema") == 0) {
        return print_schema(field_table_included(), "rules that a bulkhead configuration includes");
    }
    fputs("usage: config_reference markdown|schema|rules-schema\n", stderr);
    return 2;
}
