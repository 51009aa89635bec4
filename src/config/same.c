/*
 * A walk over a table and two structs at once.
 */
#include "config/same.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "config/field_table.h"

static const void *in(const void *base, size_t offset)
{
    return (const char *)base + offset;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_string(const void *a, const void *b)
{
    return same_text(((const struct config_string *)a)->text,
                     ((const struct config_string *)b)->text);
}

static bool is_at(const char *absolute, const char *directory, const char *path)
{
    size_t len = strlen(directory);
    return strncmp(absolute, directory, len) == 0 && absolute[len] == '/' &&
           strcmp(absolute + len + 1, path) == 0;
}

/* One is from the working directory where the file that names it was given so. */
static bool same_path(const void *a, const void *b)
{
    const char *left = ((const struct config_string *)a)->text;
    const char *right = ((const struct config_string *)b)->text;
    if (same_text(left, right)) {
        return true;
    }
    char directory[PATH_MAX];
    if (left == NULL || right == NULL || (left[0] == '/') == (right[0] == '/') ||
        getcwd(directory, sizeof(directory)) == NULL) {
        return false;
    }
    return left[0] == '/' ? is_at(left, directory, right) : is_at(right, directory, left);
}

static bool same_strings(const void *left, const void *right)
{
    const struct config_strings *a = left;
    const struct config_strings *b = right;
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!same_text(a->items[i].text, b->items[i].text)) {
            return false;
        }
    }
    return true;
}

static bool same_table(const struct field_table *table, const void *a, const void *b);

static bool same_field(const struct field *field, const void *a, const void *b)
{
    const void *left = in(a, field->offset);
    const void *right = in(b, field->offset);
    switch (field->type) {
    case FIELD_STRING:
    case FIELD_NAME:
    case FIELD_DNS_NAME:
    case FIELD_WORD:
    case FIELD_ACCOUNT:
        return same_string(left, right);
    case FIELD_PATH:
    case FIELD_OUTPUT:
        return same_path(left, right);
    case FIELD_ACCEPT:
    case FIELD_FORWARD:
    case FIELD_LOCAL:
        return same_text(((const struct config_address *)left)->text.text,
                         ((const struct config_address *)right)->text.text);
    case FIELD_DURATION:
    case FIELD_SIZE:
    case FIELD_COUNT:
    case FIELD_PERCENT:
        return memcmp(left, right, sizeof(uint64_t)) == 0;
    case FIELD_BOOL:
        return memcmp(left, right, sizeof(bool)) == 0;
    case FIELD_CHOICE:
    case FIELD_SET:
        return memcmp(left, right, sizeof(int)) == 0;
    case FIELD_MODE:
        return memcmp(left, right, sizeof(uint32_t)) == 0;
    case FIELD_TIME:
        return ((const struct config_time *)left)->s == ((const struct config_time *)right)->s &&
               (((const struct config_time *)left)->text.text == NULL) ==
                   (((const struct config_time *)right)->text.text == NULL);
    case FIELD_STRINGS:
        return same_strings(left, right);
    case FIELD_STRUCT:
        return same_table(field->table, left, right);
    case FIELD_VERSION:
        return true;
    case FIELD_LIST:
    case FIELD_MAP:
        break; /* items are compared one by one, by name, by whoever needs it */
    }
    return true;
}

static bool same_table(const struct field_table *table, const void *a, const void *b)
{
    for (size_t i = 0; i < table->count; i++) {
        if (!table->fields[i].remark && !same_field(&table->fields[i], a, b)) {
            return false;
        }
    }
    return true;
}

static const struct field_table *table_of(const char *list)
{
    const struct field *field = field_table_find(field_table_root(), list);
    ASSERT(field != NULL && field->table != NULL);
    return field->table;
}

bool config_same_text(const struct config *a, const struct config *b)
{
    return same_text(a->path, b->path) &&
           memcmp(a->text_hash, b->text_hash, sizeof(a->text_hash)) == 0;
}

bool config_same_listener(const struct config_listener *a, const struct config_listener *b)
{
    return same_table(table_of("listeners"), a, b);
}

bool config_same_group(const struct config_group *a, const struct config_group *b)
{
    return same_table(table_of("groups"), a, b);
}

bool config_same_rule(const struct config_rule *a, const struct config_rule *b)
{
    return same_table(table_of("rules"), a, b);
}

enum { KEY_PATH_SIZE = 128 };

static void each_fixed(const struct field_table *table, const char *prefix, const void *a,
                       const void *b, config_fixed_fn *fn, void *arg)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        char path[KEY_PATH_SIZE];
        (void)snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == '\0' ? "" : ".",
                       field->name);
        if (field->fixed && !same_field(field, a, b)) {
            fn(arg, path);
        } else if (field->type == FIELD_STRUCT) {
            each_fixed(field->table, path, in(a, field->offset), in(b, field->offset), fn, arg);
        }
    }
}

void config_each_fixed_change(const struct config *a, const struct config *b, config_fixed_fn *fn,
                              void *arg)
{
    each_fixed(field_table_root(), "", a, b, fn, arg);
}
