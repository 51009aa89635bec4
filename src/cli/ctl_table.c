/*
 * Columns are as wide as their widest value. What comes from peers has been escaped as JSON and is
 * valid UTF-8; what a terminal would obey, or show in another order, is shown as "?".
 */
#include "cli/ctl_table.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include "base/utf8.h"

enum { COLUMNS_MAX = 16, CELL_MAX = 256 };

const char *ctl_text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "-" : text;
}

void ctl_print_clean(const char *text, FILE *out)
{
    for (size_t left = strlen(text); left > 0;) {
        uint32_t code = 0;
        size_t len = utf8_decode(text, left, &code);
        if (len == 0 || utf8_is_deceptive(code)) {
            putc('?', out);
        } else {
            (void)fwrite(text, 1, len, out); /* what is lost shows in output_finish */
        }
        len = len > 0 ? len : 1;
        text += len;
        left -= len;
    }
}

static void list_cell(const json_t *list, char text[CELL_MAX])
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(list) && len < CELL_MAX; i++) {
        const char *item = json_string_value(json_array_get(list, i));
        int more = snprintf(text + len, CELL_MAX - len, "%s%s", i == 0 ? "" : ", ",
                            item == NULL ? "?" : item);
        len += more > 0 ? (size_t)more : 0;
    }
}

static void cell(const json_t *row, const struct ctl_column *column, char text[CELL_MAX])
{
    const json_t *value = json_object_get(row, column->key);
    if (json_is_integer(value)) {
        (void)snprintf(text, CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_array(value)) {
        list_cell(value, text);
    } else if (json_is_boolean(value)) {
        (void)snprintf(text, CELL_MAX, "%s", json_is_true(value) ? "yes" : "no");
    } else {
        (void)snprintf(text, CELL_MAX, "%s", ctl_text_of(row, column->key));
    }
}

static void print_row(const json_t *row, const struct ctl_column *columns, size_t count,
                      const size_t *widths, FILE *out)
{
    char text[CELL_MAX];
    for (size_t i = 0; i < count; i++) {
        if (row == NULL) {
            (void)snprintf(text, sizeof(text), "%s", columns[i].title);
        } else {
            cell(row, &columns[i], text);
        }
        ctl_print_clean(text, out);
        size_t len = strlen(text);
        for (size_t pad = len; i + 1 < count && pad < widths[i] + 2; pad++) {
            putc(' ', out);
        }
    }
    putc('\n', out);
}

void ctl_print_table(json_t *rows, const struct ctl_column *columns, size_t count, FILE *out)
{
    size_t widths[COLUMNS_MAX];
    char text[CELL_MAX];
    size_t index = 0;
    json_t *row = NULL;
    for (size_t i = 0; i < count; i++) {
        widths[i] = strlen(columns[i].title);
        json_array_foreach(rows, index, row)
        {
            cell(row, &columns[i], text);
            widths[i] = strlen(text) > widths[i] ? strlen(text) : widths[i];
        }
    }
    print_row(NULL, columns, count, widths, out);
    json_array_foreach(rows, index, row)
    {
        print_row(row, columns, count, widths, out);
    }
}
