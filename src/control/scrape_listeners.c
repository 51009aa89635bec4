/*
 * Of a listener that was removed only what isn't zero is told; of one that is there, all that may
 * happen to it, so that a first count is seen as a rise from zero. Reasons are too many for that:
 * only those that occurred are told.
 */
#include "scrape.h"

#include "control_private.h"
#include "telemetry/metrics.h"

enum { LABELS_MAX = 3 };

static const char *const side_names[METRIC_SIDES] = {"downstream", "upstream"};

/* A name that is being told of, with the labels of the sample that comes next. */
struct teller {
    struct scrape *scrape;
    const struct metrics_name *name;
    struct metric_label labels[LABELS_MAX];
    size_t count;
};

/* False: a name that was forgotten. */
static bool begin(struct teller *teller, struct scrape *scrape, size_t item)
{
    const struct metrics_name *name = metrics_name(scrape->control->metrics, item);
    *teller = (struct teller){.scrape = scrape, .name = name, .count = 1};
    if (name != NULL) {
        teller->labels[0] =
            (struct metric_label){"listener", strview_from(metrics_name_text(name))};
    }
    return name != NULL;
}

static void label(struct teller *teller, size_t place, const char *name, const char *value)
{
    teller->labels[place] = (struct metric_label){name, strview_from(value)};
    teller->count = place + 1;
}

static uint64_t read_cell(const struct teller *teller, size_t cell)
{
    return metrics_read(teller->scrape->control->metrics, teller->name, cell);
}

static void tell(struct teller *teller, uint64_t value)
{
    exposition_u64(&teller->scrape->text, teller->labels, teller->count, value);
}

static void tell_if(struct teller *teller, uint64_t value, bool also_zero)
{
    if (value != 0 || also_zero) {
        tell(teller, value);
    }
}

static bool is_present(const struct teller *teller)
{
    return metrics_name_is_present(teller->name);
}

size_t scrape_listener_items(const struct scrape *scrape)
{
    return metrics_name_count(scrape->control->metrics);
}

void scrape_listener_count(struct scrape *scrape, size_t item)
{
    struct teller teller;
    size_t cell = scrape->family == METRIC_CONNECTIONS_ACTIVE ? METRIC_CELL_CONNECTIONS_ACTIVE
                  : scrape->family == METRIC_CONNECTIONS_HALF_OPEN
                      ? METRIC_CELL_CONNECTIONS_HALF_OPEN
                      : METRIC_CELL_CONNECTIONS_ACCEPTED;
    if (begin(&teller, scrape, item)) {
        tell_if(&teller, read_cell(&teller, cell), is_present(&teller));
    }
}

static size_t failures_of(enum metric_side side)
{
    return METRIC_CELL_HANDSHAKE_FAILURES + (size_t)side * REASON_COUNT;
}

static uint64_t sum_failures(const struct teller *teller, enum metric_side side)
{
    uint64_t sum = 0;
    for (size_t reason = 0; reason < REASON_COUNT; reason++) {
        sum += read_cell(teller, failures_of(side) + reason);
    }
    return sum;
}

void scrape_handshakes(struct scrape *scrape, size_t item)
{
    static const char *const results[METRIC_HANDSHAKE_RESULTS] = {"full", "resumed"};
    struct teller teller;
    for (int i = 0; i < METRIC_SIDES && begin(&teller, scrape, item); i++) {
        enum metric_side side = (enum metric_side)i;
        bool has_side = is_present(&teller) && metrics_name_has_side(teller.name, side);
        size_t first = METRIC_CELL_HANDSHAKES + (size_t)side * METRIC_HANDSHAKE_RESULTS;
        label(&teller, 1, "side", side_names[side]);
        for (size_t result = 0; result < METRIC_HANDSHAKE_RESULTS; result++) {
            label(&teller, 2, "result", results[result]);
            tell_if(&teller, read_cell(&teller, first + result), has_side);
        }
        label(&teller, 2, "result", "failed");
        tell_if(&teller, sum_failures(&teller, side), has_side);
    }
}

void scrape_handshake_failures(struct scrape *scrape, size_t item)
{
    struct teller teller;
    for (int i = 0; i < METRIC_SIDES && begin(&teller, scrape, item); i++) {
        label(&teller, 1, "side", side_names[i]);
        for (size_t reason = 0; reason < REASON_COUNT; reason++) {
            label(&teller, 2, "reason", reason_label((enum reason)reason));
            tell_if(&teller, read_cell(&teller, failures_of((enum metric_side)i) + reason), false);
        }
    }
}

void scrape_decisions(struct scrape *scrape, size_t item)
{
    static const struct {
        const char *decision;
        const char *mode;
    } kinds[METRIC_DECISION_KINDS] = {
        [METRIC_ALLOW] = {"allow", "enforce"},     [METRIC_DENY] = {"deny", "enforce"},
        [METRIC_AUDIT_ALLOW] = {"allow", "audit"}, [METRIC_SHADOW_ALLOW] = {"allow", "shadow"},
        [METRIC_SHADOW_DENY] = {"deny", "shadow"},
    };
    struct teller teller;
    for (size_t kind = 0; kind < METRIC_DECISION_KINDS && begin(&teller, scrape, item); kind++) {
        label(&teller, 1, "decision", kinds[kind].decision);
        label(&teller, 2, "mode", kinds[kind].mode);
        tell_if(&teller, read_cell(&teller, METRIC_CELL_DECISIONS + kind), is_present(&teller));
    }
}

void scrape_ended(struct scrape *scrape, size_t item)
{
    struct teller teller;
    for (size_t reason = 0; reason < REASON_COUNT && begin(&teller, scrape, item); reason++) {
        label(&teller, 1, "reason", reason_label((enum reason)reason));
        tell_if(&teller, read_cell(&teller, METRIC_CELL_SESSIONS_ENDED + reason), false);
    }
}

void scrape_lost_authority(struct scrape *scrape, size_t item)
{
    struct teller teller;
    for (size_t i = 0; i < REASON_COUNT && begin(&teller, scrape, item); i++) {
        enum reason reason = (enum reason)i;
        if (reason_fault(reason) == FAULT_AUTHORITY) {
            label(&teller, 1, "cause", reason_label(reason));
            tell_if(&teller, read_cell(&teller, METRIC_CELL_SESSIONS_ENDED + i), false);
        }
    }
}

void scrape_bytes(struct scrape *scrape, size_t item)
{
    static const char *const directions[METRIC_DIRECTIONS] = {"up", "down"};
    struct teller teller;
    for (size_t i = 0; i < METRIC_DIRECTIONS && begin(&teller, scrape, item); i++) {
        label(&teller, 1, "direction", directions[i]);
        tell_if(&teller, read_cell(&teller, METRIC_CELL_RELAYED_BYTES + i), is_present(&teller));
    }
}

void scrape_handshake_duration(struct scrape *scrape, size_t item)
{
    (void)item;
    for (size_t side = 0; side < METRIC_SIDES; side++) {
        uint64_t cells[METRIC_SHORT_CELLS];
        const struct metric_label labels[] = {{"side", strview_from(side_names[side])}};
        for (size_t i = 0; i < METRIC_SHORT_CELLS; i++) {
            cells[i] = metrics_total(scrape->control->metrics, METRIC_CELL_HANDSHAKE_DURATION +
                                                                   side * METRIC_SHORT_CELLS + i);
        }
        exposition_histogram(&scrape->text, labels, 1, cells);
    }
}

void scrape_listener_duration(struct scrape *scrape, size_t item)
{
    bool is_connect = scrape->family == METRIC_CONNECT_DURATION;
    size_t first = is_connect ? METRIC_CELL_CONNECT_DURATION : METRIC_CELL_SESSION_DURATION;
    size_t count = is_connect ? METRIC_SHORT_CELLS : METRIC_LONG_CELLS;
    uint64_t cells[METRIC_SHORT_CELLS > METRIC_LONG_CELLS ? METRIC_SHORT_CELLS : METRIC_LONG_CELLS];
    uint64_t all = 0;
    struct teller teller;
    if (!begin(&teller, scrape, item)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        cells[i] = read_cell(&teller, first + i);
        all |= cells[i];
    }
    if (all != 0 || is_present(&teller)) {
        exposition_histogram(&scrape->text, teller.labels, teller.count, cells);
    }
}

void scrape_dials(struct scrape *scrape, size_t item)
{
    static const char *const results[METRIC_DIAL_RESULTS] = {"ok", "failed"};
    struct teller teller;
    for (size_t i = 0; i < METRIC_DIAL_RESULTS && begin(&teller, scrape, item); i++) {
        label(&teller, 1, "result", results[i]);
        tell_if(&teller, read_cell(&teller, METRIC_CELL_UPSTREAM_DIALS + i), is_present(&teller));
    }
}

void scrape_upstream_up(struct scrape *scrape, size_t item)
{
    struct teller teller;
    if (!begin(&teller, scrape, item) || !is_present(&teller)) {
        return;
    }
    enum metrics_up up = metrics_upstream(scrape->control->metrics, teller.name);
    if (up != METRICS_UP_UNKNOWN) {
        tell(&teller, up == METRICS_UP_YES);
    }
}
