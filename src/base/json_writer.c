/*
 * json_writer: text goes out as it comes; the only state is whether a comma is due.
 *
 * Before a value or key: a comma when something stands before it. After a value: a comma is due.
 * After a key or an opening bracket: none. Once something did not fit, nothing more is written.
 */
#include "base/json_writer.h"

#include "base/assert.h"
#include "base/utf8.h"

#include <string.h>

enum { MAX_DEPTH = 16, U64_DIGITS = 20 };

void json_writer_init(struct json_writer *w, char *buf, size_t capacity)
{
    *w = (struct json_writer){.buf = buf, .capacity = capacity};
}

/* One byte stays free for the NUL of json_writer_finish. */
static void put(struct json_writer *w, const char *text, size_t len)
{
    if (w->overflow || len >= w->capacity - w->len) {
        w->overflow = true;
        return;
    }
    memcpy(w->buf + w->len, text, len);
    w->len += len;
}

static void put_comma(struct json_writer *w)
{
    if (w->need_comma) {
        put(w, ",", 1);
    }
    w->need_comma = false;
}

static void begin(struct json_writer *w, const char *bracket)
{
    ASSERT(w->depth < MAX_DEPTH);
    put_comma(w);
    put(w, bracket, 1);
    w->depth++;
}

static void end(struct json_writer *w, const char *bracket)
{
    ASSERT(w->depth > 0);
    put(w, bracket, 1);
    w->depth--;
    w->need_comma = true;
}

void json_object_begin(struct json_writer *w)
{
    begin(w, "{");
}

void json_object_end(struct json_writer *w)
{
    end(w, "}");
}

void json_array_begin(struct json_writer *w)
{
    begin(w, "[");
}

void json_array_end(struct json_writer *w)
{
    end(w, "]");
}

/* The characters of RFC 8259 7 that must be escaped, and those that deceive a reader of logs.
   All of the latter are below U+10000: one \u each. */
static void put_escape(struct json_writer *w, uint32_t code)
{
    static const char named[] = "\"\\\n\t\r\b\f";
    static const char letters[] = "\"\\ntrbf";
    const char *found = code != 0 && code < 0x80 ? strchr(named, (int)code) : NULL;
    if (found != NULL) {
        char text[2] = {'\\', letters[found - named]};
        put(w, text, sizeof(text));
        return;
    }
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\',           'u', hex[code >> 12 & 0xF], hex[code >> 8 & 0xF], hex[code >> 4 & 0xF],
        hex[code & 0xF]};
    put(w, text, sizeof(text));
}

static bool needs_escape(uint32_t code)
{
    return code == '"' || code == '\\' || utf8_is_deceptive(code);
}

static void put_quoted(struct json_writer *w, struct strview text)
{
    static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */
    put(w, "\"", 1);
    size_t at = 0;
    size_t plain = 0; /* the start of what can be copied as it is */
    while (at < text.len) {
        uint32_t code = 0;
        size_t len = utf8_decode(text.ptr + at, text.len - at, &code);
        if (len > 0 && !needs_escape(code)) {
            at += len;
            continue;
        }
        put(w, text.ptr + plain, at - plain);
        if (len == 0) {
            put(w, replacement, sizeof(replacement) - 1);
            len = 1;
        } else {
            put_escape(w, code);
        }
        at += len;
        plain = at;
    }
    if (at > plain) {
        put(w, text.ptr + plain, at - plain);
    }
    put(w, "\"", 1);
}

void json_key(struct json_writer *w, const char *key)
{
    ASSERT(w->depth > 0);
    put_comma(w);
    put_quoted(w, strview_from(key));
    put(w, ":", 1);
}

/* A value that is no string: the comma before it, its text, and the one after it is due. */
static void put_literal(struct json_writer *w, const char *text, size_t len)
{
    put_comma(w);
    put(w, text, len);
    w->need_comma = true;
}

void json_strview(struct json_writer *w, struct strview text)
{
    put_comma(w);
    put_quoted(w, text);
    w->need_comma = true;
}

void json_text(struct json_writer *w, const char *text)
{
    if (text == NULL) {
        json_none(w);
    } else {
        json_strview(w, strview_from(text));
    }
}

/* Digits from the right; with a sign before them when negative. */
static void put_number(struct json_writer *w, uint64_t magnitude, bool negative)
{
    char text[U64_DIGITS + 1];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    if (negative) {
        text[--at] = '-';
    }
    put_literal(w, text + at, sizeof(text) - at);
}

void json_u64(struct json_writer *w, uint64_t value)
{
    put_number(w, value, false);
}

void json_i64(struct json_writer *w, int64_t value)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    put_number(w, magnitude, value < 0);
}

void json_bool(struct json_writer *w, bool value)
{
    put_literal(w, value ? "true" : "false", value ? 4 : 5);
}

void json_none(struct json_writer *w)
{
    put_literal(w, "null", 4);
}

void json_field_string(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_text(w, text);
}

void json_field_strview(struct json_writer *w, const char *key, struct strview text)
{
    json_key(w, key);
    json_strview(w, text);
}

void json_field_u64(struct json_writer *w, const char *key, uint64_t value)
{
    json_key(w, key);
    json_u64(w, value);
}

void json_field_bool(struct json_writer *w, const char *key, bool value)
{
    json_key(w, key);
    json_bool(w, value);
}

size_t json_writer_finish(struct json_writer *w)
{
    ASSERT(w->depth == 0);
    if (w->overflow || w->len >= w->capacity) {
        return 0;
    }
    w->buf[w->len] = '\0';
    return w->len;
}
