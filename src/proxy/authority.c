/*
 * Each kind of end has a reason of its own, which the closing line names: operators must be able
 * to tell a rule that went from a certificate that was revoked.
 */
#include "proxy/authority.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "policy/explain.h"
#include "proxy/session.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "tls/tls_conn.h"

/* A target that `unsafe_plaintext` allowed, and no longer does. */
static bool plaintext_now_unsafe(const struct session *session,
                                 const struct setup_listener *listener)
{
    struct netaddr dialled = netaddr_of(&session->exchange.upstream.address);
    return listener->client == NULL && !listener->config->unsafe_plaintext && dialled.len != 0 &&
           !netaddr_is_loopback(&dialled);
}

static enum reason judge_listener(const struct session *session,
                                  const struct setup_listener *listener)
{
    if (listener == NULL) {
        return REASON_LISTENER_REMOVED;
    }
    if (!setup_same_path(session->listener, listener)) {
        return REASON_LISTENER_CHANGED;
    }
    return plaintext_now_unsafe(session, listener) ? REASON_PLAINTEXT_OFF_LOOPBACK : REASON_NONE;
}

struct policy_input authority_input(const struct setup_listener *listener,
                                    const struct peer_chain *chain, const struct snapshot *snapshot)
{
    return (struct policy_input){
        .id = peer_chain_id(chain),
        .leaf_sha256 = peer_chain_leaf_sha256(chain),
        .listener = listener->index,
        .now_s = clock_wall_s(),
        .quarantine = snapshot->quarantine,
    };
}

/* Why a session that was let in is no longer. */
static enum reason lost_rule(const struct decision *former, const struct decision *now,
                             int64_t now_s)
{
    if (now->reason == REASON_POLICY_QUARANTINE) {
        return REASON_QUARANTINED;
    }
    if (now->reason == REASON_POLICY_DENY_RULE) {
        return REASON_RULE_DENIES;
    }
    if (former->would_deny) {
        return REASON_AUDIT_ENDED;
    }
    return former->until_s <= now_s ? REASON_RULE_EXPIRED : REASON_RULE_REMOVED;
}

/* The sentence of a denial, and before it what has ended. */
static void describe_loss(const struct policy *policy, const struct policy_input *input,
                          const struct decision *former, struct authority_verdict *verdict,
                          enum reason reason)
{
    char *detail = verdict->detail;
    size_t size = sizeof(verdict->detail);
    if (reason == REASON_RULE_EXPIRED) {
        char ended[CLOCK_TEXT_SIZE];
        int len = snprintf(detail, size, "rule \"%s\" ended at %s; ", former->rule->name,
                           clock_format_s(former->until_s, ended));
        detail += len;
        size -= (size_t)len;
    }
    explain_decision(policy, input, &verdict->decision, detail, size);
}

static enum reason judge_downstream(const struct session *session, const struct peer_info *peer,
                                    const struct setup_listener *listener,
                                    const struct snapshot *snapshot,
                                    struct authority_verdict *verdict)
{
    const struct policy *policy = listener->setup->policy;
    const struct policy_input input = authority_input(listener, peer->chain, snapshot);
    policy_decide(policy, &input, &verdict->decision);
    if (verdict->decision.verdict == VERDICT_ALLOW) {
        return REASON_NONE;
    }
    const struct decision *former = &session->exchange.decision;
    enum reason reason = lost_rule(former, &verdict->decision, input.now_s);
    describe_loss(policy, &input, former, verdict, reason);
    return reason;
}

static enum reason judge_upstream(const struct peer_chain *chain,
                                  const struct setup_listener *listener,
                                  const struct snapshot *snapshot,
                                  struct authority_verdict *verdict)
{
    const struct policy *policy = listener->setup->policy;
    const struct policy_input input = authority_input(listener, chain, snapshot);
    struct decision decision;
    policy_decide_upstream(policy, &input, &decision);
    if (decision.verdict == VERDICT_ALLOW) {
        return REASON_NONE;
    }
    explain_upstream(policy, &input, &decision, verdict->detail, sizeof(verdict->detail));
    return decision.reason == REASON_POLICY_QUARANTINE ? REASON_QUARANTINED : REASON_EXPECT_CHANGED;
}

static enum reason judge_rules(const struct session *session, const struct snapshot *snapshot,
                               struct authority_verdict *verdict)
{
    const struct setup_listener *listener = verdict->listener;
    enum reason reason = judge_listener(session, listener);
    const struct peer_info *peer = session_downstream_peer(session);
    if (reason == REASON_NONE && peer != NULL) {
        reason = judge_downstream(session, peer, listener, snapshot, verdict);
    }
    const struct peer_chain *server = session_upstream_chain(session);
    if (reason == REASON_NONE && server != NULL) {
        reason = judge_upstream(server, listener, snapshot, verdict);
    }
    return reason;
}

static bool is_quarantined(const struct peer_chain *chain, const struct quarantine *quarantine,
                           struct authority_verdict *verdict)
{
    const char *entry = chain == NULL ? NULL
                                      : quarantine_find(quarantine, peer_chain_id(chain),
                                                        peer_chain_leaf_sha256(chain));
    if (entry == NULL) {
        return false;
    }
    explain_quarantine(entry, verdict->detail, sizeof(verdict->detail));
    return true;
}

/* The setup is the same, and so is what its rules say: they were asked when the session began, and
   proxy/expiry asks again when one of them ends. */
static enum reason judge_quarantine(const struct session *session, const struct snapshot *snapshot,
                                    struct authority_verdict *verdict)
{
    const struct peer_info *peer = session_downstream_peer(session);
    bool held = is_quarantined(peer == NULL ? NULL : peer->chain, snapshot->quarantine, verdict) ||
                is_quarantined(session_upstream_chain(session), snapshot->quarantine, verdict);
    return held ? REASON_QUARANTINED : REASON_NONE;
}

/* What a check of a kept chain means for a session that rests on it. */
static enum reason lost_chain(enum reason reason)
{
    if (reason == REASON_SVID_REVOKED) {
        return REASON_CERTIFICATE_REVOKED;
    }
    if (reason == REASON_OUT_OF_MEMORY) {
        return reason;
    }
    bool by_crl = reason == REASON_SVID_CRL_MISSING || reason == REASON_SVID_CRL_EXPIRED ||
                  reason == REASON_SVID_CRL_NOT_YET_VALID ||
                  reason == REASON_SVID_CRL_BAD_SIGNATURE;
    return by_crl ? REASON_CRL_MISSING : REASON_BUNDLE_WITHDRAWN;
}

static enum reason judge_chain(const struct session *session, struct peer_chain *chain,
                               const struct credentials *credentials,
                               struct authority_verdict *verdict)
{
    struct svid_failure failure;
    enum reason reason = tls_thread_recheck(session->worker->tls, credentials, chain, &failure);
    if (reason == REASON_NONE) {
        return REASON_NONE;
    }
    (void)snprintf(verdict->detail, sizeof(verdict->detail), "%s%s%s", reason_sentence(reason),
                   failure.detail[0] != '\0' ? ": " : "", failure.detail);
    return lost_chain(reason);
}

static enum reason judge_identity(const struct session *session,
                                  const struct credentials *credentials)
{
    const struct credentials *former = session->snapshot->credentials;
    if (credentials_identity_epoch(former) == credentials_identity_epoch(credentials)) {
        return REASON_NONE;
    }
    return credentials_own(credentials) == NULL ? REASON_OWN_IDENTITY_WITHDRAWN
                                                : REASON_OWN_IDENTITY_CHANGED;
}

static enum reason judge_chains(const struct session *session,
                                const struct credentials *credentials,
                                struct authority_verdict *verdict)
{
    if (session->snapshot->credentials == credentials) {
        return REASON_NONE;
    }
    enum reason reason = judge_identity(session, credentials);
    const struct peer_info *peer = session_downstream_peer(session);
    if (reason == REASON_NONE && peer != NULL) {
        reason = judge_chain(session, peer->chain, credentials, verdict);
    }
    struct peer_chain *server = session_upstream_chain(session);
    if (reason == REASON_NONE && server != NULL) {
        reason = judge_chain(session, server, credentials, verdict);
    }
    return reason;
}

static void begin(const struct session *session, const struct snapshot *snapshot,
                  struct authority_verdict *verdict)
{
    ASSERT(session->state != SESSION_CLOSED);
    verdict->reason = REASON_NONE;
    verdict->listener = setup_find_slot(snapshot->setup, session->listener->slot);
    verdict->decision = session->exchange.decision;
    verdict->detail[0] = '\0';
}

void authority_judge_listener(const struct session *session, const struct snapshot *snapshot,
                              struct authority_verdict *verdict)
{
    begin(session, snapshot, verdict);
    verdict->reason = judge_listener(session, verdict->listener);
    if (verdict->reason == REASON_NONE) {
        verdict->reason = judge_identity(session, snapshot->credentials);
    }
}

void authority_judge(const struct session *session, const struct snapshot *snapshot,
                     enum authority_scope scope, struct authority_verdict *verdict)
{
    begin(session, snapshot, verdict);
    if (snapshot->setup != session->snapshot->setup) {
        verdict->reason = judge_rules(session, snapshot, verdict);
    } else if (snapshot->quarantine != session->snapshot->quarantine) {
        verdict->reason = judge_quarantine(session, snapshot, verdict);
    }
    if (verdict->reason == REASON_NONE && scope == AUTHORITY_ALL) {
        verdict->reason = judge_chains(session, snapshot->credentials, verdict);
    }
}

enum reason authority_judge_time(struct session *session, struct authority_verdict *verdict)
{
    enum reason reason = authority_catch_up(session, verdict);
    const struct peer_info *peer = session_downstream_peer(session);
    if (reason != REASON_NONE || peer == NULL) {
        return reason;
    }
    begin(session, session->snapshot, verdict);
    verdict->reason =
        judge_downstream(session, peer, session->listener, session->snapshot, verdict);
    if (verdict->reason == REASON_NONE) {
        session->exchange.decision = verdict->decision;
    }
    return verdict->reason;
}

void authority_renew(struct session *session, struct snapshot *snapshot,
                     const struct authority_verdict *verdict)
{
    ASSERT(verdict->reason == REASON_NONE && verdict->listener != NULL);
    session->snapshot = snapshot;
    session->listener = verdict->listener;
    session->exchange.decision = verdict->decision;
    session->exchange.upstream.listener = verdict->listener;
}

enum reason authority_catch_up(struct session *session, struct authority_verdict *verdict)
{
    struct snapshot *in_force = session->worker->snapshot;
    if (session->snapshot == in_force) {
        return REASON_NONE;
    }
    authority_judge(session, in_force, AUTHORITY_ALL, verdict);
    if (verdict->reason == REASON_NONE) {
        authority_renew(session, in_force, verdict);
    }
    return verdict->reason;
}
