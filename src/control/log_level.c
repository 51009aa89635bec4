#include "control/log_level.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "admin_json.h"
#include "base/json_writer.h"
#include "config/config.h"
#include "control_private.h"
#include "net/http_server.h"
#include "telemetry/log_writer.h"

enum { STATUS_OK = 200, STATUS_BAD = 400 };

static enum log_level level_of(const struct control *control)
{
    return (enum log_level)atomic_load_explicit(&control->log_level, memory_order_relaxed);
}

static void take_effect(struct control *control, enum log_level level)
{
    atomic_store_explicit(&control->log_level, (int)level, memory_order_relaxed);
    log_writer_set_style(control->log_writer, level, control->log.format);
}

/* Said while the more telling of both levels is in force. */
static void change(struct control *control, enum log_level level, const char *trigger,
                   const struct http_call *call)
{
    enum log_level former = level_of(control);
    uid_t uid = 0;
    if (level == former) {
        return;
    }
    if (level > former) {
        take_effect(control, level);
    }
    log_begin(&control->log, LOG_INFO, "log_level");
    log_str(&control->log, "to", log_level_name(level));
    log_str(&control->log, "from", log_level_name(former));
    log_str(&control->log, "trigger", trigger);
    if (call != NULL && http_call_peer_uid(call, &uid)) {
        log_u64(&control->log, "uid", uid);
    }
    log_end(&control->log);
    take_effect(control, level);
}

void log_level_start(struct control *control)
{
    control->configured_log_level = control_config(control)->log.level;
    log_follow_level(&control->log, &control->log_level);
    take_effect(control, (enum log_level)control->configured_log_level);
}

void log_level_follow(struct control *control)
{
    int configured = control_config(control)->log.level;
    if (configured != control->configured_log_level) {
        control->configured_log_level = configured;
        change(control, (enum log_level)configured, "reload", NULL);
    }
}

static bool parse_level(struct strview text, enum log_level *level)
{
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        if (strview_equal_text(text, log_level_name((enum log_level)i))) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void write_answer(struct json_writer *w, const void *arg)
{
    const struct control *control = arg;
    json_object_begin(w);
    json_field_string(w, "level", log_level_name(level_of(control)));
    json_field_string(w, "configured",
                      log_level_name((enum log_level)control->configured_log_level));
    json_object_end(w);
}

void log_level_answer(struct control *control, struct http_call *call)
{
    const struct http_request *request = http_call_request(call);
    const struct strview *parameter = http_request_parameter(request, "level");
    enum log_level level = LOG_ERROR;
    if (request->method == HTTP_METHOD_POST) {
        if (parameter == NULL || !parse_level(*parameter, &level)) {
            http_call_refuse(call, STATUS_BAD, "level must be error, warn, info or debug");
            return;
        }
        change(control, level, "ctl", call);
    }
    size_t len = 0;
    char *text = admin_json_render(write_answer, control, &len);
    admin_json_answer(call, STATUS_OK, text, len, "memory is out");
}
