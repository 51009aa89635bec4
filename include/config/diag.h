/*
 * diag: what is wrong in a configuration, all of it at once, with places.
 *
 * Collected while loading, printed by control and cli only. One thread at a time.
 *   bulkhead.yaml:14:9: error: rules[2].from[0]: "spiffe:/x": must start with "spiffe://"
 */
#ifndef BULKHEAD_CONFIG_DIAG_H
#define BULKHEAD_CONFIG_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer;

/* A note is for who asks (`bulkhead check`); it is not logged. A test of the configuration that
   fails reads as an error, but is counted apart: whether it refuses the load is up to who loads. */
enum diag_severity { DIAG_ERROR = 0, DIAG_WARNING, DIAG_NOTE, DIAG_TEST };

/* Where a value stood: an index into diag_list.files, and 1-based line and column (0: the whole
 * file). */
struct config_pos {
    uint32_t file;
    uint32_t line;
    uint32_t column;
};

struct diag {
    enum diag_severity severity;
    struct config_pos pos;
    char *message;
};

struct diag_list {
    char **files;
    size_t file_count;
    struct diag *items;
    size_t count;
    size_t error_count;
    size_t warning_count;
    size_t test_count; /* tests that fail */
};

void diag_list_init(struct diag_list *list);
void diag_list_fini(struct diag_list *list);
/* Registers a file name (copied); returns its index for config_pos.file. */
uint32_t diag_add_file(struct diag_list *list, const char *path);
void diag_error(struct diag_list *list, struct config_pos pos, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void diag_warning(struct diag_list *list, struct config_pos pos, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void diag_note(struct diag_list *list, struct config_pos pos, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void diag_test(struct diag_list *list, struct config_pos pos, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As what people and machines are told it: DIAG_ERROR for a test. */
enum diag_severity diag_told_as(const struct diag *diag);
/* Failing tests are not counted. */
bool diag_has_errors(const struct diag_list *list);
/* In order of file, line, column; stable. */
void diag_sort(struct diag_list *list);
/* "FILE:LINE:COLUMN: error: MESSAGE" (without newline) into out; cut when it doesn't fit. */
void diag_format(const struct diag_list *list, const struct diag *diag, char *out, size_t size);
/* Those told as one severity as a list of {file, line, column, message}. */
void diag_write_json(struct json_writer *w, const struct diag_list *list,
                     enum diag_severity severity);

#endif
