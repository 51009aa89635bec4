/*
 *   closed ─pause→ open, paused ⇄ open, quiet ─PAUSE_LOG_QUIET_MS→ closed
 */
#include "proxy/pause_log.h"

#include "base/assert.h"

void pause_log_pause(struct pause_log *log, uint64_t now_ms)
{
    ASSERT(!log->paused);
    log->paused = true;
    if (!log->open) {
        log->open = true;
        log->told = false;
        log->began_ms = now_ms;
    }
}

void pause_log_resume(struct pause_log *log, uint64_t now_ms)
{
    ASSERT(log->paused);
    log->paused = false;
    log->resumed_ms = now_ms;
}

enum pause_line pause_log_due(struct pause_log *log, uint64_t now_ms, uint64_t *lasted_ms)
{
    if (log->paused && !log->told && now_ms >= log->next_line_ms) {
        log->told = true;
        log->next_line_ms = now_ms + PAUSE_LOG_INTERVAL_MS;
        return PAUSE_LINE_PAUSED;
    }
    if (!log->open || log->paused || now_ms - log->resumed_ms < PAUSE_LOG_QUIET_MS) {
        return PAUSE_LINE_NONE;
    }
    log->open = false;
    if (!log->told) {
        return PAUSE_LINE_NONE;
    }
    *lasted_ms = log->resumed_ms - log->began_ms;
    return PAUSE_LINE_RESUMED;
}
