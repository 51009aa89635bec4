/*
 * Every accepted connection ends as one reason in sessions_ended. Every downstream handshake that
 * had a first byte ends as full, resumed or failed; one that its session's end cut short failed by
 * that session's reason.
 */
#include "proxy/count.h"

#include "base/assert.h"
#include "base/clock.h"
#include "policy/policy.h"
#include "proxy/session.h"
#include "proxy/setup.h"
#include "proxy/worker.h"
#include "telemetry/peer_table.h"
#include "tls/tls_conn.h"

static struct metrics_block *block_of(const struct worker *worker,
                                      const struct setup_listener *listener)
{
    struct metrics_block *block = worker->metrics[listener->slot];
    ASSERT(block != NULL);
    return block;
}

static struct metrics_block *block_of_session(const struct session *session)
{
    return block_of(session->worker, session->listener);
}

uint64_t count_now_us(void)
{
    return METRICS_ARE_KEPT ? clock_mono_us() : 0;
}

static uint64_t since(uint64_t began_us)
{
    return count_now_us() - began_us;
}

void count_accepted(struct worker *worker, const struct setup_listener *listener)
{
    metrics_add(block_of(worker, listener), METRIC_CELL_CONNECTIONS_ACCEPTED, 1);
}

void count_not_made(struct worker *worker, const struct setup_listener *listener,
                    enum reason reason)
{
    metrics_add(block_of(worker, listener), METRIC_CELL_SESSIONS_ENDED + (size_t)reason, 1);
}

void count_opened(const struct session *session)
{
    metrics_add(block_of_session(session), METRIC_CELL_CONNECTIONS_ACTIVE, 1);
}

void count_closed(const struct session *session)
{
    metrics_subtract(block_of_session(session), METRIC_CELL_CONNECTIONS_ACTIVE, 1);
}

void count_half_open(const struct session *session)
{
    metrics_add(block_of_session(session), METRIC_CELL_CONNECTIONS_HALF_OPEN, 1);
}

void count_not_half_open(const struct session *session)
{
    metrics_subtract(block_of_session(session), METRIC_CELL_CONNECTIONS_HALF_OPEN, 1);
}

void count_handshake(struct worker *worker, const struct setup_listener *listener,
                     enum metric_side side, const struct peer_info *peer, uint64_t began_us)
{
    struct metrics_block *block = block_of(worker, listener);
    size_t result = peer->resumed ? METRIC_RESUMED : METRIC_FULL;
    metrics_add(block, METRIC_CELL_HANDSHAKES + side * (size_t)METRIC_HANDSHAKE_RESULTS + result,
                1);
    metrics_observe(block, METRIC_HANDSHAKE_DURATION,
                    METRIC_CELL_HANDSHAKE_DURATION + side * METRIC_SHORT_CELLS, since(began_us));
}

void count_handshake_failed(struct worker *worker, const struct setup_listener *listener,
                            enum metric_side side, enum reason reason)
{
    size_t cell = METRIC_CELL_HANDSHAKE_FAILURES + side * (size_t)REASON_COUNT + (size_t)reason;
    metrics_add(block_of(worker, listener), cell, 1);
}

static void log_news(struct worker *worker, const struct session *session,
                     const struct peer_sight *sight, enum peer_news news)
{
    struct log *log = &worker->log;
    if (news == PEER_NEWS_FULL) {
        log_begin(log, LOG_WARN, "peers_full");
        log_str(log, "error",
                "more peers than are told of by themselves: first calls of further "
                "ones are not said, and they count together");
    } else if (news == PEER_NEWS_FIRST_CALL) {
        log_begin(log, LOG_INFO, "peer_first_seen");
    } else {
        log_begin(log, LOG_WARN, "peer_first_denied");
    }
    log_strview(log, "spiffe_id", sight->id);
    log_str(log, "listener", session->listener->config->name.text);
    log_str(log, "decision", sight->allowed ? "allow" : "deny");
    log_u64(log, "session", session->id);
    log_end(log);
}

static void note_peer(const struct session *session, enum metric_side side,
                      const struct spiffe_id *id, bool allowed)
{
    struct worker *worker = session->worker;
    if (worker->peers == NULL) {
        return;
    }
    const struct peer_sight sight = {.id = id->text,
                                     .calls = side == METRIC_DOWNSTREAM,
                                     .allowed = allowed,
                                     .now_ms = clock_wall_ms()};
    enum peer_news news = peer_table_note(worker->peers, &sight);
    if (news != PEER_NEWS_NONE) {
        log_news(worker, session, &sight, news);
    }
}

void count_decision(const struct session *session, enum metric_side side,
                    const struct spiffe_id *id, const struct decision *decision)
{
    struct metrics_block *block = block_of_session(session);
    size_t kind = METRIC_DENY;
    if (decision->verdict == VERDICT_ALLOW) {
        kind = decision->would_deny ? METRIC_AUDIT_ALLOW : METRIC_ALLOW;
    }
    metrics_add(block, METRIC_CELL_DECISIONS + kind, 1);
    note_peer(session, side, id, kind != METRIC_DENY);
    if (decision->shadow.allow != NULL || decision->shadow.deny != NULL) {
        bool allows = decision->shadow.verdict == VERDICT_ALLOW;
        metrics_add(
            block,
            METRIC_CELL_DECISIONS + (size_t)(allows ? METRIC_SHADOW_ALLOW : METRIC_SHADOW_DENY), 1);
    }
}

static void count_dial_result(struct metrics_block *block, enum metric_dial result, uint64_t now_ms)
{
    metrics_add(block, METRIC_CELL_UPSTREAM_DIALS + (size_t)result, 1);
    metrics_dialled(block, result, now_ms);
}

void count_dial(struct worker *worker, const struct setup_listener *listener, enum reason reason,
                uint64_t began_us)
{
    struct metrics_block *block = block_of(worker, listener);
    bool ok = reason == REASON_NONE;
    count_dial_result(block, ok ? METRIC_DIAL_OK : METRIC_DIAL_FAILED, loop_now_ms(worker->loop));
    if (ok) {
        metrics_observe(block, METRIC_CONNECT_DURATION, METRIC_CELL_CONNECT_DURATION,
                        since(began_us));
    }
}

void count_bytes(const struct session *session, enum metric_direction direction, size_t bytes)
{
    metrics_add(block_of_session(session), METRIC_CELL_RELAYED_BYTES + (size_t)direction, bytes);
}

/* Those that the end of their session has cut short, and the downstream's that failed. */
static void count_unfinished(const struct session *session, enum reason reason)
{
    struct worker *worker = session->worker;
    bool unfinished = session->state == SESSION_HELLO || session->state == SESSION_HANDSHAKE;
    if (unfinished && reason != REASON_CLOSED_BEFORE_HELLO) {
        count_handshake_failed(worker, session->listener, METRIC_DOWNSTREAM, reason);
    }
    const struct exchange *exchange = &session->exchange;
    if (exchange->state == EXCHANGE_DIAL && exchange->upstream.in_handshake) {
        count_handshake_failed(worker, session->listener, METRIC_UPSTREAM, reason);
    }
}

void count_finish(const struct session *session, enum reason reason)
{
    struct metrics_block *block = block_of_session(session);
    metrics_add(block, METRIC_CELL_SESSIONS_ENDED + (size_t)reason, 1);
    count_unfinished(session, reason);
    if (session->exchange.state != EXCHANGE_RELAY) {
        return;
    }
    metrics_observe(block, METRIC_SESSION_DURATION, METRIC_CELL_SESSION_DURATION,
                    since(session->accepted_us));
    if (reason == REASON_UPSTREAM_REFUSED_US) {
        /* A TLS 1.3 client is done before the server has judged its certificate. */
        count_dial_result(block, METRIC_DIAL_FAILED, loop_now_ms(session->worker->loop));
    }
}
