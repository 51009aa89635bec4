/*
 * A newcomer's places are reserved before it is accepted. Where there are none, accepting pauses
 * and leaves newcomers in the kernel's queue; it is looked at again 20 ms later, by looking only,
 * so that workers that wait don't take places from each other. One bound is special: when too many
 * handshakes are unfinished, the one that is longest overdue gives way (proxy/handshakes.h), of the
 * listener whose own bound is full, or of all when the process's is.
 *
 * A worker can end its own handshakes only; those of others it must wait for, and who makes room
 * for itself takes it at once. So that no worker is kept out by the others, each has a share, its
 * part of the bound. One that pauses with less than that says that it is short (limits_set_short).
 * While any is, a worker that has its share takes no more, and one that has more lets overdue ones
 * go.
 */
#include "proxy/accepting.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/pace.h"
#include "proxy/handshakes.h"
#include "proxy/pause_log.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"

enum { ACCEPTS_PER_TURN = 16, LOOK_MS = 20, LINE_INTERVAL_MS = 10000 };

/* One listener's accepting in one worker, by slot. */
struct worker_listener {
    struct worker *worker;
    size_t slot;
    struct acceptor *acceptor;      /* NULL: none in this slot */
    struct listen_sockets *sockets; /* that it accepts from */
    bool paused;                    /* by a limit */
    enum limits_bound is_short_of;  /* a bound of handshakes, while paused by it; or none */
    enum limits_bound paused_by;    /* or was last; for the log: what an operator would raise */
    struct pause_log pause_log;
    struct pace exhausted_lines;
    struct handshakes handshakes; /* of its sessions in this worker */
};

struct accepting {
    struct worker *worker;
    struct worker_listener *listeners; /* SETUP_SLOTS of them */
    size_t slot_count;                 /* slots from here on were never used */
    uint64_t handshake_count;          /* of all listeners */
    struct timer *look_timer; /* while a listener is paused, or a handshake is unfinished */
};

static const struct setup_listener *settings_of(const struct worker_listener *listener)
{
    return setup_find_slot(listener->worker->snapshot->setup, listener->slot);
}

/* Which handshake of this worker may give way, if one: of the listener, when its own bound is full,
   else of all. */
static struct session *find_overdue(const struct worker_listener *listener, enum limits_bound full)
{
    const struct accepting *accepting = listener->worker->accepting;
    uint64_t now_ms = loop_now_ms(listener->worker->loop);
    if (full == LIMITS_LISTENER_HANDSHAKES) {
        return handshakes_overdue(&listener->handshakes, now_ms);
    }
    struct session *first = NULL;
    for (size_t slot = 0; full == LIMITS_HANDSHAKES && slot < accepting->slot_count; slot++) {
        struct session *here = handshakes_overdue(&accepting->listeners[slot].handshakes, now_ms);
        if (here != NULL && (first == NULL || handshakes_due_ms(here) < handshakes_due_ms(first))) {
            first = here;
        }
    }
    return first;
}

/* True when a handshake gave way: there may be a place now. */
static bool make_room(struct worker_listener *listener, enum limits_bound full)
{
    struct session *overdue = find_overdue(listener, full);
    if (overdue == NULL) {
        return false;
    }
    session_end(overdue, REASON_HANDSHAKE_EVICTED, NULL);
    return true;
}

static void look_soon(struct accepting *accepting)
{
    if (!timer_is_set(accepting->look_timer) && !accepting->worker->draining) {
        timer_set(accepting->look_timer, LOOK_MS);
    }
}

/* ---- shares ---- */

static uint64_t held_of(const struct worker_listener *listener, enum limits_bound bound)
{
    return bound == LIMITS_HANDSHAKES ? listener->worker->accepting->handshake_count
                                      : listener->handshakes.count;
}

/* Of a bound that is smaller than the number of workers nobody has a share: one of them is more. */
static uint64_t share_of(const struct worker_listener *listener, enum limits_bound bound)
{
    const struct worker *worker = listener->worker;
    uint64_t all = limits_handshake_bound(worker->limits, settings_of(listener), bound);
    return all == UINT64_MAX ? UINT64_MAX : all / worker->session_step;
}

static bool has_more_than_share(const struct worker_listener *listener, enum limits_bound bound)
{
    return held_of(listener, bound) > share_of(listener, bound);
}

static bool has_share(const struct worker_listener *listener, enum limits_bound bound)
{
    uint64_t held = held_of(listener, bound);
    return held > 0 && held >= share_of(listener, bound);
}

static bool another_is_short(const struct worker_listener *listener, enum limits_bound bound)
{
    return limits_is_short(listener->worker->limits, bound, listener->slot);
}

/* The bound of which this worker must not take more now, because another is short; or none. */
static enum limits_bound held_back_by(const struct worker_listener *listener)
{
    if (settings_of(listener)->server == NULL) {
        return LIMITS_NONE;
    }
    if (another_is_short(listener, LIMITS_LISTENER_HANDSHAKES) &&
        has_share(listener, LIMITS_LISTENER_HANDSHAKES)) {
        return LIMITS_LISTENER_HANDSHAKES;
    }
    if (another_is_short(listener, LIMITS_HANDSHAKES) && has_share(listener, LIMITS_HANDSHAKES)) {
        return LIMITS_HANDSHAKES;
    }
    return LIMITS_NONE;
}

static void let_go(struct worker_listener *listener, enum limits_bound bound)
{
    while (has_more_than_share(listener, bound) && another_is_short(listener, bound) &&
           make_room(listener, bound)) {
    }
}

static void set_short(struct worker_listener *listener, enum limits_bound full)
{
    bool is_short = (full == LIMITS_HANDSHAKES || full == LIMITS_LISTENER_HANDSHAKES) &&
                    !has_share(listener, full);
    if (is_short) {
        limits_set_short(listener->worker->limits, full, listener->slot, true);
        listener->is_short_of = full;
    }
}

static void clear_short(struct worker_listener *listener)
{
    if (listener->is_short_of != LIMITS_NONE) {
        limits_set_short(listener->worker->limits, listener->is_short_of, listener->slot, false);
        listener->is_short_of = LIMITS_NONE;
    }
}

/* ---- pausing and resuming ---- */

static void log_pause(struct worker_listener *listener)
{
    struct worker *worker = listener->worker;
    uint64_t lasted_ms = 0;
    enum pause_line line =
        pause_log_due(&listener->pause_log, loop_now_ms(worker->loop), &lasted_ms);
    if (line == PAUSE_LINE_NONE) {
        return;
    }
    bool paused = line == PAUSE_LINE_PAUSED;
    log_begin(&worker->log, paused ? LOG_WARN : LOG_INFO,
              paused ? "accept_paused" : "accept_resumed");
    log_str(&worker->log, "listener", settings_of(listener)->config->name.text);
    log_u64(&worker->log, "worker", worker->index);
    if (paused) {
        log_str(&worker->log, "limit", limits_bound_name(listener->paused_by));
        log_str(&worker->log, "scope",
                limits_bound_is_of_listener(listener->paused_by) ? "listener" : "process");
    } else {
        log_u64(&worker->log, "lasted_ms", lasted_ms);
    }
    log_end(&worker->log);
}

static void pause_accepting(struct worker_listener *listener, enum limits_bound full)
{
    ASSERT(!listener->paused);
    listener->paused = true;
    acceptor_pause(listener->acceptor);
    set_short(listener, full);
    listener->paused_by =
        limits_bound_behind(listener->worker->limits, settings_of(listener), full);
    pause_log_pause(&listener->pause_log, loop_now_ms(listener->worker->loop));
    log_pause(listener);
    look_soon(listener->worker->accepting);
}

static void resume_accepting(struct worker_listener *listener)
{
    clear_short(listener);
    listener->paused = false;
    pause_log_resume(&listener->pause_log, loop_now_ms(listener->worker->loop));
    acceptor_resume(listener->acceptor);
}

/*
 * The acceptor asks after the last of the queue too, and where a worker shares its socket another
 * may have been faster. Nobody gives way, and nothing pauses, for a newcomer that is not there.
 */
static bool on_reserve(void *arg)
{
    struct worker_listener *listener = arg;
    struct worker *worker = listener->worker;
    enum limits_bound held_back = held_back_by(listener);
    enum limits_bound full = held_back != LIMITS_NONE
                                 ? held_back
                                 : limits_reserve(worker->limits, settings_of(listener));
    if (full == LIMITS_NONE) {
        return true;
    }
    if (!acceptor_has_newcomer(listener->acceptor)) {
        return false;
    }
    /* Looked at again: another worker may have taken the place, or another bound may be full. */
    while (held_back == LIMITS_NONE && make_room(listener, full)) {
        full = limits_reserve(worker->limits, settings_of(listener));
        if (full == LIMITS_NONE) {
            return true;
        }
    }
    if (!listener->paused) {
        pause_accepting(listener, full);
    }
    return false;
}

static void on_cancel(void *arg)
{
    struct worker_listener *listener = arg;
    limits_cancel(listener->worker->limits, settings_of(listener));
}

static bool may_resume(const struct worker_listener *listener)
{
    struct worker *worker = listener->worker;
    if (held_back_by(listener) != LIMITS_NONE) {
        return false;
    }
    enum limits_bound full = limits_check(worker->limits, settings_of(listener));
    return full == LIMITS_NONE || find_overdue(listener, full) != NULL;
}

/* While it is paused its handshakes end and bounds move: what it is short of is not for ever what
   it was at the pause. */
static void follow_short(struct worker_listener *listener)
{
    enum limits_bound full = limits_check(listener->worker->limits, settings_of(listener));
    enum limits_bound former = listener->is_short_of;
    if (former != LIMITS_NONE && (former != full || has_share(listener, former))) {
        clear_short(listener);
    }
    if (listener->is_short_of == LIMITS_NONE) {
        set_short(listener, full);
    }
}

static void on_look_timer(void *arg)
{
    struct accepting *accepting = arg;
    struct worker *worker = accepting->worker;
    bool again = false;
    const struct setup *setup = worker->snapshot->setup;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        struct worker_listener *listener = &accepting->listeners[setup->listeners[i].slot];
        let_go(listener, LIMITS_LISTENER_HANDSHAKES);
        let_go(listener, LIMITS_HANDSHAKES);
        if (listener->paused && listener->acceptor != NULL) {
            if (may_resume(listener)) {
                resume_accepting(listener);
            } else {
                follow_short(listener);
            }
        }
        log_pause(listener);
        again = again || listener->pause_log.open;
    }
    /* Sessions of other workers may make what we hold more than our share at any time. */
    if (again || accepting->handshake_count > 0) {
        look_soon(accepting);
    }
}

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
    struct worker_listener *listener = arg;
    struct worker *worker = listener->worker;
    const struct setup_listener *settings = settings_of(listener);
    socket_apply_options(fd, netaddr_is_unix(&settings->accept), &settings->downstream_options);
    session_accept(worker, settings, fd, peer);
}

static void on_exhausted(void *arg, int error)
{
    struct worker_listener *listener = arg;
    struct worker *worker = listener->worker;
    uint64_t left_out;
    if (!pace_allows(&listener->exhausted_lines, loop_now_ms(worker->loop), LINE_INTERVAL_MS,
                     &left_out)) {
        return;
    }
    log_begin(&worker->log, LOG_WARN, "accept_exhausted");
    log_str(&worker->log, "listener", settings_of(listener)->config->name.text);
    log_u64(&worker->log, "worker", worker->index);
    log_str(&worker->log, "error", strerror(error));
    log_u64(&worker->log, "sessions", worker->session_count);
    log_u64(&worker->log, "left_out", left_out);
    log_end(&worker->log);
}

static const struct acceptor_callbacks acceptor_callbacks = {
    .reserve = on_reserve,
    .cancel = on_cancel,
    .on_accept = on_accept,
    .on_exhausted = on_exhausted,
};

static void close_acceptor(struct worker_listener *listener)
{
    clear_short(listener);
    acceptor_free(listener->acceptor);
    listener->acceptor = NULL;
    listener->sockets = NULL;
    listener->paused = false;
    listener->pause_log = (struct pause_log){.open = false};
}

/* What is queued is accepted first, as far as the bounds allow: closing resets it. In a socket that
   the service manager keeps it waits for our successor. */
static void stop_listening(struct worker_listener *listener)
{
    struct listen_sockets *sockets = listener->sockets;
    if (listener->acceptor == NULL) {
        return;
    }
    listen_sockets_withdraw(sockets);
    if (!listen_sockets_outlive(sockets)) {
        acceptor_drain(listener->acceptor);
    }
    close_acceptor(listener);
    listen_sockets_close_one(sockets, listener->worker->index);
}

static bool open_acceptor(struct worker_listener *listener, struct listen_sockets *sockets)
{
    struct worker *worker = listener->worker;
    listener->sockets = sockets;
    listener->acceptor = acceptor_new(worker->loop, listen_sockets_fd(sockets, worker->index),
                                      ACCEPTS_PER_TURN, &acceptor_callbacks, listener);
    return listener->acceptor != NULL;
}

static bool is_in(struct listen_sockets *const *sockets, size_t count,
                  const struct listen_sockets *wanted)
{
    for (size_t i = 0; i < count; i++) {
        if (sockets[i] == wanted) {
            return true;
        }
    }
    return false;
}

/*
 * Ends a listener's accepting from sockets that it shall not use any more. Sockets that no
 * listener uses now are drained first where their listener lives on; where it is gone, what waits
 * in the queue has no listener either.
 */
static void leave(struct worker_listener *listener, struct listen_sockets *const *sockets,
                  size_t count)
{
    struct listen_sockets *former = listener->sockets;
    bool in_use = is_in(sockets, count, former);
    if (!in_use && settings_of(listener) != NULL) {
        stop_listening(listener);
        return;
    }
    close_acceptor(listener);
    if (!in_use) {
        listen_sockets_withdraw(former);
        listen_sockets_close_one(former, listener->worker->index);
    }
}

static void leave_former(struct accepting *accepting, struct listen_sockets *const *sockets)
{
    const struct setup *setup = accepting->worker->snapshot->setup;
    size_t count = setup->config->listener_count;
    for (size_t slot = 0; slot < accepting->slot_count; slot++) {
        struct worker_listener *listener = &accepting->listeners[slot];
        const struct setup_listener *settings = settings_of(listener);
        if (listener->acceptor != NULL &&
            (settings == NULL || listener->sockets != sockets[settings->index])) {
            leave(listener, sockets, count);
        }
    }
}

bool accepting_follow(struct accepting *accepting, struct listen_sockets *const *sockets)
{
    struct worker *worker = accepting->worker;
    const struct setup *setup = worker->snapshot->setup;
    bool whole = true;
    leave_former(accepting, sockets);
    for (size_t i = 0; i < setup->config->listener_count && !worker->draining; i++) {
        size_t slot = setup->listeners[i].slot;
        struct worker_listener *listener = &accepting->listeners[slot];
        accepting->slot_count = slot >= accepting->slot_count ? slot + 1 : accepting->slot_count;
        listener->worker = worker;
        listener->slot = slot;
        if (listener->acceptor == NULL && sockets[i] != NULL) {
            whole = open_acceptor(listener, sockets[i]) && whole;
        }
    }
    return whole;
}

void accepting_stop(struct accepting *accepting)
{
    const struct setup *setup = accepting->worker->snapshot->setup;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        stop_listening(&accepting->listeners[setup->listeners[i].slot]);
    }
    timer_cancel(accepting->look_timer);
}

struct accepting *accepting_new(struct worker *worker)
{
    struct accepting *accepting = mem_alloc(sizeof(*accepting));
    accepting->worker = worker;
    accepting->listeners = mem_alloc_array(SETUP_SLOTS, sizeof(*accepting->listeners));
    for (size_t slot = 0; slot < SETUP_SLOTS; slot++) {
        handshakes_init(&accepting->listeners[slot].handshakes);
    }
    accepting->look_timer = timer_new(worker->loop, on_look_timer, accepting);
    if (accepting->look_timer == NULL) {
        accepting_free(accepting);
        return NULL;
    }
    return accepting;
}

void accepting_free(struct accepting *accepting)
{
    if (accepting == NULL) {
        return;
    }
    for (size_t slot = 0; slot < accepting->slot_count; slot++) {
        close_acceptor(&accepting->listeners[slot]);
    }
    timer_free(accepting->look_timer);
    mem_free(accepting->listeners);
    mem_free(accepting);
}

void accepting_add_handshake(struct accepting *accepting, struct session *session)
{
    struct worker_listener *listener = &accepting->listeners[session->listener->slot];
    handshakes_add(&listener->handshakes, session);
    accepting->handshake_count++;
    look_soon(accepting);
}

void accepting_remove_handshake(struct accepting *accepting, struct session *session)
{
    ASSERT(accepting->handshake_count > 0);
    handshakes_remove(&accepting->listeners[session->listener->slot].handshakes, session);
    accepting->handshake_count--;
}

uint64_t accepting_handshake_count(const struct accepting *accepting)
{
    return accepting->handshake_count;
}
