/*
 * json_writer: writes one JSON text into a buffer of the caller's; allocates nothing.
 *
 * Commas are placed by the writer. Bytes that are no valid UTF-8 become U+FFFD, control
 * characters are escaped: the result is always one line of valid JSON. When the buffer is too
 * small, json_writer_finish says so by returning 0, and what is in it must not be used.
 * No name here is one of jansson's, which tests link as well: it would bind to ours.
 * Nesting is at most 16 deep. Any thread; one writer belongs to one.
 */
#ifndef BULKHEAD_BASE_JSON_WRITER_H
#define BULKHEAD_BASE_JSON_WRITER_H

#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer {
    char *buf;
    size_t capacity;
    size_t len;
    unsigned depth;
    bool overflow;
    bool need_comma;
};

void json_writer_init(struct json_writer *w, char *buf, size_t capacity);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_text(struct json_writer *w, const char *text); /* a string; NULL writes null */
void json_strview(struct json_writer *w, struct strview text);
void json_u64(struct json_writer *w, uint64_t value);
void json_i64(struct json_writer *w, int64_t value);
void json_bool(struct json_writer *w, bool value);
void json_none(struct json_writer *w); /* null */
/* Key and value in one call. */
void json_field_string(struct json_writer *w, const char *key, const char *text);
void json_field_strview(struct json_writer *w, const char *key, struct strview text);
void json_field_u64(struct json_writer *w, const char *key, uint64_t value);
void json_field_bool(struct json_writer *w, const char *key, bool value);
/* The length without the terminating NUL that is added; 0 when it did not fit. */
size_t json_writer_finish(struct json_writer *w);

#endif
