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
#include "tls/tls_conn.h"

enum {
    ACCEPTS_PER_TURN = 16,
    HANDSHAKE_GRACE_MS = 1000,
    RESUME_LOOK_MS = 20,
    PEER_CHAINS_PER_WORKER = 16384
};

static void say(struct worker *worker, enum worker_says what)
{
    struct worker_report *report = mem_alloc(sizeof(*report));
    report->node.kind = (int)what;
    report->worker = worker->index;
    mailbox_post(worker->control, &report->node);
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
    session_end(oldest, REASON_HANDSHAKE_EVICTED);
    return true;
}

static bool may_accept(struct worker_listener *listener)
{
    struct worker *worker = listener->worker;
    switch (limits_check(worker->limits, worker->snapshot, listener->index)) {
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
    for (size_t i = 0; i < worker->listener_count; i++) {
        struct worker_listener *listener = &worker->listeners[i];
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
    const struct snapshot_listener *settings = &worker->snapshot->listeners[listener->index];
    socket_apply_options(fd, netaddr_is_unix(&settings->accept), &settings->downstream_options);
    session_accept(worker, listener->index, fd, peer);
    pause_if_full(listener);
}

static void on_exhausted(void *arg, int error)
{
    struct worker_listener *listener = arg;
    struct worker *worker = listener->worker;
    log_begin(&worker->log, LOG_WARN, "accept_paused");
    log_str(&worker->log, "listener",
            worker->snapshot->listeners[listener->index].config->name.text);
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

/* What is queued is accepted first: closing would reset it. */
static void stop_accepting(struct worker *worker)
{
    for (size_t i = 0; i < worker->listener_count; i++) {
        struct worker_listener *listener = &worker->listeners[i];
        acceptor_drain(listener->acceptor);
        acceptor_free(listener->acceptor);
        listener->acceptor = NULL;
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
        session_end(session, reason);
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
    if (worker->tls == NULL || worker->plain == NULL || worker->resume_timer == NULL) {
        errbuf_set(err, "memory is out");
        return -1;
    }
    tls_thread_set_credentials(worker->tls, worker->snapshot->credentials);
    return 0;
}

static int make_acceptors(struct worker *worker, const struct worker_options *options,
                          struct errbuf *err)
{
    worker->listeners = mem_alloc_array(worker->listener_count, sizeof(*worker->listeners));
    for (size_t i = 0; i < worker->listener_count; i++) {
        struct worker_listener *listener = &worker->listeners[i];
        listener->worker = worker;
        listener->index = i;
        listener->acceptor =
            acceptor_new(worker->loop, listen_sockets_fd(options->sockets[i], worker->index),
                         ACCEPTS_PER_TURN, &acceptor_callbacks, listener);
        if (listener->acceptor == NULL) {
            errbuf_set(err, "memory is out");
            return -1;
        }
    }
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
    worker->listener_count = options->snapshot->config->listener_count;
    worker->next_session = options->index + 1;
    worker->session_step = options->count;
    const struct config *config = options->snapshot->config;
    log_init(&worker->log, (enum log_level)config->log.level, (enum log_format)config->log.format,
             log_ring_sink, worker->ring);
    TAILQ_INIT(&worker->sessions);
    TAILQ_INIT(&worker->handshakes);
    if (make_parts(worker, options, err) != 0 || make_acceptors(worker, options, err) != 0) {
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
    if (worker->listeners != NULL) {
        for (size_t i = 0; i < worker->listener_count; i++) {
            acceptor_free(worker->listeners[i].acceptor);
        }
        mem_free(worker->listeners);
    }
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
