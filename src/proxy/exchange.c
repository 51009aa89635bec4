/*
 *   AUTHORIZE  the downstream is verified: policy_decide (not where the downstream is plaintext:
 *              there `expect` alone decides, inside the upstream's handshake)
 *   DIAL       allowed, and only then anything is resolved or dialled
 *   RELAY      both sides stand; bytes flow
 *   DONE       exchange_finish has run
 *
 * A denial is a reset without close_notify on both sides: a close_notify would read as a complete,
 * empty answer.
 *
 * A relay that flushes the rest of a broken stream has its end already: whoever cuts it then (a
 * drain's deadline, a stop) is not the cause.
 */
#include "proxy/exchange.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "policy/explain.h"
#include "proxy/access_lines.h"
#include "proxy/announce.h"
#include "proxy/authority.h"
#include "proxy/count.h"
#include "proxy/rule_hits.h"
#include "proxy/session.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"
#include "spiffe/peer_chain.h"
#include "telemetry/access_log.h"
#include "tls/tls_conn.h"

enum { LINE_DETAIL_SIZE = 2 * AUTHORITY_DETAIL_SIZE };

static struct session *session_of(struct exchange *exchange)
{
    struct session *session =
        (struct session *)(void *)((char *)exchange - offsetof(struct session, exchange));
    CHECK_MAGIC(session, SESSION_MAGIC);
    return session;
}

static void exchange_enter(struct exchange *exchange, enum exchange_state state)
{
    ASSERT(state > exchange->state);
    exchange->state = state;
}

/* The relay's end. */
static void on_relay_done(void *arg, enum reason reason)
{
    struct exchange *exchange = arg;
    exchange_finish(exchange, session_of(exchange), reason, NULL, NULL);
}

static bool on_buffer(void *arg, size_t bytes)
{
    struct session *session = session_of(arg);
    return limits_buffer(session->worker->limits, session->listener, bytes);
}

static void on_unbuffer(void *arg, size_t bytes)
{
    struct session *session = session_of(arg);
    limits_unbuffer(session->worker->limits, session->listener->slot, bytes);
}

static bool on_buffer_is_tight(void *arg)
{
    struct session *session = session_of(arg);
    return limits_buffer_is_tight(session->worker->limits, session->listener);
}

static void on_look_soon(void *arg, uint64_t delay_ms)
{
    session_hurry_timer(session_of(arg), delay_ms);
}

static void on_moved(void *arg, enum relay_side source, size_t bytes)
{
    count_bytes(session_of(arg), source == RELAY_DOWNSTREAM ? METRIC_UP : METRIC_DOWN, bytes);
}

static const struct relay_owner relay_owner = {
    .on_done = on_relay_done,
    .buffer = on_buffer,
    .unbuffer = on_unbuffer,
    .buffer_is_tight = on_buffer_is_tight,
    .look_soon = on_look_soon,
    .moved = on_moved,
};

static void write_access_line(struct exchange *exchange, struct session *session,
                              enum reason reason, const struct tls_failure *failure,
                              const char *detail);

static void start_relay(struct exchange *exchange, struct session *session)
{
    const struct setup_listener *listener = session->listener;
    const struct relay_settings settings = {
        .idle_ms = listener->config->timeouts.idle_ms,
        .half_close_ms = listener->config->timeouts.half_close_ms,
        .keepalive_ms = listener->setup->config->keepalive.time_ms,
        .tolerate_truncation = listener->config->truncation == CONFIG_TRUNCATION_TOLERATE,
        .upstream_is_tls = listener->client != NULL,
    };
    exchange_enter(exchange, EXCHANGE_RELAY);
    write_access_line(exchange, session, REASON_NONE, NULL, NULL);
    session_set_timer(session, settings.idle_ms);
    relay_start(&exchange->relay, session->downstream, exchange->upstream_conn, &settings,
                &relay_owner, exchange);
}

static void forget_server(struct exchange *exchange)
{
    peer_chain_unref(exchange->server_chain);
    exchange->server_chain = NULL;
}

/* False when the server could not be told who calls: the exchange has been finished. */
static bool announce(struct exchange *exchange, struct session *session)
{
    if (!announce_is_wanted(session)) {
        return true;
    }
    enum reason failed = announce_send(session, exchange->upstream_conn);
    if (failed != REASON_NONE) {
        exchange_finish(exchange, session, failed, NULL, NULL);
        return false;
    }
    exchange->announced = true;
    return true;
}

static void on_upstream_done(void *arg, struct conn *conn, enum reason reason,
                             const struct tls_failure *failure, const char *detail)
{
    struct exchange *exchange = arg;
    struct session *session = session_of(exchange);
    if (reason != REASON_NONE) {
        exchange_finish(exchange, session, reason, failure, detail);
        return;
    }
    exchange->upstream_conn = conn;
    forget_server(exchange);
    struct authority_verdict verdict = {.reason = REASON_NONE};
    enum reason lost = authority_catch_up(session, &verdict);
    if (lost == REASON_NONE) {
        lost = expiry_schedule(session->worker->expiry, session, &verdict);
    }
    if (lost != REASON_NONE) {
        exchange_finish(exchange, session, lost, NULL, verdict.detail);
        return;
    }
    if (conn_is_gone(session->downstream)) {
        exchange_finish(exchange, session, REASON_DOWNSTREAM_RESET, NULL, NULL);
        return;
    }
    if (!announce(exchange, session)) {
        return;
    }
    start_relay(exchange, session);
}

/* Inside the upstream's handshake, when its certificate is there and when ours is asked for: a
   server that is not expected, or in quarantine, never gets our certificate. */
static enum reason on_server_check(void *arg, struct peer_chain *chain, char *detail,
                                   size_t detail_size)
{
    struct exchange *exchange = arg;
    struct session *session = session_of(exchange);
    struct authority_verdict verdict;
    enum reason lost = authority_catch_up(session, &verdict);
    if (lost != REASON_NONE) {
        (void)snprintf(detail, detail_size, "%s", verdict.detail);
        return lost;
    }
    if (exchange->server_chain == chain) {
        return REASON_NONE; /* judged with the rest, if anything has changed */
    }
    const struct policy *policy = session->listener->setup->policy;
    struct policy_input input = authority_input(session->listener, chain, session->snapshot);
    struct decision decision;
    policy_decide_upstream(policy, &input, &decision);
    count_decision(session, METRIC_UPSTREAM, input.id, &decision);
    if (decision.verdict == VERDICT_ALLOW) {
        forget_server(exchange);
        exchange->server_chain = peer_chain_ref(chain);
        return REASON_NONE;
    }
    explain_upstream(policy, &input, &decision, detail, detail_size);
    return decision.reason;
}

static const struct upstream_owner upstream_owner = {
    .on_done = on_upstream_done,
    .peer_check = on_server_check,
};

/* A bridge offers upstream exactly what its downstream selected; an originating listener its own
   list. */
static const char *upstream_alpn(const struct session *session)
{
    const struct peer_info *peer = NULL;
    if (session->listener->server != NULL) {
        peer = tls_conn_peer(session->downstream);
    }
    return peer == NULL ? NULL : peer->alpn;
}

/* False when the downstream may not: the exchange has been finished. */
static bool authorize(struct exchange *exchange, struct session *session)
{
    const struct peer_info *peer = tls_conn_peer(session->downstream);
    const struct policy *policy = session->listener->setup->policy;
    ASSERT(peer != NULL);
    struct policy_input input = authority_input(session->listener, peer->chain, session->snapshot);
    policy_decide(policy, &input, &exchange->decision);
    count_decision(session, METRIC_DOWNSTREAM, input.id, &exchange->decision);
    if (session->worker->rule_hits != NULL) {
        rule_hits_note(session->worker->rule_hits, session->listener, &exchange->decision);
    }
    if (exchange->decision.verdict == VERDICT_ALLOW) {
        return true;
    }
    char detail[AUTHORITY_DETAIL_SIZE];
    explain_decision(policy, &input, &exchange->decision, detail, sizeof(detail));
    exchange_finish(exchange, session, exchange->decision.reason, NULL, detail);
    return false;
}

/* A swap came while the handshake was under way: its gate has judged the certificate under what is
   in force; the listener may be gone or lead elsewhere. */
static bool listener_still_stands(struct exchange *exchange, struct session *session)
{
    struct snapshot *in_force = session->worker->snapshot;
    struct authority_verdict verdict;
    if (session->snapshot == in_force) {
        return true;
    }
    authority_judge_listener(session, in_force, &verdict);
    if (verdict.reason != REASON_NONE) {
        exchange_finish(exchange, session, verdict.reason, NULL, NULL);
        return false;
    }
    authority_renew(session, in_force, &verdict);
    return true;
}

void exchange_start(struct exchange *exchange, struct session *session)
{
    if (!listener_still_stands(exchange, session)) {
        return;
    }
    const struct setup_listener *listener = session->listener;
    if (listener->server != NULL && !authorize(exchange, session)) {
        return;
    }
    struct authority_verdict lost;
    enum reason over = expiry_schedule(session->worker->expiry, session, &lost);
    if (over != REASON_NONE) {
        exchange_finish(exchange, session, over, NULL, lost.detail);
        return;
    }
    exchange_enter(exchange, EXCHANGE_DIAL);
    upstream_start(&exchange->upstream, session->worker, listener, upstream_alpn(session),
                   &upstream_owner, exchange);
}

void exchange_on_timer(struct exchange *exchange, struct session *session)
{
    if (exchange->state != EXCHANGE_RELAY) {
        return;
    }
    uint64_t next = relay_tick(&exchange->relay, loop_now_ms(session->worker->loop));
    if (next != 0) {
        session_set_timer(session, next);
    }
}

/* Refused, as opposed to let through and failed or ended later. */
static bool was_refused(const struct exchange *exchange, enum reason reason)
{
    if (exchange->state == EXCHANGE_AUTHORIZE) {
        return true;
    }
    if (reason == REASON_DOWNSTREAM_RESET) {
        return false; /* the one fault of a peer in DIAL that is not the server's: it left */
    }
    enum fault fault = reason_fault(reason);
    return exchange->state == EXCHANGE_DIAL &&
           (fault == FAULT_PEER || fault == FAULT_POLICY || fault == FAULT_AUTHORITY);
}

static void fill_tls(struct access_tls *tls, const struct peer_info *peer)
{
    *tls = (struct access_tls){
        .version = peer->version,
        .cipher = peer->cipher,
        .group = peer->group,
        .alpn = peer->alpn,
        .resumed = peer->resumed,
    };
}

/* What the two finished handshakes proved. */
static void fill_identities(struct access_record *record, const struct session *session)
{
    const struct peer_info *peer = session_downstream_peer(session);
    if (peer != NULL) {
        record->downstream_id = peer_chain_id(peer->chain)->text;
        fill_tls(&record->downstream_tls, peer);
    }
    peer = session_upstream_peer(session);
    if (peer != NULL) {
        record->upstream_id = peer_chain_id(peer->chain)->text;
        fill_tls(&record->upstream_tls, peer);
    }
    const struct x509_svid *own = credentials_own(session->snapshot->credentials);
    if (own != NULL) {
        record->own_id = x509_svid_id(own)->text;
    }
}

/* What a failed handshake could learn of the peer: unverified, and so under names of its own. */
static void fill_failure(struct access_record *record, const struct tls_failure *failure)
{
    if (failure == NULL) {
        return;
    }
    record->claimed_id = strview_from(failure->svid.claimed);
    record->subject = strview_from(failure->svid.subject);
    record->serial = strview_from(failure->svid.serial);
    record->sni = strview_from(failure->sni);
    if (record->detail == NULL) {
        record->detail = failure->svid.detail[0] != '\0' ? failure->svid.detail
                         : failure->alert != NULL        ? failure->alert
                                                         : failure->detail;
    }
}

const char *exchange_rule_name(const struct exchange *exchange, const struct session *session)
{
    if (exchange->decision.rule != NULL) {
        return exchange->decision.rule->name;
    }
    bool by_expect = session->listener->server == NULL && exchange->upstream_conn != NULL;
    return by_expect ? "expect" : NULL;
}

/* The alert with which a peer broke off after its handshake, by name; NULL for any other end. */
static const char *alert_of(const struct exchange *exchange, const struct session *session)
{
    if (exchange->state != EXCHANGE_RELAY || relay_broken_by(&exchange->relay) == REASON_NONE) {
        return NULL;
    }
    bool by_upstream = relay_broken_side(&exchange->relay) == RELAY_UPSTREAM;
    const struct setup_listener *listener = session->listener;
    const struct conn *conn = by_upstream ? exchange->upstream_conn : session->downstream;
    bool is_tls = (by_upstream ? listener->client : listener->server) != NULL;
    const char *name = is_tls ? tls_conn_alert_name(conn) : "";
    return name[0] != '\0' ? name : NULL;
}

/* What shadow rules would have done, beside what was done. */
static void fill_shadow(struct access_record *record, const struct shadow_result *shadow)
{
    const struct policy_rule *rule = policy_shadow_rule(shadow);
    if (rule != NULL) {
        record->shadow_decision = shadow->verdict == VERDICT_ALLOW ? "allow" : "deny";
        record->shadow_rule = rule->name;
    }
}

/* What `enforcement: audit` let through says as what it would have been refused, behind what there
   is to say of its end. */
static void fill_would_deny(struct access_record *record, const struct session *session,
                            char text[LINE_DETAIL_SIZE])
{
    const struct peer_info *peer = session_downstream_peer(session);
    if (!session->exchange.decision.would_deny || peer == NULL) {
        return;
    }
    char sentence[AUTHORITY_DETAIL_SIZE];
    const struct policy_input input =
        authority_input(session->listener, peer->chain, session->snapshot);
    explain_decision(session->listener->setup->policy, &input, &session->exchange.decision,
                     sentence, sizeof(sentence));
    bool has_more = record->detail != NULL && reason_fault(record->reason) != FAULT_AUTHORITY;
    (void)snprintf(text, LINE_DETAIL_SIZE, "%s%s%s", has_more ? record->detail : "",
                   has_more ? "; " : "", sentence);
    record->would_deny = true;
    if (record->detail == NULL || has_more) {
        record->detail = text;
    }
}

static enum config_access event_of(const struct exchange *exchange, enum reason reason)
{
    if (reason == REASON_NONE) {
        return CONFIG_ACCESS_OPEN;
    }
    return was_refused(exchange, reason) ? CONFIG_ACCESS_DENY : CONFIG_ACCESS_CLOSE;
}

static const char *event_name(enum config_access event)
{
    return event == CONFIG_ACCESS_OPEN ? "open" : event == CONFIG_ACCESS_DENY ? "deny" : "close";
}

/* REASON_NONE: of the beginning of its relay. */
static void write_access_line(struct exchange *exchange, struct session *session,
                              enum reason reason, const struct tls_failure *failure,
                              const char *detail)
{
    enum config_access event = event_of(exchange, reason);
    if (!access_lines_wants(session->worker->access_lines, event)) {
        return;
    }
    const struct setup_listener *listener = session->listener;
    char peer_text[NETADDR_TEXT_SIZE];
    char upstream_text[NETADDR_TEXT_SIZE];
    char local_text[NETADDR_TEXT_SIZE];
    struct netaddr peer = netaddr_of(&session->peer);
    struct netaddr upstream = netaddr_of(&exchange->upstream.address);
    struct netaddr local = netaddr_of(&exchange->upstream.local);
    struct access_record record = {
        .wall_ms = clock_wall_ms(),
        .event = event_name(event),
        .session = session->id,
        .listener = listener->config->name.text,
        .kind = config_kind_name(listener->config->kind),
        .downstream = netaddr_format(&peer, peer_text),
        .decision = event == CONFIG_ACCESS_DENY ? "deny" : "allow",
        .rule = exchange_rule_name(exchange, session),
        .reason = reason,
        .detail = detail,
        .has_bytes = exchange->state == EXCHANGE_RELAY && reason != REASON_NONE,
        .duration_ms = loop_now_ms(session->worker->loop) - session->started_ms,
    };
    if (exchange->state != EXCHANGE_AUTHORIZE) {
        record.upstream = upstream.len != 0 ? netaddr_format(&upstream, upstream_text)
                                            : listener->config->forward.text.text;
    }
    if (local.len != 0) {
        record.upstream_local = netaddr_format(&local, local_text);
    }
    if (record.has_bytes) {
        record.bytes_up = relay_bytes(&exchange->relay, RELAY_DOWNSTREAM);
        record.bytes_down = relay_bytes(&exchange->relay, RELAY_UPSTREAM);
    }
    if (reason != REASON_NONE && (detail == NULL || detail[0] == '\0')) {
        record.detail = alert_of(exchange, session);
    }
    char unique_id[ANNOUNCE_UNIQUE_ID_SIZE];
    if (exchange->announced) {
        record.unique_id = announce_unique_id(session, unique_id);
    }
    char would_deny[LINE_DETAIL_SIZE];
    fill_identities(&record, session);
    fill_failure(&record, failure);
    fill_shadow(&record, &exchange->decision.shadow);
    fill_would_deny(&record, session, would_deny);
    access_lines_write(session->worker->access_lines, event, &record);
}

static enum reason cause_of(const struct exchange *exchange, enum reason reason)
{
    if (exchange->state != EXCHANGE_RELAY) {
        return reason;
    }
    enum reason broken = relay_broken_by(&exchange->relay);
    return broken != REASON_NONE ? broken : reason;
}

void exchange_finish(struct exchange *exchange, struct session *session, enum reason reason,
                     const struct tls_failure *failure, const char *detail)
{
    ASSERT(exchange->state != EXCHANGE_DONE && reason != REASON_NONE);
    reason = cause_of(exchange, reason);
    count_finish(session, reason);
    /* Load balancers and TCP probes do this all day: counted, not logged. */
    if (reason != REASON_CLOSED_BEFORE_HELLO) {
        write_access_line(exchange, session, reason, failure, detail);
    }
    bool in_order = false;
    if (exchange->state == EXCHANGE_DIAL) {
        upstream_cancel(&exchange->upstream);
    } else if (exchange->state == EXCHANGE_RELAY) {
        relay_stop(&exchange->relay);
        in_order = relay_ended_in_order(&exchange->relay);
    }
    if (in_order) {
        conn_close(exchange->upstream_conn);
    } else {
        conn_abort(exchange->upstream_conn);
    }
    exchange->upstream_conn = NULL;
    forget_server(exchange);
    exchange_enter(exchange, EXCHANGE_DONE);
    session_close(session, in_order);
}
