/*
 * A newcomer's places are reserved before it is accepted. Where there are none, accepting pauses
 * and leaves newcomers in the kernel's queue; it is looked at again 20 ms later, by looking only,
 * so that workers that wait don't take places from each other. One bound is special: when too many
 * handshakes are unfinished, the one that is longest overdue gives way (proxy/handshakes.h), of the
 * listener whose own bound is full, or of all when the process's is. Only those of this worker can:
 * one whose handshakes are all in time, or that has none, pauses until others have ended theirs.
 */
#include "proxy/accepting.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"

enum { ACCEPTS_PER_TURN = 16, RESUME_LOOK_MS = 20 };

/* One listener's accepting in one worker, by slot. */
struct worker_listener {
    struct worker *worker;
    size_t slot;
    struct acceptor *acceptor;      /* NULL: none in this slot */
    struct listen_sockets *sockets; /* that it accepts from */
    bool paused;                    /* by a limit */
    struct handshakes handshakes;   /* of its sessions in this worker */
};

struct accepting {
    struct worker *worker;
    struct worker_listener *listeners; /* SETUP_SLOTS of them */
    size_t slot_count;                 /* slots from here on were never used */
    struct timer *resume_timer;        /* while a listener is paused */
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

static void pause_accepting(struct worker_listener *listener)
{
    struct accepting *accepting = listener->worker->accepting;
    listener->paused = true;
    acceptor_pause(listener->acceptor);
    if (!timer_is_set(accepting->resume_timer)) {
        timer_set(accepting->resume_timer, RESUME_LOOK_MS);
    }
}

/*
 * The acceptor asks after the last of the queue too, and where a worker shares its socket another
 * may have been faster. Nobody gives way, and nothing pauses, for a newcomer that is not there.
 */
static bool on_reserve(void *arg)
{
    struct worker_listener *listener = arg;
    struct worker *worker = listener->worker;
    enum limits_bound full = limits_reserve(worker->limits, settings_of(listener));
    if (full != LIMITS_NONE && !acceptor_has_newcomer(listener->acceptor)) {
        return false;
    }
    /* Looked at again: another worker may have taken the place, or another bound may be full. */
    while (full != LIMITS_NONE && make_room(listener, full)) {
        full = limits_reserve(worker->limits, settings_of(listener));
    }
    if (full == LIMITS_NONE) {
        return true;
    }
    pause_accepting(listener);
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
    enum limits_bound full = limits_check(worker->limits, settings_of(listener));
    return full == LIMITS_NONE || find_overdue(listener, full) != NULL;
}

static void resume_where_possible(struct accepting *accepting)
{
    struct worker *worker = accepting->worker;
    bool paused = false;
    const struct setup *setup = worker->snapshot->setup;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        struct worker_listener *listener = &accepting->listeners[setup->listeners[i].slot];
        if (listener->paused && listener->acceptor != NULL && may_resume(listener)) {
            listener->paused = false;
            acceptor_resume(listener->acceptor);
        }
        paused = paused || listener->paused;
    }
    if (paused && !worker->draining) {
        timer_set(accepting->resume_timer, RESUME_LOOK_MS);
    }
}

static void on_resume_timer(void *arg)
{
    resume_where_possible(arg);
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
    log_begin(&worker->log, LOG_WARN, "accept_paused");
    log_str(&worker->log, "listener", settings_of(listener)->config->name.text);
    log_str(&worker->log, "error", strerror(error));
    log_u64(&worker->log, "sessions", worker->session_count);
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
    acceptor_free(listener->acceptor);
    listener->acceptor = NULL;
    listener->sockets = NULL;
    listener->paused = false;
}

/* What is queued is accepted first, as far as the bounds allow: closing resets it. */
static void stop_listening(struct worker_listener *listener)
{
    struct listen_sockets *sockets = listener->sockets;
    if (listener->acceptor == NULL) {
        return;
    }
    listen_sockets_withdraw(sockets);
    acceptor_drain(listener->acceptor);
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
        if (listener->acceptor == NULL) {
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
    timer_cancel(accepting->resume_timer);
}

struct accepting *accepting_new(struct worker *worker)
{
    struct accepting *accepting = mem_alloc(sizeof(*accepting));
    accepting->worker = worker;
    accepting->listeners = mem_alloc_array(SETUP_SLOTS, sizeof(*accepting->listeners));
    for (size_t slot = 0; slot < SETUP_SLOTS; slot++) {
        handshakes_init(&accepting->listeners[slot].handshakes);
    }
    accepting->resume_timer = timer_new(worker->loop, on_resume_timer, accepting);
    if (accepting->resume_timer == NULL) {
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
    timer_free(accepting->resume_timer);
    mem_free(accepting->listeners);
    mem_free(accepting);
}

struct handshakes *accepting_handshakes(struct accepting *accepting, size_t slot)
{
    ASSERT(slot < SETUP_SLOTS);
    return &accepting->listeners[slot].handshakes;
}
