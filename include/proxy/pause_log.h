/*
 * pause_log: when to tell that a listener's accepting pauses at a limit, and that it goes on.
 *
 * Under load a listener pauses and resumes many times a second. Pauses with less than
 * PAUSE_LOG_QUIET_MS between them are one, and it is told at most every PAUSE_LOG_INTERVAL_MS: the
 * first at once, one that comes too early when it still lasts by then.
 *
 * Pure: it knows only the times that it is given. All zero is its beginning.
 */
#ifndef BULKHEAD_PROXY_PAUSE_LOG_H
#define BULKHEAD_PROXY_PAUSE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum { PAUSE_LOG_QUIET_MS = 1000, PAUSE_LOG_INTERVAL_MS = 10000 };

struct pause_log {
    bool open;   /* a pause, or the quiet after it */
    bool paused; /* now */
    bool told;
    uint64_t began_ms;
    uint64_t resumed_ms;
    uint64_t next_line_ms;
};

/* What is to be logged now. */
enum pause_line { PAUSE_LINE_NONE = 0, PAUSE_LINE_PAUSED, PAUSE_LINE_RESUMED };

void pause_log_pause(struct pause_log *log, uint64_t now_ms);
void pause_log_resume(struct pause_log *log, uint64_t now_ms);
/* To be asked after a pause, and every now and then while open. *lasted_ms is set with
   PAUSE_LINE_RESUMED: from the first pause to the last resumption. */
enum pause_line pause_log_due(struct pause_log *log, uint64_t now_ms, uint64_t *lasted_ms);

#endif
