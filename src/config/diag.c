/*
 * A plain growing list. Messages are few, and made only while loading.
 */
#include "config/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/memory.h"

void diag_list_init(struct diag_list *list)
{
    *list = (struct diag_list){0};
}

void diag_list_fini(struct diag_list *list)
{
    for (size_t i = 0; i < list->file_count; i++) {
        mem_free(list->files[i]);
    }
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->items[i].message);
    }
    mem_free(list->files);
    mem_free(list->items);
    *list = (struct diag_list){0};
}

uint32_t diag_add_file(struct diag_list *list, const char *path)
{
    list->files =
        mem_grow_array(list->files, list->file_count, list->file_count + 1, sizeof *list->files);
    list->files[list->file_count] = mem_strdup(path);
    return (uint32_t)list->file_count++;
}

static bool is_power_of_two(size_t n)
{
    return (n & (n - 1)) == 0;
}

/* A message is one line for a terminal, whatever a key or value of the file holds. */
static void hide_control_chars(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = '?';
        }
    }
}

__attribute__((format(printf, 4, 0))) static void add_diag(struct diag_list *list,
                                                           enum diag_severity severity,
                                                           struct config_pos pos,
                                                           const char *format, va_list args)
{
    /* The capacity is always the next power of two: it needs no field of its own. */
    if (is_power_of_two(list->count)) {
        size_t capacity = list->count == 0 ? 1 : list->count * 2;
        list->items = mem_grow_array(list->items, list->count, capacity, sizeof *list->items);
    }
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    size_t size = len < 0 ? 1 : (size_t)len + 1;
    struct diag *diag = &list->items[list->count++];
    *diag = (struct diag){.severity = severity, .pos = pos, .message = mem_alloc(size)};
    if (len >= 0) {
        (void)vsnprintf(diag->message, size, format, again);
        hide_control_chars(diag->message);
    }
    va_end(again);
    if (severity == DIAG_ERROR) {
        list->error_count++;
    } else if (severity == DIAG_WARNING) {
        list->warning_count++;
    } else if (severity == DIAG_TEST) {
        list->test_count++;
    }
}

void diag_error(struct diag_list *list, struct config_pos pos, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_diag(list, DIAG_ERROR, pos, format, args);
    va_end(args);
}

void diag_warning(struct diag_list *list, struct config_pos pos, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_diag(list, DIAG_WARNING, pos, format, args);
    va_end(args);
}

void diag_note(struct diag_list *list, struct config_pos pos, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_diag(list, DIAG_NOTE, pos, format, args);
    va_end(args);
}

void diag_test(struct diag_list *list, struct config_pos pos, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_diag(list, DIAG_TEST, pos, format, args);
    va_end(args);
}

enum diag_severity diag_told_as(const struct diag *diag)
{
    return diag->severity == DIAG_TEST ? DIAG_ERROR : diag->severity;
}

bool diag_has_errors(const struct diag_list *list)
{
    return list->error_count > 0;
}

struct ranked {
    struct diag diag;
    size_t rank; /* qsort is not stable: the place in the list decides among equals */
};

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_ranked(const void *left, const void *right)
{
    const struct ranked *a = left;
    const struct ranked *b = right;
    int order = compare_u64(a->diag.pos.file, b->diag.pos.file);
    if (order == 0) {
        order = compare_u64(a->diag.pos.line, b->diag.pos.line);
    }
    if (order == 0) {
        order = compare_u64(a->diag.pos.column, b->diag.pos.column);
    }
    return order != 0 ? order : compare_u64(a->rank, b->rank);
}

void diag_sort(struct diag_list *list)
{
    if (list->count < 2) {
        return;
    }
    struct ranked *ranked = mem_alloc_array(list->count, sizeof *ranked);
    for (size_t i = 0; i < list->count; i++) {
        ranked[i] = (struct ranked){.diag = list->items[i], .rank = i};
    }
    qsort(ranked, list->count, sizeof *ranked, compare_ranked);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i] = ranked[i].diag;
    }
    mem_free(ranked);
}

void diag_format(const struct diag_list *list, const struct diag *diag, char *out, size_t size)
{
    static const char *const words[] = {"error", "warning", "note"};
    const char *word = words[diag_told_as(diag)];
    if (diag->pos.file >= list->file_count) {
        (void)snprintf(out, size, "%s: %s", word, diag->message);
        return;
    }
    const char *file = list->files[diag->pos.file];
    if (diag->pos.line == 0) {
        (void)snprintf(out, size, "%s: %s: %s", file, word, diag->message);
        return;
    }
    (void)snprintf(out, size, "%s:%u:%u: %s: %s", file, diag->pos.line, diag->pos.column, word,
                   diag->message);
}

void diag_write_json(struct json_writer *w, const struct diag_list *list,
                     enum diag_severity severity)
{
    json_array_begin(w);
    for (size_t i = 0; i < list->count; i++) {
        const struct diag *diag = &list->items[i];
        if (diag_told_as(diag) != severity) {
            continue;
        }
        json_object_begin(w);
        json_field_string(w, "file",
                          diag->pos.file < list->file_count ? list->files[diag->pos.file] : NULL);
        json_field_u64(w, "line", diag->pos.line);
        json_field_u64(w, "column", diag->pos.column);
        json_field_string(w, "message", diag->message);
        json_object_end(w);
    }
    json_array_end(w);
}
