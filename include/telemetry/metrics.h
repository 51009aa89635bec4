/*
 * metrics: what is counted, by one table (metrics.def), and where the counts stand.
 *
 * For each listener slot each worker has a block of counts that it alone writes: a load and a
 * store, no lock, no atomic addition, and no cache line shared with another writer. The reader, on
 * control, adds the blocks up whenever somebody asks. Counts are 64 bits and never set back, so a
 * sum may be a moment old but never goes down; several counts are not read at one moment.
 *
 * Counts belong to a listener's name. What a removed listener has counted stays, is still told, and
 * goes on where it was when the name comes back, whatever slot it gets then. Of removed names the
 * METRICS_REMOVED_MAX removed last are kept.
 *
 * metrics_new to metrics_free, and reading: control thread. Writing: the worker of the block.
 */
#ifndef BULKHEAD_TELEMETRY_METRICS_H
#define BULKHEAD_TELEMETRY_METRICS_H

#include "base/reason.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_side { METRIC_DOWNSTREAM = 0, METRIC_UPSTREAM, METRIC_SIDES };
/* Failed ones are the sum of their reasons. */
enum metric_handshake { METRIC_FULL = 0, METRIC_RESUMED, METRIC_HANDSHAKE_RESULTS };
enum metric_decision {
    METRIC_ALLOW = 0,
    METRIC_DENY,
    METRIC_AUDIT_ALLOW,
    METRIC_SHADOW_ALLOW,
    METRIC_SHADOW_DENY,
    METRIC_DECISION_KINDS
};
enum metric_direction { METRIC_UP = 0, METRIC_DOWN, METRIC_DIRECTIONS };
enum metric_dial { METRIC_DIAL_OK = 0, METRIC_DIAL_FAILED, METRIC_DIAL_RESULTS };

/* A histogram's cells: one for each bound, one for what is above the last, and the sum in µs. */
enum {
    METRIC_SHORT_BOUNDS = 15,
    METRIC_LONG_BOUNDS = 13,
    METRIC_SHORT_CELLS = METRIC_SHORT_BOUNDS + 2,
    METRIC_LONG_CELLS = METRIC_LONG_BOUNDS + 2
};

enum metric_type { METRIC_TYPE_COUNTER, METRIC_TYPE_GAUGE, METRIC_TYPE_HISTOGRAM };

enum metric {
#define METRIC(id, name, type, labels, cells, help) METRIC_##id,
#include "telemetry/metrics.def"
#undef METRIC
    METRIC_COUNT
};

/* The first cell of each family in a block; its others follow. */
enum metric_cell {
#define METRIC(id, name, type, labels, cells, help) \
    METRIC_CELL_##id, METRIC_CELL_LAST_##id = METRIC_CELL_##id + (int)(cells)-1,
#include "telemetry/metrics.def"
#undef METRIC
    METRIC_CELLS
};

struct metric_info {
    const char *name; /* of the family, in Prometheus' text format */
    enum metric_type type;
    const char *labels; /* "listener, side", or "" */
    const char *help;
};
const struct metric_info *metric_info(enum metric metric);
const char *metric_type_name(enum metric_type type); /* "counter", … */
/* Of a histogram: its bounds in µs, rising. NULL and 0 of others. */
const uint64_t *metric_bounds(enum metric metric, size_t *count);

/* ---- writing: the block's worker --------------------------------------------------------------
 */

enum { METRICS_CACHE_LINE = 64 };

struct metrics_block {
    char apart[METRICS_CACHE_LINE]; /* wider than a line, wherever the block begins */
    _Atomic uint64_t cells[METRIC_CELLS];
    _Atomic uint64_t last_dial; /* its time in ms, twice, plus 1 when it went well; 0: none yet */
    char apart_from_next[METRICS_CACHE_LINE];
};

/* Only to measure what counting costs (bench/README.md): nothing is counted then. */
#ifdef BULKHEAD_WITHOUT_METRICS
enum { METRICS_ARE_KEPT = 0 };
#else
enum { METRICS_ARE_KEPT = 1 };
#endif

static inline void metrics_add(struct metrics_block *block, size_t cell, uint64_t n)
{
    if (METRICS_ARE_KEPT) {
        uint64_t now = atomic_load_explicit(&block->cells[cell], memory_order_relaxed);
        atomic_store_explicit(&block->cells[cell], now + n, memory_order_relaxed);
    }
}

/* Of a gauge. */
static inline void metrics_subtract(struct metrics_block *block, size_t cell, uint64_t n)
{
    metrics_add(block, cell, 0 - n);
}

/* cell: the first of one histogram of that family. */
void metrics_observe(struct metrics_block *block, enum metric metric, size_t cell, uint64_t us);
/* now_ms: clock_mono_ms or the loop's; 1 or more. */
void metrics_dialled(struct metrics_block *block, enum metric_dial result, uint64_t now_ms);

/* ---- keeping and reading: control -------------------------------------------------------------
 */

struct metrics;

enum { METRICS_REMOVED_MAX = 1024, METRICS_NAME_SIZE = 64 };

/* A listener of the configuration. */
struct metrics_listener {
    const char *name; /* copied, at most 63 bytes */
    size_t slot;
    bool has_side[METRIC_SIDES]; /* speaks mtls there */
};

struct metrics *metrics_new(size_t workers, size_t slots);
void metrics_free(struct metrics *metrics); /* NULL is fine; no worker writes any more */
/*
 * The listeners from now on. Before workers hear of them: it makes the blocks that they write to.
 * A slot may change its name only when the sessions of the former have ended.
 */
void metrics_follow(struct metrics *metrics, const struct metrics_listener *listeners,
                    size_t count);
/* The blocks of one worker, by slot; NULL in a slot that was never used. */
struct metrics_block *const *metrics_blocks(const struct metrics *metrics, size_t worker);

/* What is known of one name; those that are gone too. The names from 0 to metrics_name_count keep
   their places; NULL where one was forgotten. */
struct metrics_name;
size_t metrics_name_count(const struct metrics *metrics);
const struct metrics_name *metrics_name(const struct metrics *metrics, size_t i);
const char *metrics_name_text(const struct metrics_name *name);
bool metrics_name_is_present(const struct metrics_name *name);
bool metrics_name_has_side(const struct metrics_name *name, enum metric_side side);
uint64_t metrics_read(const struct metrics *metrics, const struct metrics_name *name, size_t cell);
enum metrics_up { METRICS_UP_UNKNOWN = 0, METRICS_UP_NO, METRICS_UP_YES };
enum metrics_up metrics_upstream(const struct metrics *metrics, const struct metrics_name *name);
/* Over all listeners there ever were. */
uint64_t metrics_total(const struct metrics *metrics, size_t cell);

#endif
