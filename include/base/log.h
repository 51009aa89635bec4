/*
 * log: the process log: lines of a fixed event name and key=value pairs, text or JSON.
 *
 * A struct log belongs to one thread (control, each worker) and formats in place; where lines go
 * is the sink's business (telemetry/log_writer, or stderr before it runs). Use:
 *
 *     log_begin(log, LOG_WARN, "accept_paused");
 *     log_str(log, "listener", name);
 *     log_u64(log, "sessions", count);
 *     log_end(log);
 *
 * Values are quoted where needed and always escaped: one event is one line. A pair that doesn't
 * fit into the line is left out whole and the line ends with truncated=true; what comes after it
 * is still written when it fits, so that no long value hides the others. A line below the level
 * costs one comparison. Never a private key, never payload.
 *
 * Event names and keys are literals of ours in lower_snake: they are written as they are.
 *
 *   text: time=2026-11-23T10:20:30.123Z level=warn event=accept_paused listener=orders sessions=7
 *   json: {"time":"…","level":"warn","event":"accept_paused","listener":"orders","sessions":7}
 */
#ifndef BULKHEAD_BASE_LOG_H
#define BULKHEAD_BASE_LOG_H

#include "base/json_writer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR = 0, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_FORMAT_TEXT = 0, LOG_FORMAT_JSON };
enum { LOG_LINE_SIZE = 4096 };

/* Takes one line with its newline. Must not block for long; must not log. */
typedef void log_sink_fn(void *arg, const char *line, size_t len);

struct log {
    log_sink_fn *sink;
    void *sink_arg;
    enum log_format format;
    enum log_level level;
    const _Atomic int *level_of_all; /* in its place; NULL: none */
    /* The line that is being made. */
    bool active;
    bool truncated;
    size_t len;
    struct json_writer json;
    char line[LOG_LINE_SIZE];
};

void log_init(struct log *log, enum log_level level, enum log_format format, log_sink_fn *sink,
              void *sink_arg);
/* From the next line on. */
void log_set_level(struct log *log, enum log_level level);
/* From the next line on the level is what stands in *level, an enum log_level that another thread
   may change; it outlives the log. */
void log_follow_level(struct log *log, const _Atomic int *level);
void log_set_format(struct log *log, enum log_format format);
/* A sink that writes to the file descriptor in *(int *)arg. */
void log_sink_fd(void *arg, const char *line, size_t len);
/* Between log_begin and its log_end no other line may begin. */
void log_begin(struct log *log, enum log_level level, const char *event);
/* A value of NULL shows as null in JSON and as - in text. */
void log_str(struct log *log, const char *key, const char *value);
void log_strview(struct log *log, const char *key, struct strview value);
void log_u64(struct log *log, const char *key, uint64_t value);
void log_fmt(struct log *log, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void log_end(struct log *log);
const char *log_level_name(enum log_level level);

#endif
