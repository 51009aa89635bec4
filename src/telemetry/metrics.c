/*
 * A slot's counts are those of all names that ever had it. So a name remembers what its slot had
 * counted when it came to it (base), and what it had counted in the slots before (kept):
 *
 *     count of a name = kept + sum over workers(slot) - base
 *
 * When a slot goes to another name, the former's counts move to `kept` and it is without a slot.
 */
#include "telemetry/metrics.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

enum { NO_SLOT = -1 };

struct metrics_name {
    char text[METRICS_NAME_SIZE];
    bool has_side[METRIC_SIDES];
    bool present;
    uint64_t removed_at; /* counts calls of metrics_follow; while it is not present */
    int slot;            /* or NO_SLOT */
    uint64_t base_dial;  /* see metrics_block.last_dial */
    uint64_t base[METRIC_CELLS];
    uint64_t kept[METRIC_CELLS];
};

struct metrics {
    size_t workers;
    size_t slots;
    struct metrics_block **blocks; /* of worker w in slot s: [w * slots + s] */
    size_t used_slots;             /* none from here on was ever used */
    struct metrics_name **names;
    size_t name_count;
    size_t removed_count;
    uint64_t follows;
};

static const struct metric_info families[METRIC_COUNT] = {
#define METRIC(id, name, type, labels, cells, help) \
    [METRIC_##id] = {(name), METRIC_TYPE_##type, (labels), (help)},
#include "telemetry/metrics.def"
#undef METRIC
};

/* Handshakes and dials: from what a loopback takes to what timeouts allow. */
static const uint64_t short_bounds_us[METRIC_SHORT_BOUNDS] = {
    500,    1000,   2000,    5000,    10000,   20000,    50000,   100000,
    200000, 500000, 1000000, 2000000, 5000000, 10000000, 30000000};
/* Sessions: from one request to pools that live for days. */
static const uint64_t long_bounds_us[METRIC_LONG_BOUNDS] = {
    10000,    100000,    500000,     1000000,    5000000,     10000000,   30000000,
    60000000, 300000000, 1800000000, 7200000000, 28800000000, 86400000000};

const struct metric_info *metric_info(enum metric metric)
{
    ASSERT(metric < METRIC_COUNT);
    return &families[metric];
}

const char *metric_type_name(enum metric_type type)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};
    return names[type];
}

const uint64_t *metric_bounds(enum metric metric, size_t *count)
{
    if (metric == METRIC_SESSION_DURATION) {
        *count = METRIC_LONG_BOUNDS;
        return long_bounds_us;
    }
    bool is_short = metric == METRIC_HANDSHAKE_DURATION || metric == METRIC_CONNECT_DURATION;
    *count = is_short ? METRIC_SHORT_BOUNDS : 0;
    return is_short ? short_bounds_us : NULL;
}

/* ---- writing ---- */

void metrics_observe(struct metrics_block *block, enum metric metric, size_t cell, uint64_t us)
{
    size_t count = 0;
    const uint64_t *bounds = metric_bounds(metric, &count);
    size_t bucket = 0;
    ASSERT(bounds != NULL);
    if (!METRICS_ARE_KEPT) {
        return;
    }
    while (bucket < count && us > bounds[bucket]) {
        bucket++;
    }
    metrics_add(block, cell + bucket, 1);
    metrics_add(block, cell + count + 1, us);
}

void metrics_dialled(struct metrics_block *block, enum metric_dial result, uint64_t now_ms)
{
    if (METRICS_ARE_KEPT) {
        atomic_store_explicit(&block->last_dial, now_ms * 2 + (result == METRIC_DIAL_OK),
                              memory_order_relaxed);
    }
}

/* ---- keeping ---- */

struct metrics *metrics_new(size_t workers, size_t slots)
{
    struct metrics *metrics = mem_alloc(sizeof(*metrics));
    metrics->workers = workers;
    metrics->slots = slots;
    metrics->blocks = mem_alloc_array(workers * slots, sizeof(struct metrics_block *));
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < metrics->workers * metrics->slots; i++) {
        mem_free(metrics->blocks[i]);
    }
    for (size_t i = 0; i < metrics->name_count; i++) {
        mem_free(metrics->names[i]);
    }
    mem_free(metrics->blocks);
    mem_free(metrics->names);
    mem_free(metrics);
}

struct metrics_block *const *metrics_blocks(const struct metrics *metrics, size_t worker)
{
    ASSERT(worker < metrics->workers);
    return &metrics->blocks[worker * metrics->slots];
}

static struct metrics_block *block_of(const struct metrics *metrics, size_t worker, size_t slot)
{
    return metrics->blocks[worker * metrics->slots + slot];
}

/* Modulo 2^64: a worker's gauge may be below what another has added to it. */
static uint64_t sum_of_slot(const struct metrics *metrics, size_t slot, size_t cell)
{
    uint64_t sum = 0;
    for (size_t w = 0; w < metrics->workers; w++) {
        struct metrics_block *block = block_of(metrics, w, slot);
        sum += block == NULL ? 0 : atomic_load_explicit(&block->cells[cell], memory_order_relaxed);
    }
    return sum;
}

static uint64_t last_dial_of_slot(const struct metrics *metrics, size_t slot)
{
    uint64_t last = 0;
    for (size_t w = 0; w < metrics->workers; w++) {
        struct metrics_block *block = block_of(metrics, w, slot);
        uint64_t dial =
            block == NULL ? 0 : atomic_load_explicit(&block->last_dial, memory_order_relaxed);
        last = dial > last ? dial : last;
    }
    return last;
}

static void make_blocks(struct metrics *metrics, size_t slot)
{
    ASSERT(slot < metrics->slots);
    for (size_t w = 0; w < metrics->workers; w++) {
        struct metrics_block **block = &metrics->blocks[w * metrics->slots + slot];
        if (*block == NULL) {
            *block = mem_alloc(sizeof(**block));
        }
    }
    metrics->used_slots = slot >= metrics->used_slots ? slot + 1 : metrics->used_slots;
}

static void leave_slot(const struct metrics *metrics, struct metrics_name *name)
{
    if (name->slot == NO_SLOT) {
        return;
    }
    for (size_t cell = 0; cell < METRIC_CELLS; cell++) {
        name->kept[cell] += sum_of_slot(metrics, (size_t)name->slot, cell) - name->base[cell];
    }
    name->slot = NO_SLOT;
}

static void take_slot(struct metrics *metrics, struct metrics_name *name, size_t slot)
{
    if (name->slot == (int)slot) {
        return;
    }
    leave_slot(metrics, name);
    for (size_t i = 0; i < metrics->name_count; i++) {
        struct metrics_name *other = metrics->names[i];
        if (other != NULL && other->slot == (int)slot) {
            leave_slot(metrics, other);
        }
    }
    make_blocks(metrics, slot);
    name->slot = (int)slot;
    name->base_dial = last_dial_of_slot(metrics, slot);
    for (size_t cell = 0; cell < METRIC_CELLS; cell++) {
        name->base[cell] = sum_of_slot(metrics, slot, cell);
    }
}

static struct metrics_name *find_name(const struct metrics *metrics, const char *text)
{
    for (size_t i = 0; i < metrics->name_count; i++) {
        if (metrics->names[i] != NULL && strcmp(metrics->names[i]->text, text) == 0) {
            return metrics->names[i];
        }
    }
    return NULL;
}

static struct metrics_name *add_name(struct metrics *metrics, const char *text)
{
    size_t place = 0;
    while (place < metrics->name_count && metrics->names[place] != NULL) {
        place++;
    }
    if (place == metrics->name_count) {
        metrics->names = mem_grow_array(metrics->names, place, place + 1, sizeof(*metrics->names));
        metrics->name_count++;
    }
    struct metrics_name *name = mem_alloc(sizeof(*name));
    (void)snprintf(name->text, sizeof(name->text), "%s", text);
    name->slot = NO_SLOT;
    metrics->names[place] = name;
    return name;
}

/* Those that stood in the last configuration and not in this one. */
static void mark_removed(struct metrics *metrics)
{
    metrics->removed_count = 0;
    for (size_t i = 0; i < metrics->name_count; i++) {
        struct metrics_name *name = metrics->names[i];
        if (name != NULL && !name->present) {
            name->removed_at = name->removed_at == 0 ? metrics->follows : name->removed_at;
            metrics->removed_count++;
        }
    }
}

static void forget_oldest(struct metrics *metrics)
{
    struct metrics_name **oldest = NULL;
    for (size_t i = 0; i < metrics->name_count; i++) {
        struct metrics_name **name = &metrics->names[i];
        bool removed = *name != NULL && !(*name)->present;
        if (removed && (oldest == NULL || (*name)->removed_at < (*oldest)->removed_at)) {
            oldest = name;
        }
    }
    if (oldest == NULL) {
        return; /* none was removed */
    }
    mem_free(*oldest);
    *oldest = NULL;
    metrics->removed_count--;
}

void metrics_follow(struct metrics *metrics, const struct metrics_listener *listeners, size_t count)
{
    metrics->follows++;
    for (size_t i = 0; i < metrics->name_count; i++) {
        if (metrics->names[i] != NULL) {
            metrics->names[i]->present = false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct metrics_name *name = find_name(metrics, listeners[i].name);
        name = name != NULL ? name : add_name(metrics, listeners[i].name);
        name->present = true;
        name->removed_at = 0;
        memcpy(name->has_side, listeners[i].has_side, sizeof(name->has_side));
        take_slot(metrics, name, listeners[i].slot);
    }
    mark_removed(metrics);
    while (metrics->removed_count > METRICS_REMOVED_MAX) {
        forget_oldest(metrics);
    }
}

/* ---- reading ---- */

size_t metrics_name_count(const struct metrics *metrics)
{
    return metrics->name_count;
}

const struct metrics_name *metrics_name(const struct metrics *metrics, size_t i)
{
    return i < metrics->name_count ? metrics->names[i] : NULL;
}

const char *metrics_name_text(const struct metrics_name *name)
{
    return name->text;
}

bool metrics_name_is_present(const struct metrics_name *name)
{
    return name->present;
}

bool metrics_name_has_side(const struct metrics_name *name, enum metric_side side)
{
    return name->has_side[side];
}

uint64_t metrics_read(const struct metrics *metrics, const struct metrics_name *name, size_t cell)
{
    ASSERT(cell < METRIC_CELLS);
    uint64_t here = 0;
    if (name->slot != NO_SLOT) {
        here = sum_of_slot(metrics, (size_t)name->slot, cell) - name->base[cell];
    }
    return name->kept[cell] + here;
}

enum metrics_up metrics_upstream(const struct metrics *metrics, const struct metrics_name *name)
{
    uint64_t last = name->slot == NO_SLOT ? 0 : last_dial_of_slot(metrics, (size_t)name->slot);
    if (last == 0 || last == name->base_dial) {
        return METRICS_UP_UNKNOWN;
    }
    return (last & 1) != 0 ? METRICS_UP_YES : METRICS_UP_NO;
}

uint64_t metrics_total(const struct metrics *metrics, size_t cell)
{
    ASSERT(cell < METRIC_CELLS);
    uint64_t sum = 0;
    for (size_t slot = 0; slot < metrics->used_slots; slot++) {
        sum += sum_of_slot(metrics, slot, cell);
    }
    return sum;
}
