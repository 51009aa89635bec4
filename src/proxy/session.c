/*
 *   NEW → HELLO       mtls accepted; deadline: timeouts.handshake, from accept, whatever arrives
 *   HELLO → HANDSHAKE a whole ClientHello has come; same deadline
 *   NEW → SERVING     plaintext accepted (an originating listener)
 *   HANDSHAKE → SERVING   the gate in tls_conn has been passed
 *   any → CLOSED      by session_close, from exchange_finish only
 *
 * A closed session is freed at the end of the loop's turn, so that callbacks up the stack may
 * still look at it.
 */
#include "proxy/session.h"

#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/plain_conn.h"
#include "proxy/accepting.h"
#include "proxy/count.h"
#include "proxy/snapshot.h"
#include "proxy/walk.h"
#include "proxy/worker.h"
#include "tls/tls_conn.h"

enum { LINE_INTERVAL_MS = 10000 };

/* Its handshake is counted, and may have to give way. */
static bool is_unfinished(const struct session *session)
{
    return session->state == SESSION_HELLO || session->state == SESSION_HANDSHAKE;
}

static void session_enter(struct session *session, enum session_state state)
{
    ASSERT(session->state != SESSION_CLOSED && state > session->state);
    struct worker *worker = session->worker;
    size_t slot = session->listener->slot;
    bool was_unfinished = is_unfinished(session);
    if (was_unfinished) {
        accepting_remove_handshake(worker->accepting, session);
    }
    session->state = state;
    session->entered_ms = loop_now_ms(worker->loop);
    if (is_unfinished(session)) {
        accepting_add_handshake(worker->accepting, session);
    } else if (was_unfinished) {
        limits_handshake_end(worker->limits, slot);
        count_not_half_open(session);
    }
    switch (state) {
    case SESSION_NEW:
    case SESSION_HANDSHAKE:
        break;
    case SESSION_HELLO:
        count_half_open(session);
        session_set_timer(session, session->listener->config->timeouts.handshake_ms);
        break;
    case SESSION_SERVING:
        timer_cancel(session->timer);
        session->timer_due_ms = UINT64_MAX;
        break;
    case SESSION_CLOSED:
        walk_pass_by(worker, session);
        expiry_forget(worker->expiry, session);
        TAILQ_REMOVE(&worker->sessions, session, link);
        limits_session_end(worker->limits, slot);
        count_closed(session);
        break;
    }
}

const struct peer_info *session_downstream_peer(const struct session *session)
{
    bool known = session->listener->server != NULL && session->downstream != NULL &&
                 session->state == SESSION_SERVING;
    return known ? tls_conn_peer(session->downstream) : NULL;
}

const struct peer_info *session_upstream_peer(const struct session *session)
{
    const struct conn *conn = session->exchange.upstream_conn;
    return session->listener->client != NULL && conn != NULL ? tls_conn_peer(conn) : NULL;
}

struct peer_chain *session_upstream_chain(const struct session *session)
{
    const struct peer_info *peer = session_upstream_peer(session);
    return peer != NULL ? peer->chain : session->exchange.server_chain;
}

void session_set_timer(struct session *session, uint64_t delay_ms)
{
    session->timer_due_ms = loop_now_ms(session->worker->loop) + delay_ms;
    timer_set(session->timer, delay_ms);
}

void session_hurry_timer(struct session *session, uint64_t delay_ms)
{
    if (loop_now_ms(session->worker->loop) + delay_ms < session->timer_due_ms) {
        session_set_timer(session, delay_ms);
    }
}

static void on_timer(void *arg)
{
    struct session *session = arg;
    CHECK_MAGIC(session, SESSION_MAGIC);
    session->timer_due_ms = UINT64_MAX;
    if (is_unfinished(session)) {
        exchange_finish(&session->exchange, session, REASON_HANDSHAKE_TIMEOUT, NULL, NULL);
        return;
    }
    exchange_on_timer(&session->exchange, session);
}

static void on_hello(void *arg)
{
    struct session *session = arg;
    CHECK_MAGIC(session, SESSION_MAGIC);
    session_enter(session, SESSION_HANDSHAKE);
}

static void on_handshake(void *arg, const struct tls_failure *failure)
{
    struct session *session = arg;
    CHECK_MAGIC(session, SESSION_MAGIC);
    if (failure != NULL) {
        struct conn *conn = session->downstream;
        struct limits *limits = session->worker->limits;
        session->downstream = NULL;
        limits_hold_descriptor(limits);
        exchange_finish(&session->exchange, session, failure->reason, failure, NULL);
        tls_conn_refuse(conn); /* last: failure lives with the conn */
        limits_drop_descriptor(limits);
        return;
    }
    count_handshake(session->worker, session->listener, METRIC_DOWNSTREAM,
                    tls_conn_peer(session->downstream), session->accepted_us);
    session_enter(session, SESSION_SERVING);
    exchange_start(&session->exchange, session);
}

static const struct tls_conn_callbacks tls_callbacks = {.on_hello = on_hello,
                                                        .on_handshake = on_handshake};

static struct conn *make_conn(struct session *session, int fd)
{
    struct worker *worker = session->worker;
    const struct setup_listener *listener = session->listener;
    bool is_unix = config_scheme_is_unix(listener->config->accept.scheme);
    if (listener->server == NULL) {
        return plain_conn_new(worker->plain, worker->loop, fd, is_unix);
    }
    return tls_conn_accept(worker->tls, worker->loop, listener->server, fd, is_unix, &tls_callbacks,
                           session);
}

static struct session *session_new(struct worker *worker, const struct setup_listener *listener,
                                   int fd, const struct netaddr *peer)
{
    struct session *session = mem_try_alloc(sizeof(*session));
    if (session == NULL) {
        return NULL;
    }
    session->magic = SESSION_MAGIC;
    session->worker = worker;
    session->snapshot = worker->snapshot;
    session->listener = listener;
    session->started_ms = loop_now_ms(worker->loop);
    session->accepted_us = count_now_us();
    session->timer_due_ms = UINT64_MAX;
    bool kept = netaddr_keep(&session->peer, peer);
    session->timer = timer_new(worker->loop, on_timer, session);
    if (kept && session->timer != NULL) {
        session->downstream = make_conn(session, fd);
    }
    if (session->downstream == NULL) {
        timer_free(session->timer);
        netaddr_kept_clear(&session->peer);
        mem_free(session);
        return NULL;
    }
    return session;
}

/* There is no exchange whose end could be logged. */
static void log_not_made(struct worker *worker, const struct setup_listener *listener)
{
    uint64_t left_out;
    if (!pace_allows(&worker->failed_lines, loop_now_ms(worker->loop), LINE_INTERVAL_MS,
                     &left_out)) {
        return;
    }
    log_begin(&worker->log, LOG_WARN, "session_failed");
    log_str(&worker->log, "listener", listener->config->name.text);
    log_u64(&worker->log, "worker", worker->index);
    log_str(&worker->log, "error", "memory is out: the connection was closed");
    log_u64(&worker->log, "left_out", left_out);
    log_end(&worker->log);
}

void session_accept(struct worker *worker, const struct setup_listener *listener, int fd,
                    const struct netaddr *peer)
{
    struct session *session = session_new(worker, listener, fd, peer);
    count_accepted(worker, listener);
    if (session == NULL) {
        (void)close(fd);
        limits_cancel(worker->limits, listener);
        count_not_made(worker, listener, REASON_OUT_OF_MEMORY);
        log_not_made(worker, listener);
        return;
    }
    session->id = worker->next_session;
    worker->next_session += worker->session_step;
    worker->session_count++;
    TAILQ_INSERT_TAIL(&worker->sessions, session, link);
    count_opened(session);
    if (listener->server != NULL) {
        session_enter(session, SESSION_HELLO);
        return;
    }
    session_enter(session, SESSION_SERVING);
    exchange_start(&session->exchange, session);
}

void session_end(struct session *session, enum reason reason, const char *detail)
{
    exchange_finish(&session->exchange, session, reason, NULL, detail);
}

static void session_free(void *arg)
{
    struct session *session = arg;
    CHECK_MAGIC(session, SESSION_MAGIC);
    session->magic = 0;
    upstream_fini(&session->exchange.upstream);
    netaddr_kept_clear(&session->peer);
    mem_free(session);
}

void session_close(struct session *session, bool in_order)
{
    struct worker *worker = session->worker;
    if (in_order) {
        conn_close(session->downstream);
    } else {
        conn_abort(session->downstream);
    }
    session->downstream = NULL;
    session_enter(session, SESSION_CLOSED);
    timer_free(session->timer);
    session->timer = NULL;
    loop_defer(worker->loop, &session->deferred, session_free, session);
    worker_session_ended(worker);
}
