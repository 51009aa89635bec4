#include "load/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/memory.h"

enum { OPENING_MAX = 64, ERRORS_MAX = 100, LATE_NS = 1000000 };

static const uint64_t NS_PER_S = 1000000000;
static const uint64_t STALL_NS = UINT64_C(30) * 1000000000;

/* --- parked slots --- */

static void park(struct client *c, struct slot *slot)
{
    slot->state = SLOT_PARKED;
    slot->next_parked = c->parked;
    c->parked = slot;
}

static struct slot *unpark(struct client *c)
{
    struct slot *slot = c->parked;
    c->parked = slot->next_parked;
    slot->next_parked = NULL;
    return slot;
}

static void unpark_this(struct client *c, const struct slot *slot)
{
    struct slot **at = &c->parked;
    while (*at != slot) {
        at = &(*at)->next_parked;
    }
    *at = slot->next_parked;
}

/* --- who begins when --- */

static bool is_working(const struct client *c)
{
    return c->phase == PHASE_WARMING || c->phase == PHASE_MEASURING;
}

static bool may_begin(const struct client *c)
{
    return is_working(c) && c->options->rate <= 0 &&
           (c->options->count == 0 || c->begun < c->options->count);
}

static void begin_unit(struct client *c, struct slot *slot)
{
    c->begun++;
    c->busy++;
    slot_begin(slot);
}

static uint64_t due_ns(const struct client *c)
{
    return c->first_due_ns + (uint64_t)((double)c->issued * 1e9 / c->options->rate);
}

/* Open loop: what is due begins, and waits for a slot where there is none. */
static void begin_due(struct client *c, uint64_t now)
{
    bool counts = c->options->count > 0;
    while (c->parked && is_working(c) && due_ns(c) <= now &&
           (!counts || c->issued < c->options->count)) {
        c->tally.late += c->phase == PHASE_MEASURING && now - due_ns(c) > LATE_NS;
        c->issued++;
        begin_unit(c, unpark(c));
    }
}

static void begin_openings(struct client *c)
{
    while (c->opened < c->options->connections && c->opening < OPENING_MAX &&
           c->phase == PHASE_OPENING) {
        c->begun++; /* so that sources take turns; counted from 0 again after */
        c->opening++;
        slot_open(&c->slots[c->opened++]);
    }
}

/* Idle connections are used once more, some at a time. */
static void begin_farewells(struct client *c)
{
    while (c->parked && c->busy < OPENING_MAX) {
        struct slot *slot = unpark(c);
        begin_unit(c, slot);
    }
}

static void begin_what_may(struct client *c)
{
    if (c->phase == PHASE_OPENING) {
        begin_openings(c);
    } else if (c->phase == PHASE_ENDING && c->options->work == WORK_IDLE) {
        begin_farewells(c);
    } else if (c->options->rate > 0) {
        begin_due(c, meter_now_ns());
    } else {
        while (c->parked && may_begin(c)) {
            begin_unit(c, unpark(c));
        }
    }
}

/* --- what slots report --- */

void client_opened(struct client *c, struct slot *slot)
{
    c->opening--;
    park(c, slot);
}

void client_moved(struct client *c, uint64_t bytes)
{
    if (c->phase == PHASE_MEASURING) {
        c->tally.bytes += bytes;
    }
}

static void count_unit(struct client *c, const struct slot *slot)
{
    const struct options *o = c->options;
    struct tally *t = &c->tally;
    t->units++;
    histogram_add(&t->latency, meter_now_ns() - slot->began_ns);
    if (!work_is_bulk(o->work)) {
        t->bytes += o->work == WORK_ROUND_TRIP ? o->size : STREAM_HEADER_SIZE;
    }
}

void client_unit_done(struct client *c, struct slot *slot)
{
    c->busy--;
    bool is_farewell = c->phase == PHASE_ENDING && c->options->work == WORK_IDLE;
    if (c->phase == PHASE_MEASURING && slot->fell_back) {
        c->tally.not_resumed++;
    } else if (c->phase == PHASE_MEASURING || is_farewell) {
        count_unit(c, slot);
    }
    if (is_farewell) {
        link_close(&slot->link);
        slot->state = SLOT_DEAD; /* at rest */
    } else if (may_begin(c)) {
        begin_unit(c, slot);
    } else {
        park(c, slot);
    }
}

void client_slot_failed(struct client *c, struct slot *slot, enum slot_state state)
{
    bool was_opening = c->phase == PHASE_OPENING && state != SLOT_PARKED;
    if (state == SLOT_PARKED) {
        unpark_this(c, slot);
    } else if (was_opening) {
        c->opening--;
    } else {
        c->busy--;
        c->failed++;
    }
    if (was_opening || work_keeps(c->options->work)) {
        slot->state = SLOT_DEAD;
        c->dead++;
    } else {
        park(c, slot);
    }
}

/* --- the window --- */

static void read_clocks(struct client *c, bool at_end)
{
    const struct options *o = c->options;
    for (unsigned i = 0; i < o->pid_count; i++) {
        uint64_t now = 0;
        if (!meter_cpu_ns(o->pids[i], &now)) {
            faults_add(&c->faults, "client: --pid %d: no such process", o->pids[i]);
        }
        c->tally.cpu_ns[i] = at_end ? now - c->tally.cpu_ns[i] : now;
    }
    uint64_t own = meter_own_cpu_ns();
    c->tally.own_cpu_ns = at_end ? own - c->tally.own_cpu_ns : own;
}

static void enter_warming(struct client *c, uint64_t now)
{
    c->phase = PHASE_WARMING;
    c->phase_end_ns = now + (uint64_t)(c->options->warm_up * 1e9);
    c->first_due_ns = now;
    c->begun = 0;
}

static void enter_measuring(struct client *c)
{
    c->phase = PHASE_MEASURING;
    read_clocks(c, false);
    c->tally.begin_ns = meter_now_ns();
    c->phase_end_ns = c->tally.begin_ns + (uint64_t)(c->options->seconds * 1e9);
    if (c->options->count > 0) {
        c->first_due_ns = c->tally.begin_ns;
    }
}

static void leave_measuring(struct client *c)
{
    c->tally.end_ns = meter_now_ns();
    read_clocks(c, true);
    c->phase = PHASE_ENDING;
}

/* What led to it is counted. */
static void give_up(struct client *c, const char *why)
{
    fprintf(stderr, "load: client: gave up: %s\n", why);
    if (c->phase == PHASE_MEASURING) {
        leave_measuring(c);
    }
    c->phase = PHASE_ENDING;
    for (unsigned i = 0; i < c->options->connections; i++) {
        link_close(&c->slots[i].link);
    }
    c->busy = c->opening = 0;
    c->parked = NULL;
}

static void enter_holding(struct client *c)
{
    c->phase = PHASE_HOLDING;
    c->phase_end_ns = 0;
    c->tally.begin_ns = meter_now_ns();
    printf("{\"held\": %u}\n", c->options->connections - c->dead);
    fflush(stdout);
}

static bool is_open(const struct client *c)
{
    return c->opened == c->options->connections && c->opening == 0;
}

static bool window_is_over(const struct client *c, uint64_t now)
{
    if (c->options->count > 0) {
        return c->tally.units + c->tally.not_resumed + c->failed >= c->options->count;
    }
    return now >= c->phase_end_ns;
}

/* One after the other, so that a phase of no length passes at once. */
static void advance(struct client *c)
{
    uint64_t now = meter_now_ns();
    if (c->phase == PHASE_OPENING && is_open(c)) {
        if (c->options->work == WORK_IDLE) {
            enter_holding(c);
        } else {
            enter_warming(c, now);
        }
    }
    if (c->phase == PHASE_WARMING && now >= c->phase_end_ns) {
        enter_measuring(c);
    }
    if (c->phase == PHASE_MEASURING && window_is_over(c, now)) {
        leave_measuring(c);
    }
    if (c->phase == PHASE_HOLDING && c->poller.must_stop) {
        leave_measuring(c);
    }
}

static bool is_over(const struct client *c)
{
    bool has_farewells = c->options->work == WORK_IDLE && c->parked;
    return c->phase == PHASE_ENDING && c->busy == 0 && !has_farewells;
}

static uint64_t next_time_ns(const struct client *c, uint64_t now)
{
    uint64_t next = c->busy > 0 || c->opening > 0 ? c->heard_ns + STALL_NS : now + NS_PER_S;
    if (is_working(c) && c->phase_end_ns < next) {
        next = c->phase_end_ns;
    }
    if (is_working(c) && c->options->rate > 0 && c->parked && due_ns(c) < next) {
        next = due_ns(c);
    }
    return next;
}

static void check_course(struct client *c, bool any)
{
    uint64_t now = meter_now_ns();
    if (any || (c->busy == 0 && c->opening == 0)) {
        c->heard_ns = now;
    } else if (now - c->heard_ns >= STALL_NS) {
        c->faults.errors++;
        give_up(c, "nothing moved for 30 s");
    }
    if (c->phase != PHASE_ENDING && c->faults.errors >= ERRORS_MAX) {
        give_up(c, "too many errors");
    } else if (c->phase != PHASE_ENDING && c->dead == c->options->connections) {
        give_up(c, "no connection is left");
    }
}

static void work_on(struct client *c)
{
    c->heard_ns = meter_now_ns();
    advance(c);
    while (!is_over(c)) {
        begin_what_may(c);
        bool any = poller_turn(&c->poller, next_time_ns(c, meter_now_ns()));
        check_course(c, any);
        advance(c);
    }
}

/* --- beginning and end --- */

static bool prepare(struct client *c)
{
    const struct options *o = c->options;
    if (o->tls && !(c->side = tls_side_new(o))) {
        return false;
    }
    if (o->work == WORK_RESUMED) {
        slot_keep_sessions(c->side->ctx);
    }
    if (!poller_init(&c->poller) || (o->work == WORK_IDLE && !poller_watch_for_stop(&c->poller))) {
        fprintf(stderr, "load: epoll: %s\n", strerror(errno));
        return false;
    }
    c->slots = mem_alloc_array(o->connections, sizeof *c->slots);
    for (unsigned i = 0; i < o->connections; i++) {
        slot_init(&c->slots[i], c);
    }
    if (o->work == WORK_FULL) { /* nothing to open beforehand */
        c->opened = o->connections;
        for (unsigned i = o->connections; i-- > 0;) {
            park(c, &c->slots[i]);
        }
    }
    return true;
}

static void clean_up(struct client *c)
{
    for (unsigned i = 0; c->slots && i < c->options->connections; i++) {
        slot_fini(&c->slots[i]);
    }
    if (c->slots) {
        poller_fini(&c->poller);
    }
    mem_free(c->slots);
    tls_side_free(c->side);
}

int client_run(const struct options *o)
{
    struct client *c = mem_alloc(sizeof *c);
    c->options = o;
    bool ok = prepare(c);
    if (ok) {
        work_on(c);
        if (c->tally.units == 0 && c->faults.errors == 0 && !work_is_bulk(o->work) &&
            o->work != WORK_IDLE) {
            faults_add(&c->faults, "client: nothing was done within the window");
        }
        c->faults.wrong_identity = c->side ? c->side->wrong_identity : 0;
        report_client(c);
        ok = c->faults.errors == 0;
    }
    clean_up(c);
    mem_free(c);
    return ok ? 0 : 1;
}
