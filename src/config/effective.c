/*
 * A walk over the tables, as in same.c. A number without a default in its row is not set when it
 * is 0: none of them can be written so. A listener's timeouts have the file's values by then
 * (config.c), and are the default when they are equal to those.
 */
#include "config/effective.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/json_writer.h"
#include "config/field_table.h"
#include "config/scalar.h"

enum { KEY_PATH_SIZE = 1024 };

/* Where a table's keys stand, and what they fall back to. */
struct place {
    const char *path; /* of the struct or item; "" at the top */
    const void *base; /* what the fields' offsets count from */
    const struct config *config;
    const void *inherited; /* a struct that its numbers fall back to; NULL: none */
    bool is_bulk;          /* what has no value is left out */
};

static const void *in(const void *base, size_t offset)
{
    return (const char *)base + offset;
}

static uint64_t number_at(const void *value)
{
    uint64_t number;
    memcpy(&number, value, sizeof(number));
    return number;
}

static int choice_at(const void *value)
{
    int choice;
    memcpy(&choice, value, sizeof(choice));
    return choice;
}

static bool bool_at(const void *value)
{
    bool flag;
    memcpy(&flag, value, sizeof(flag));
    return flag;
}

static uint32_t mode_at(const void *value)
{
    uint32_t mode;
    memcpy(&mode, value, sizeof(mode));
    return mode;
}

static unsigned set_at(const void *value)
{
    unsigned set;
    memcpy(&set, value, sizeof(set));
    return set;
}

/* Whether the value is one of its row's: one that is not written and has no default is none. */
static bool is_choice(const struct field *field, const void *value)
{
    for (const struct field_choice *choice = field->choices; choice->name != NULL; choice++) {
        if (choice->value == choice_at(value)) {
            return true;
        }
    }
    return false;
}

static const char *choice_name(const struct field *field, const void *value)
{
    const struct field_choice *choice = field->choices;
    while (choice->name != NULL && choice->value != choice_at(value)) {
        choice++;
    }
    ASSERT(choice->name != NULL);
    return choice->name;
}

/* Whether the number is the one that its row's default means. */
static bool is_default_number(const struct field *field, uint64_t number)
{
    const char *why = NULL;
    uint64_t by_default = 0;
    bool parsed = false;
    if (field->type == FIELD_DURATION) {
        parsed = scalar_parse_duration(field->default_text, &by_default, &why);
    } else if (field->type == FIELD_SIZE) {
        parsed = scalar_parse_size(field->default_text, &by_default, &why);
    } else if (field->type == FIELD_PERCENT) {
        parsed = scalar_parse_percent(field->default_text, &by_default, &why);
    } else {
        parsed = scalar_parse_count(field->default_text, &by_default, &why);
    }
    ASSERT(parsed);
    return number == by_default;
}

static bool is_default_text(const struct field *field, const char *text)
{
    return text == NULL || (field->default_text != NULL && strcmp(text, field->default_text) == 0);
}

static bool number_is_default(const struct place *place, const struct field *field,
                              const void *value)
{
    uint64_t number = number_at(value);
    if (field->default_text != NULL) {
        return is_default_number(field, number);
    }
    return number == 0 ||
           (place->inherited != NULL && number == number_at(in(place->inherited, field->offset)));
}

static bool mode_is_default(const struct field *field, const void *value)
{
    uint32_t by_default = 0;
    const char *why = NULL;
    return field->default_text != NULL &&
           scalar_parse_mode(field->default_text, &by_default, &why) &&
           mode_at(value) == by_default;
}

static bool choice_is_default(const struct place *place, const struct field *field,
                              const void *value)
{
    if (field->default_text != NULL) {
        return strcmp(choice_name(field, value), field->default_text) == 0;
    }
    const struct config_pos *pos = in(place->base, field->pos_offset);
    return !field->required && field->pos_offset != 0 && pos->line == 0;
}

static bool is_default(const struct place *place, const struct field *field)
{
    const void *value = in(place->base, field->offset);
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
        return is_default_text(field, ((const struct config_string *)value)->text);
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
        return is_default_text(field, ((const struct config_address *)value)->text.text);
    case FIELD_TIME:
        return is_default_text(field, ((const struct config_time *)value)->text.text);
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
        return number_is_default(place, field, value);
    case FIELD_BOOL:
        return field->default_text != NULL &&
               bool_at(value) == (strcmp(field->default_text, "true") == 0);
    case FIELD_CHOICE:
        return choice_is_default(place, field, value);
    case FIELD_SET:
        return field->default_text != NULL && set_at(value) == field_default_set(field);
    case FIELD_MODE:
        return mode_is_default(field, value);
    case FIELD_STRINGS:
        return ((const struct config_strings *)value)->count == 0 && !field->required;
    case FIELD_VERSION:
    case FIELD_STRUCT:
    case FIELD_LIST:
    case FIELD_MAP:
        break;
    }
    return false;
}

static void write_strings(const struct config_strings *strings, struct json_writer *w)
{
    json_array_begin(w);
    for (size_t i = 0; i < strings->count; i++) {
        json_text(w, strings->items[i].text);
    }
    json_array_end(w);
}

static void write_set(const struct field *field, unsigned set, struct json_writer *w)
{
    json_array_begin(w);
    for (const struct field_choice *choice = field->choices; choice->name != NULL; choice++) {
        if ((set & (unsigned)choice->value) != 0) {
            json_text(w, choice->name);
        }
    }
    json_array_end(w);
}

static void write_number(const struct field *field, uint64_t number, struct json_writer *w)
{
    char text[SCALAR_TEXT_SIZE];
    if (field->type == FIELD_DURATION) {
        json_text(w, scalar_format_duration(number, text));
    } else if (field->type == FIELD_SIZE) {
        json_text(w, scalar_format_size(number, text));
    } else if (field->type == FIELD_PERCENT) {
        (void)snprintf(text, sizeof(text), "%llu%%", (unsigned long long)number);
        json_text(w, text);
    } else {
        json_u64(w, number);
    }
}

static void write_value(const struct field *field, const void *value, struct json_writer *w)
{
    char text[SCALAR_TEXT_SIZE];
    switch (field->type) {
    case FIELD_VERSION:
        json_u64(w, field->min);
        break;
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
        json_text(w, ((const struct config_string *)value)->text);
        break;
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
        json_text(w, ((const struct config_address *)value)->text.text);
        break;
    case FIELD_TIME:
        json_text(w, ((const struct config_time *)value)->text.text);
        break;
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
        write_number(field, number_at(value), w);
        break;
    case FIELD_BOOL:
        json_bool(w, bool_at(value));
        break;
    case FIELD_CHOICE:
        json_text(w, choice_name(field, value));
        break;
    case FIELD_SET:
        write_set(field, set_at(value), w);
        break;
    case FIELD_MODE:
        (void)snprintf(text, sizeof(text), "%04o", mode_at(value));
        json_text(w, text);
        break;
    case FIELD_STRINGS:
        write_strings(value, w);
        break;
    case FIELD_STRUCT:
    case FIELD_LIST:
    case FIELD_MAP:
        json_none(w);
        break;
    }
}

/* It is the default, and that is no constant: there is nothing to write but its note. */
static bool has_no_value(const struct place *place, const struct field *field)
{
    const void *value = in(place->base, field->offset);
    switch (field->type) {
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
        return field->default_text == NULL && number_at(value) == 0;
    case FIELD_STRINGS:
        return ((const struct config_strings *)value)->count == 0;
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
    case FIELD_PATH:
    case FIELD_OUTPUT:
        return ((const struct config_string *)value)->text == NULL;
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
        return ((const struct config_address *)value)->text.text == NULL;
    case FIELD_TIME:
        return ((const struct config_time *)value)->text.text == NULL;
    case FIELD_CHOICE:
        return !is_choice(field, value);
    case FIELD_VERSION:
    case FIELD_BOOL:
    case FIELD_SET:
    case FIELD_MODE:
    case FIELD_STRUCT:
    case FIELD_LIST:
    case FIELD_MAP:
        break;
    }
    return false;
}

static void write_key(const struct place *place, const struct field *field, const char *path,
                      struct json_writer *w)
{
    bool absent = has_no_value(place, field);
    if (absent && place->is_bulk) {
        return;
    }
    json_object_begin(w);
    json_field_string(w, "key", path);
    json_key(w, "value");
    if (absent) {
        json_none(w);
    } else {
        write_value(field, in(place->base, field->offset), w);
    }
    json_field_bool(w, "default", absent || is_default(place, field));
    json_field_bool(w, "reloadable", !field->fixed);
    if (absent && field->default_note != NULL) {
        json_field_string(w, "note", field->default_note);
    }
    json_object_end(w);
}

static void join(char path[KEY_PATH_SIZE], const char *prefix, const char *name)
{
    (void)snprintf(path, KEY_PATH_SIZE, "%s%s%s", prefix, prefix[0] == '\0' ? "" : ".", name);
}

static void write_field(const struct place *place, const struct field *field,
                        struct json_writer *w);

static void write_table(const struct place *place, const struct field_table *table,
                        struct json_writer *w)
{
    for (size_t i = 0; i < table->count; i++) {
        write_field(place, &table->fields[i], w);
    }
}

/* By its name or key where it has one; else by its number. */
static void item_path(char path[KEY_PATH_SIZE], const char *list, const struct field *field,
                      const void *item, size_t index)
{
    const struct field *name = field_table_find(field->table, "name");
    const struct config_string *key = field->type == FIELD_MAP ? in(item, field->table->key_offset)
                                      : name != NULL           ? in(item, name->offset)
                                                               : NULL;
    if (key != NULL && key->text != NULL) {
        (void)snprintf(path, KEY_PATH_SIZE, "%.255s[%.511s]", list, key->text);
    } else {
        (void)snprintf(path, KEY_PATH_SIZE, "%.255s[%zu]", list, index);
    }
}

static size_t item_count(const struct field *field, const void *base)
{
    size_t count;
    memcpy(&count, in(base, field->count_offset), sizeof(count));
    return count;
}

static void write_item(const struct place *place, const struct field *field, size_t index,
                       struct json_writer *w)
{
    char list[KEY_PATH_SIZE];
    char path[KEY_PATH_SIZE];
    const char *items;
    memcpy(&items, in(place->base, field->offset), sizeof(items));
    const void *item = items + index * field->table->size;
    join(list, place->path, field->name);
    item_path(path, list, field, item, index);
    const struct place inner = {
        .path = path, .base = item, .config = place->config, .is_bulk = place->is_bulk};
    if (field->table->bare) {
        write_key(&inner, &field->table->fields[0], path, w);
    } else {
        write_table(&inner, field->table, w);
    }
}

static void write_items(const struct place *place, const struct field *field, struct json_writer *w)
{
    for (size_t i = 0; i < item_count(field, place->base); i++) {
        write_item(place, field, i, w);
    }
}

static bool is_a_listeners_timeouts(const struct place *place, const struct field *field)
{
    return place->base != place->config && strcmp(field->name, "timeouts") == 0;
}

static void write_field(const struct place *place, const struct field *field, struct json_writer *w)
{
    char path[KEY_PATH_SIZE];
    join(path, place->path, field->name);
    if (field->type == FIELD_STRUCT) {
        const struct place inner = {
            .path = path,
            .base = in(place->base, field->offset),
            .config = place->config,
            .inherited = is_a_listeners_timeouts(place, field) ? &place->config->timeouts : NULL,
            .is_bulk = place->is_bulk,
        };
        write_table(&inner, field->table, w);
    } else if (field->type == FIELD_LIST || field->type == FIELD_MAP) {
        write_items(place, field, w);
    } else {
        write_key(place, field, path, w);
    }
}

/* --- units ----------------------------------------------------------------------------------- */

bool effective_is_end(const struct effective_cursor *cursor)
{
    return cursor->field >= field_table_root()->count;
}

static bool is_list(const struct field *field)
{
    return field->type == FIELD_LIST || field->type == FIELD_MAP;
}

void effective_advance(const struct config *config, struct effective_cursor *cursor)
{
    ASSERT(!effective_is_end(cursor));
    const struct field *field = &field_table_root()->fields[cursor->field];
    cursor->item++;
    if (!is_list(field) || cursor->item >= item_count(field, config)) {
        cursor->field++;
        cursor->item = 0;
    }
}

void effective_write(const struct config *config, const struct effective_cursor *cursor,
                     struct json_writer *w)
{
    ASSERT(!effective_is_end(cursor));
    const struct field *field = &field_table_root()->fields[cursor->field];
    const struct place top = {
        .path = "",
        .base = config,
        .config = config,
        .is_bulk = field_table_find(field_table_included(), field->name) != NULL,
    };
    if (!is_list(field)) {
        write_field(&top, field, w);
    } else if (cursor->item < item_count(field, config)) {
        write_item(&top, field, cursor->item, w);
    }
}
