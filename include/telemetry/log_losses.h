/*
 * log_losses: which log lines were lost, and the lines of the process log that say so.
 *
 * What is lost for the first time is said at once, what follows every ten seconds, and the end of
 * an outage when it comes. Writer thread only.
 */
#ifndef BULKHEAD_TELEMETRY_LOG_LOSSES_H
#define BULKHEAD_TELEMETRY_LOG_LOSSES_H

#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

enum { LOG_LOSSES_PERIOD_MS = 10000 };
#define LOG_LOSSES_NEVER UINT64_MAX

struct log_losses {
    struct log log;
    int error;                /* of the last failed write */
    bool failing;             /* the last write failed */
    bool told;                /* the log says so; access_log_recovered has not come yet */
    uint64_t failed;          /* access lines that could not be written and were not spoken of */
    uint64_t outage;          /* those since the outage began */
    uint64_t failed_again_ms; /* not before this */
    uint64_t dropped_told;    /* how many dropped lines were spoken of */
    uint64_t dropped_again_ms;
};

/* The sink takes the lines; it may be called by log_losses_report only. */
void log_losses_init(struct log_losses *losses, log_sink_fn *sink, void *arg);
/* The access log could not be written: errno, and how many lines. */
void log_losses_failed(struct log_losses *losses, int error, uint64_t lines);
/* The access log was written. */
void log_losses_written(struct log_losses *losses);
/* dropped: lines of any kind for which a ring had no room, since the start. When to come back for
   something that is not said yet (the same clock as now_ms), or LOG_LOSSES_NEVER. */
uint64_t log_losses_report(struct log_losses *losses, uint64_t dropped, uint64_t now_ms);
/* The end: everything that is not said yet. */
void log_losses_report_all(struct log_losses *losses, uint64_t dropped);

#endif
