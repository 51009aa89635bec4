/*
 * An outage that ends before its line was due is told all the same, late: failed, then recovered.
 */
#include "telemetry/log_losses.h"

#include <string.h>

void log_losses_init(struct log_losses *losses, log_sink_fn *sink, void *arg)
{
    memset(losses, 0, sizeof(*losses));
    log_init(&losses->log, LOG_INFO, LOG_FORMAT_TEXT, sink, arg);
}

void log_losses_failed(struct log_losses *losses, int error, uint64_t lines)
{
    losses->error = error;
    losses->failing = true;
    losses->failed += lines;
    losses->outage += lines;
}

void log_losses_written(struct log_losses *losses)
{
    losses->failing = false;
}

static void say_failed(struct log_losses *losses)
{
    log_begin(&losses->log, LOG_ERROR, "access_log_failed");
    log_str(&losses->log, "error", strerror(losses->error));
    log_u64(&losses->log, "lines_lost", losses->failed);
    log_end(&losses->log);
    losses->failed = 0;
    losses->told = true;
}

static void say_recovered(struct log_losses *losses)
{
    log_begin(&losses->log, LOG_WARN, "access_log_recovered");
    log_u64(&losses->log, "lines_lost", losses->outage);
    log_end(&losses->log);
    losses->failed = 0;
    losses->outage = 0;
    losses->told = false;
}

static void say_dropped(struct log_losses *losses, uint64_t dropped)
{
    log_begin(&losses->log, LOG_WARN, "log_lines_dropped");
    log_u64(&losses->log, "count", dropped - losses->dropped_told);
    log_str(&losses->log, "error", "they came faster than they could be written");
    log_end(&losses->log);
    losses->dropped_told = dropped;
}

uint64_t log_losses_report(struct log_losses *losses, uint64_t dropped, uint64_t now_ms)
{
    uint64_t next = LOG_LOSSES_NEVER;
    if (losses->told && !losses->failing) {
        say_recovered(losses);
    }
    if (losses->failed > 0 && now_ms >= losses->failed_again_ms) {
        say_failed(losses);
        losses->failed_again_ms = now_ms + LOG_LOSSES_PERIOD_MS;
        if (!losses->failing) {
            say_recovered(losses);
        }
    }
    if (dropped > losses->dropped_told && now_ms >= losses->dropped_again_ms) {
        say_dropped(losses, dropped);
        losses->dropped_again_ms = now_ms + LOG_LOSSES_PERIOD_MS;
    }
    if (losses->failed > 0) {
        next = losses->failed_again_ms;
    }
    if (dropped > losses->dropped_told && losses->dropped_again_ms < next) {
        next = losses->dropped_again_ms;
    }
    return next;
}

void log_losses_report_all(struct log_losses *losses, uint64_t dropped)
{
    losses->failed_again_ms = 0;
    losses->dropped_again_ms = 0;
    (void)log_losses_report(losses, dropped, 0);
}
