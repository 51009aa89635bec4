#include "control/drain.h"

#include <signal.h>
#include <stdbool.h>

#include "admin_json.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "control/systemd.h"
#include "control_private.h"
#include "proxy/worker.h"

enum { STATUS_ACCEPTED = 202 };

static void begin(struct control *control)
{
    control->state = CONTROL_DRAINING;
    control_order_all(control, WORKER_STOP_ACCEPTING, REASON_NONE);
    timer_set(control->timer, control_config(control)->drain.timeout_ms);
}

void drain_on_timer(struct control *control)
{
    if (control->state == CONTROL_DELAYED) {
        begin(control);
        return;
    }
    log_begin(&control->log, LOG_WARN, "drain_deadline");
    log_fmt(&control->log, "error", "sessions still open after %llu ms are cut",
            (unsigned long long)control_config(control)->drain.timeout_ms);
    log_end(&control->log);
    control_order_all(control, WORKER_CUT, REASON_DRAIN_DEADLINE);
}

/* Nothing when it is asked for again. */
static void ask(struct control *control)
{
    if (control->state == CONTROL_RUNNING) {
        systemd_stopping(control->systemd);
        control->state = CONTROL_DELAYED;
        timer_set(control->timer, control_config(control)->drain.delay_ms);
    }
}

void drain_on_signal(struct control *control, int signal_number, const char *name)
{
    bool cuts = control->stop_signals++ > 0 || signal_number == SIGQUIT;
    log_begin(&control->log, LOG_INFO, cuts ? "stopping_at_once" : "draining");
    log_str(&control->log, "signal", name);
    log_end(&control->log);
    if (!cuts) {
        ask(control);
        return;
    }
    if (control->state == CONTROL_RUNNING || control->state == CONTROL_DELAYED) {
        systemd_stopping(control->systemd);
        begin(control);
    }
    control_order_all(control, WORKER_CUT, REASON_STOPPED);
}

static const char *state_name(enum control_state state)
{
    switch (state) {
    case CONTROL_RUNNING:
        return "running";
    case CONTROL_DELAYED:
        return "delayed";
    case CONTROL_DRAINING:
        return "draining";
    case CONTROL_STOPPING:
        return "stopping";
    }
    return "";
}

struct told {
    const struct control *control;
    bool begun_before;
};

static void write_answer(struct json_writer *w, const void *arg)
{
    const struct told *told = arg;
    const struct config *config = control_config(told->control);
    json_object_begin(w);
    json_field_string(w, "state", state_name(told->control->state));
    json_field_bool(w, "begun_before", told->begun_before);
    json_field_u64(w, "delay_ms", config->drain.delay_ms);
    json_field_u64(w, "timeout_ms", config->drain.timeout_ms);
    json_object_end(w);
}

void drain_answer(struct control *control, struct http_call *call)
{
    bool begun = control->state != CONTROL_RUNNING;
    if (!begun) {
        log_begin(&control->log, LOG_INFO, "draining");
        log_str(&control->log, "trigger", "ctl");
        log_end(&control->log);
        ask(control);
    }
    const struct told told = {.control = control, .begun_before = begun};
    size_t len = 0;
    char *text = admin_json_render(write_answer, &told, &len);
    admin_json_answer(call, STATUS_ACCEPTED, text, len, "memory is out; the drain has begun");
}
