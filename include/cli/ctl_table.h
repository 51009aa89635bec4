/* ctl_table: rows of a JSON answer as a table for people. */
#ifndef BULKHEAD_CLI_CTL_TABLE_H
#define BULKHEAD_CLI_CTL_TABLE_H

#include <stddef.h>
#include <stdio.h>

struct json_t;

struct ctl_column {
    const char *title;
    const char *key;
};

/* The text at that key; "-" when there is none. */
const char *ctl_text_of(const struct json_t *object, const char *key);
/* Without anything that a terminal would obey. */
void ctl_print_clean(const char *text, FILE *out);
/* At most 16 columns. A value is cut at 255 bytes; a list shows its texts, a comma between two. */
void ctl_print_table(struct json_t *rows, const struct ctl_column *columns, size_t count,
                     FILE *out);

#endif
