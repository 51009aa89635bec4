/*
 * A worker's thread, its accepting, and its answers to control.
 *
 * Accepting pauses at a bound and leaves newcomers in the kernel's queue. One bound is special:
 * when too many handshakes are unfinished, the oldest of them gives way if it has had its second,
 * so that clients that send a byte now and then can't keep the others out.
 */
#include "proxy/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/plain_conn.h"
#include "proxy/snapshot.h"
#include "proxy/survey.h"
#include "proxy/swap.h"
#include "tls/tls_conn.h"

enum {
    ACCEPTS_PER_TURN = 16,
    HANDSHAKE_GRACE_MS = 1000,
    RESUME_LOOK_MS = 20,
    PEER_CHAINS_PER_WORKER = 16384
};

void worker_report(struct worker *worker, enum worker_says what, struct worker_report *report)
{
    report->node.kind = (int)what;
    report->worker = worker->index;
    mailbox_post(worker->control, &report->node);
}

static void say(struct worker *worker, enum worker_says what)
{
    worker_report(worker, what, mem_alloc(sizeof(struct worker_report)));
}

static const struct setup_listener *settings_of(const struct worker_listener *listener)
{
    return setup_find_slot(listener->worker->snapshot->setup, listener->slot);
}

void worker_access_line(struct worker *worker, const char *line, size_t len)
{
    log_ring_write(worker->ring, LOG_CHANNEL_ACCESS, line, len);
}

/* True when a place was made: the oldest unfinished handshake had had its time. */
static bool evict_oldest_handshake(struct worker *worker)
{
    struct session *oldest = TAILQ_FIRST(&worker->handshakes);
    if (oldest == NULL || loop_now_ms(worker->loop) - oldest->started_ms < HANDSHAKE_GRACE_MS) {
        return false;
    }
    session_end(oldest, REASON_HANDSHAKE_EVICTED, NULL);
    return true;
}

static bool may_accept(struct worker_listener *listener)
{
    struct worker *worker = listener->worker;
    switch (limits_check(worker->limits, settings_of(listener))) {
    case LIMITS_OPEN:
        return true;
    case LIMITS_HANDSHAKES_FULL:
        return evict_oldest_handshake(worker);
    case LIMITS_SESSIONS_FULL:
        break;
    }
    return false;
}

static void pause_if_full(struct worker_listener *listener)
{
    struct worker *worker = listener->worker;
    if (listener->paused || may_accept(listener)) {
        return;
    }
    listener->paused = true;
    acceptor_pause(listener->acceptor);
    if (!timer_is_set(worker->resume_timer)) {
        timer_set(worker->resume_timer, RESUME_LOOK_MS);
    }
}

static void resume_where_possible(struct worker *worker)
{
    bool paused = false;
    const struct setup *setup = worker->snapshot->setup;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        struct worker_listener *listener = &worker->listeners[setup->listeners[i].slot];
        if (listener->paused && listener->acceptor != NULL && may_accept(listener)) {
            listener->paused = false;
            acceptor_resume(listener->acceptor);
        }
        paused = paused || listener->paused;
    }
    if (paused && !worker->draining) {
        timer_set(worker->resume_timer, RESUME_LOOK_MS);
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
    pause_if_full(listener);
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
    .on_accept = on_accept,
    .on_exhausted = on_exhausted,
};

void worker_session_ended(struct worker *worker)
{
    ASSERT(worker->session_count > 0);
    worker->session_count--;
    if (worker->draining && worker->session_count == 0) {
        say(worker, WORKER_SAYS_IDLE);
    }
}

static void close_acceptor(struct worker_listener *listener)
{
    acceptor_free(listener->acceptor);
    listener->acceptor = NULL;
    listener->sockets = NULL;
    listener->paused = false;
}

/* What is queued is accepted first: closing would reset it. */
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

static void stop_accepting(struct worker *worker)
{
    const struct setup *setup = worker->snapshot->setup;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        stop_listening(&worker->listeners[setup->listeners[i].slot]);
    }
    timer_cancel(worker->resume_timer);
    worker->draining = true;
    say(worker, WORKER_SAYS_NOT_ACCEPTING);
    if (worker->session_count == 0) {
        say(worker, WORKER_SAYS_IDLE);
    }
}

static void cut(struct worker *worker, enum reason reason)
{
    struct session *session;
    while ((session = TAILQ_FIRST(&worker->sessions)) != NULL) {
        session_end(session, reason, NULL);
    }
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

static void leave_former(struct worker *worker, struct listen_sockets *const *sockets)
{
    const struct setup *setup = worker->snapshot->setup;
    size_t count = setup->config->listener_count;
    for (size_t slot = 0; slot < worker->slot_count; slot++) {
        struct worker_listener *listener = &worker->listeners[slot];
        const struct setup_listener *settings = settings_of(listener);
        if (listener->acceptor != NULL &&
            (settings == NULL || listener->sockets != sockets[settings->index])) {
            leave(listener, sockets, count);
        }
    }
}

bool worker_accept_from(struct worker *worker, struct listen_sockets *const *sockets)
{
    const struct setup *setup = worker->snapshot->setup;
    bool whole = true;
    leave_former(worker, sockets);
    for (size_t i = 0; i < setup->config->listener_count && !worker->draining; i++) {
        size_t slot = setup->listeners[i].slot;
        struct worker_listener *listener = &worker->listeners[slot];
        worker->slot_count = slot >= worker->slot_count ? slot + 1 : worker->slot_count;
        listener->worker = worker;
        listener->slot = slot;
        if (listener->acceptor == NULL) {
            whole = open_acceptor(listener, sockets[i]) && whole;
        }
    }
    return whole;
}

static void take_snapshot(struct worker *worker, struct worker_message *message)
{
    swap_start(worker->swap, message->snapshot);
    message->snapshot = NULL;
    if (!worker_accept_from(worker, message->sockets)) {
        log_begin(&worker->log, LOG_ERROR, "accept_failed");
        log_str(&worker->log, "error", "memory is out: a listener does not accept here");
        log_end(&worker->log);
    }
    if (message->reread_resolver) {
        struct errbuf err;
        if (resolver_rebuild(worker->resolver, &err) != 0) {
            log_begin(&worker->log, LOG_WARN, "resolver_kept");
            log_str(&worker->log, "error", err.text);
            log_end(&worker->log);
        }
    }
}

static void on_order(void *arg, struct mailbox_message *node)
{
    struct worker *worker = arg;
    struct worker_message *message = (struct worker_message *)(void *)node;
    switch ((enum worker_order)node->kind) {
    case WORKER_STOP_ACCEPTING:
        if (!worker->draining) {
            stop_accepting(worker);
        }
        break;
    case WORKER_CUT:
        cut(worker, message->reason);
        break;
    case WORKER_SWAP:
        take_snapshot(worker, message);
        break;
    case WORKER_SURVEY:
        survey_start(worker, message->snapshot);
        break;
    case WORKER_CLOCK_SET:
        expiry_clock_set(worker->expiry);
        break;
    case WORKER_EXIT:
        loop_stop(worker->loop);
        break;
    }
    mem_free(message);
}

void worker_order(struct worker *worker, enum worker_order order, enum reason reason)
{
    struct worker_message *message = mem_alloc(sizeof(*message));
    message->node.kind = (int)order;
    message->reason = reason;
    mailbox_post(worker->mailbox, &message->node);
}

void worker_swap(struct worker *worker, struct snapshot *snapshot,
                 struct listen_sockets *const *sockets, bool reread_resolver)
{
    struct worker_message *message = mem_alloc(sizeof(*message));
    message->node.kind = WORKER_SWAP;
    message->snapshot = snapshot_ref(snapshot);
    message->sockets = sockets;
    message->reread_resolver = reread_resolver;
    mailbox_post(worker->mailbox, &message->node);
}

void worker_survey(struct worker *worker, struct snapshot *snapshot)
{
    struct worker_message *message = mem_alloc(sizeof(*message));
    message->node.kind = WORKER_SURVEY;
    message->snapshot = snapshot == NULL ? NULL : snapshot_ref(snapshot);
    mailbox_post(worker->mailbox, &message->node);
}

static int make_parts(struct worker *worker, const struct worker_options *options,
                      struct errbuf *err)
{
    worker->loop = loop_new(err);
    if (worker->loop == NULL) {
        return -1;
    }
    worker->mailbox = mailbox_new(worker->loop, on_order, worker, err);
    if (worker->mailbox == NULL) {
        return -1;
    }
    worker->resolver = resolver_new(worker->loop, err);
    if (worker->resolver == NULL) {
        return -1;
    }
    worker->tls =
        tls_thread_new(options->crypto, PEER_CHAINS_PER_WORKER, &options->limits->lingering);
    worker->plain = plain_thread_new();
    worker->resume_timer = timer_new(worker->loop, on_resume_timer, worker);
    worker->expiry = expiry_new(worker->loop);
    worker->swap = swap_new(worker);
    if (worker->tls == NULL || worker->plain == NULL || worker->resume_timer == NULL ||
        worker->expiry == NULL || worker->swap == NULL) {
        errbuf_set(err, "memory is out");
        return -1;
    }
    tls_thread_set_credentials(worker->tls, worker->snapshot->credentials);
    return 0;
}

struct worker *worker_new(const struct worker_options *options, struct errbuf *err)
{
    struct worker *worker = mem_alloc(sizeof(*worker));
    worker->index = options->index;
    worker->control = options->control;
    worker->ring = options->ring;
    worker->limits = options->limits;
    worker->snapshot = snapshot_ref(options->snapshot);
    worker->listeners = mem_alloc_array(SETUP_SLOTS, sizeof(*worker->listeners));
    worker->next_session = options->index + 1;
    worker->session_step = options->count;
    const struct config *config = options->snapshot->setup->config;
    log_init(&worker->log, (enum log_level)config->log.level, (enum log_format)config->log.format,
             log_ring_sink, worker->ring);
    TAILQ_INIT(&worker->sessions);
    TAILQ_INIT(&worker->handshakes);
    TAILQ_INIT(&worker->walks);
    if (make_parts(worker, options, err) != 0) {
        worker_free(worker);
        return NULL;
    }
    if (!worker_accept_from(worker, options->sockets)) {
        errbuf_set(err, "memory is out");
        worker_free(worker);
        return NULL;
    }
    return worker;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    loop_run(worker->loop);
    return NULL;
}

int worker_start(struct worker *worker, struct errbuf *err)
{
    char name[16];
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (error != 0) {
        errno = error;
        errbuf_set_errno(err, "can't start worker %u", worker->index);
        return -1;
    }
    snprintf(name, sizeof(name), "worker-%u", worker->index);
    (void)pthread_setname_np(worker->thread, name); /* only for people who look at threads */
    return 0;
}

void worker_join(struct worker *worker)
{
    int error = pthread_join(worker->thread, NULL);
    ASSERT(error == 0);
}

void worker_free(struct worker *worker)
{
    cut(worker, REASON_STOPPED);
    for (size_t slot = 0; slot < worker->slot_count; slot++) {
        close_acceptor(&worker->listeners[slot]);
    }
    mem_free(worker->listeners);
    swap_free(worker->swap);
    expiry_free(worker->expiry);
    timer_free(worker->resume_timer);
    resolver_free(worker->resolver);
    if (worker->tls != NULL) {
        tls_thread_free(worker->tls);
    }
    if (worker->mailbox != NULL) {
        mailbox_free(worker->mailbox);
    }
    if (worker->loop != NULL) {
        loop_free(worker->loop);
    }
    if (worker->plain != NULL) {
        plain_thread_free(worker->plain);
    }
    snapshot_unref(worker->snapshot);
    mem_free(worker);
}
