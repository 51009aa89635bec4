/*
 * A timer stands at the end of the first window that is open. Lines of ended windows are written in
 * slices, so that neither the relay waits nor the ring fills when a flood of many kinds has ended.
 */
#include "proxy/access_lines.h"

#include "base/clock.h"
#include "base/memory.h"
#include "net/loop.h"
#include "proxy/setup.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"
#include "telemetry/access_fold.h"
#include "telemetry/access_log.h"

enum { SLICE_LINES = 32, SLICE_PAUSE_MS = 20 };

struct access_lines {
    struct worker *worker;
    struct access_fold *fold;
    struct timer *timer;
};

static const struct config *config_of(const struct access_lines *lines)
{
    return lines->worker->snapshot->setup->config;
}

static void write_line(struct access_lines *lines, const struct access_record *record)
{
    char line[ACCESS_LINE_SIZE];
    worker_access_line(lines->worker, line, access_log_format(record, line));
}

/* False: there is nothing more to write now. */
static bool write_next(struct access_lines *lines, bool everything)
{
    struct access_record record;
    uint64_t now_ms = loop_now_ms(lines->worker->loop);
    uint64_t window_ms = config_of(lines)->access_log.fold_ms;
    if (!access_fold_next(lines->fold, now_ms, window_ms, everything || window_ms == 0, &record)) {
        return false;
    }
    record.wall_ms = clock_wall_ms();
    write_line(lines, &record);
    return true;
}

static void set_timer(struct access_lines *lines)
{
    uint64_t due_ms = access_fold_due(lines->fold);
    uint64_t now_ms = loop_now_ms(lines->worker->loop);
    if (due_ms != ACCESS_FOLD_NEVER) {
        uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
        timer_set(lines->timer, left_ms < SLICE_PAUSE_MS ? SLICE_PAUSE_MS : left_ms);
    }
}

static void on_timer(void *arg)
{
    struct access_lines *lines = arg;
    for (int i = 0; i < SLICE_LINES; i++) {
        if (!write_next(lines, false)) {
            break;
        }
    }
    set_timer(lines);
}

struct access_lines *access_lines_new(struct worker *worker)
{
    struct access_lines *lines = mem_alloc(sizeof(*lines));
    lines->worker = worker;
    lines->fold = access_fold_new();
    lines->timer = timer_new(worker->loop, on_timer, lines);
    if (lines->timer == NULL) {
        access_lines_free(lines);
        return NULL;
    }
    return lines;
}

void access_lines_free(struct access_lines *lines)
{
    if (lines == NULL) {
        return;
    }
    while (write_next(lines, true)) {
    }
    timer_free(lines->timer);
    access_fold_free(lines->fold);
    mem_free(lines);
}

bool access_lines_wants(const struct access_lines *lines, enum config_access event)
{
    return (config_of(lines)->access_log.events & (unsigned)event) != 0;
}

void access_lines_write(struct access_lines *lines, enum config_access event,
                        const struct access_record *record)
{
    uint64_t window_ms = config_of(lines)->access_log.fold_ms;
    if (event == CONFIG_ACCESS_DENY && window_ms != 0) {
        uint64_t now_ms = loop_now_ms(lines->worker->loop);
        bool folded = access_fold_takes(lines->fold, record, now_ms, window_ms);
        if (!timer_is_set(lines->timer)) {
            set_timer(lines);
        }
        if (folded) {
            return;
        }
    }
    write_line(lines, record);
}
