/*
 * log: a line is made in place in log->line and handed to the sink at log_end.
 *
 * Every pair is written as a whole or taken back: the room that the end of the line may need is
 * kept out of reach until log_end, so a line always ends well, in either format.
 */
#include "base/log.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Room for ` truncated=true` or `,"truncated":true}`, with the newline and a NUL. */
enum { END_ROOM = 32, PAIRS_SIZE = LOG_LINE_SIZE - END_ROOM };
/* How long log_sink_fd waits, once per line, for a descriptor that somebody made non-blocking. */
enum { SINK_WAIT_MS = 100 };

const char *log_level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARN:
        return "warn";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    }
    return "unknown";
}

void log_init(struct log *log, enum log_level level, enum log_format format, log_sink_fn *sink,
              void *sink_arg)
{
    ASSERT(sink != NULL);
    log->sink = sink;
    log->sink_arg = sink_arg;
    log->format = format;
    log->level = level;
    log->level_of_all = NULL;
    log->active = false;
    log->truncated = false;
    log->len = 0;
    log->line[0] = '\0';
}

/* False when the descriptor is of no use; the line is lost then. */
static bool wait_writable(int fd, bool *waited)
{
    struct pollfd entry = {.fd = fd, .events = POLLOUT};
    if (*waited) {
        return false;
    }
    *waited = true;
    return poll(&entry, 1, SINK_WAIT_MS) == 1;
}

void log_sink_fd(void *arg, const char *line, size_t len)
{
    const int *fd = arg;
    bool waited = false;
    while (len > 0) {
        ssize_t written = write(*fd, line, len);
        if (written >= 0) {
            line += written;
            len -= (size_t)written;
        } else if (errno == EAGAIN) {
            if (!wait_writable(*fd, &waited)) {
                return;
            }
        } else if (errno != EINTR) {
            return; /* There is no place left where this could be told. */
        }
    }
}

/* Text: each put returns false when it did not fit. */

static bool put(struct log *log, const char *text, size_t len)
{
    if (len > PAIRS_SIZE - log->len) {
        return false;
    }
    memcpy(log->line + log->len, text, len);
    log->len += len;
    return true;
}

static bool put_text(struct log *log, const char *text)
{
    return put(log, text, strlen(text));
}

static bool is_bare(struct strview value)
{
    static const char bare[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                               "._:/@+-[]%,*";
    /* A lone - stands for "no value". */
    if (value.len == 0 || strview_equal_text(value, "-")) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (memchr(bare, value.ptr[i], sizeof(bare) - 1) == NULL) {
            return false;
        }
    }
    return true;
}

/* Bytes that don't show as themselves, each as \xNN. */
static bool put_hex(struct log *log, const char *bytes, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        unsigned byte = (unsigned char)bytes[i];
        char text[4] = {'\\', 'x', hex[byte >> 4], hex[byte & 0xF]};
        if (!put(log, text, sizeof(text))) {
            return false;
        }
    }
    return true;
}

/* One character of len bytes; code is valid when len is not 0. */
static bool put_character(struct log *log, const char *bytes, size_t len, uint32_t code)
{
    if (len == 0) {
        return put_hex(log, bytes, 1);
    }
    switch (code) {
    case '"':
        return put(log, "\\\"", 2);
    case '\\':
        return put(log, "\\\\", 2);
    case '\n':
        return put(log, "\\n", 2);
    case '\t':
        return put(log, "\\t", 2);
    default:
        return utf8_is_deceptive(code) ? put_hex(log, bytes, len) : put(log, bytes, len);
    }
}

static bool put_value(struct log *log, struct strview value)
{
    if (is_bare(value)) {
        return put(log, value.ptr, value.len);
    }
    if (!put(log, "\"", 1)) {
        return false;
    }
    for (size_t at = 0; at < value.len;) {
        uint32_t code = 0;
        size_t len = utf8_decode(value.ptr + at, value.len - at, &code);
        if (!put_character(log, value.ptr + at, len, code)) {
            return false;
        }
        at += len > 0 ? len : 1;
    }
    return put(log, "\"", 1);
}

static bool put_key(struct log *log, const char *key)
{
    return (log->len == 0 || put(log, " ", 1)) && put_text(log, key) && put(log, "=", 1);
}

static void text_pair(struct log *log, const char *key, const struct strview *value)
{
    size_t before = log->len;
    bool fits = put_key(log, key) && (value != NULL ? put_value(log, *value) : put(log, "-", 1));
    if (!fits) {
        log->len = before;
        log->truncated = true;
    }
}

/* JSON: the writer notes that something did not fit; its state before the pair is put back. */

static void json_pair(struct log *log, const char *key, const struct strview *value)
{
    struct json_writer before = log->json;
    json_key(&log->json, key);
    if (value != NULL) {
        json_strview(&log->json, *value);
    } else {
        json_none(&log->json);
    }
    if (log->json.overflow) {
        log->json = before;
        log->truncated = true;
    }
}

static void pair(struct log *log, const char *key, const struct strview *value)
{
    if (!log->active) {
        return;
    }
    if (log->format == LOG_FORMAT_JSON) {
        json_pair(log, key, value);
    } else {
        text_pair(log, key, value);
    }
}

void log_set_level(struct log *log, enum log_level level)
{
    ASSERT(!log->active);
    log->level = level;
}

void log_follow_level(struct log *log, const _Atomic int *level)
{
    ASSERT(!log->active);
    log->level_of_all = level;
}

void log_set_format(struct log *log, enum log_format format)
{
    ASSERT(!log->active);
    log->format = format;
}

void log_begin(struct log *log, enum log_level level, const char *event)
{
    ASSERT(!log->active);
    int most = log->level_of_all == NULL
                   ? (int)log->level
                   : atomic_load_explicit(log->level_of_all, memory_order_relaxed);
    if ((int)level > most) {
        return;
    }
    log->active = true;
    log->truncated = false;
    log->len = 0;
    if (log->format == LOG_FORMAT_JSON) {
        json_writer_init(&log->json, log->line, PAIRS_SIZE);
        json_object_begin(&log->json);
    }
    char time[CLOCK_TEXT_SIZE];
    log_str(log, "time", clock_format_ms(clock_wall_ms(), time));
    log_str(log, "level", log_level_name(level));
    log_str(log, "event", event);
}

void log_str(struct log *log, const char *key, const char *value)
{
    struct strview view = strview_from(value);
    pair(log, key, value != NULL ? &view : NULL);
}

void log_strview(struct log *log, const char *key, struct strview value)
{
    pair(log, key, &value);
}

void log_u64(struct log *log, const char *key, uint64_t value)
{
    if (!log->active) {
        return;
    }
    if (log->format == LOG_FORMAT_TEXT) {
        log_fmt(log, key, "%llu", (unsigned long long)value);
        return;
    }
    struct json_writer before = log->json;
    json_field_u64(&log->json, key, value);
    if (log->json.overflow) {
        log->json = before;
        log->truncated = true;
    }
}

void log_fmt(struct log *log, const char *key, const char *format, ...)
{
    if (!log->active) {
        return;
    }
    char value[LOG_LINE_SIZE];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(value)) {
        log->truncated = true;
        return;
    }
    struct strview view = {.ptr = value, .len = (size_t)len};
    pair(log, key, &view);
}

static void end_json(struct log *log)
{
    log->json.capacity = LOG_LINE_SIZE - 1; /* The room for the end; one byte is the newline's. */
    if (log->truncated) {
        json_field_bool(&log->json, "truncated", true);
    }
    json_object_end(&log->json);
    log->len = json_writer_finish(&log->json);
}

static void end_text(struct log *log)
{
    static const char truncated[] = " truncated=true";
    if (log->truncated) {
        memcpy(log->line + log->len, truncated, sizeof(truncated) - 1);
        log->len += sizeof(truncated) - 1;
    }
}

void log_end(struct log *log)
{
    if (!log->active) {
        return;
    }
    if (log->format == LOG_FORMAT_JSON) {
        end_json(log);
    } else {
        end_text(log);
    }
    log->line[log->len++] = '\n';
    log->active = false;
    log->sink(log->sink_arg, log->line, log->len);
}
