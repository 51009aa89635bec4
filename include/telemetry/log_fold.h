/*
 * log_fold: lines of the process log that repeat. Of equal lines (all but the time) the first ten
 * within ten seconds are written, the others counted; what was counted is said when the ten seconds
 * are over, as one line `repeated`. So no loop that goes wrong hides the rest of the log, and none
 * goes unseen.
 *
 * Which lines are looked at is bounded; whatever is beyond is written. Log writer's thread only.
 */
#ifndef BULKHEAD_TELEMETRY_LOG_FOLD_H
#define BULKHEAD_TELEMETRY_LOG_FOLD_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_FOLD_BURST = 10, LOG_FOLD_PERIOD_MS = 10 * 1000, LOG_FOLD_SLOTS = 32 };
#define LOG_FOLD_NEVER UINT64_MAX

/* A line that came within the period. */
struct log_fold_slot {
    uint64_t began_ms; /* 0 with len 0: free */
    uint64_t seen;
    uint64_t folded;
    size_t len;
    char text[LOG_LINE_SIZE]; /* from its level on, without the newline */
};

/* All zero is its beginning. */
struct log_fold {
    struct log_fold_slot slots[LOG_FOLD_SLOTS];
};

/* True: the line is counted, and not to be written. log is for `repeated` lines; its sink may be
   called. now_ms: clock_mono_ms. */
bool log_fold_takes(struct log_fold *fold, const char *line, size_t len, uint64_t now_ms,
                    struct log *log);
/* Says what is due. When to come back for more (LOG_FOLD_NEVER: for nothing). */
uint64_t log_fold_report(struct log_fold *fold, uint64_t now_ms, struct log *log);
/* The end: everything that is not said yet. */
void log_fold_report_all(struct log_fold *fold, struct log *log);

#endif
