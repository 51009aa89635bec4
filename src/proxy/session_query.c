/*
 * An identity is one that a handshake has proved: before that a session matches by its listener and
 * its number alone.
 */
#include "proxy/session_query.h"

#include <string.h>

#include "base/memory.h"
#include "proxy/session.h"
#include "proxy/setup.h"
#include "proxy/survey.h"
#include "proxy/walk.h"
#include "proxy/worker.h"
#include "spiffe/peer_chain.h"
#include "tls/tls_conn.h"

/* One query under way in one worker. */
struct querying {
    struct worker *worker;
    struct walk *walk;
    const struct session_query *query;
    struct session_survey *survey; /* of a list */
    uint64_t first_unseen;         /* the number of the next session when the query came */
    uint64_t matched;
    bool failed; /* memory is out */
};

static bool peer_matches(const struct session_query *query, const struct peer_info *peer)
{
    return peer != NULL && id_pattern_matches(&query->identity, peer_chain_id(peer->chain));
}

bool session_query_matches(const struct session_query *query, const struct session *session)
{
    if (query->session != 0 && query->session != session->id) {
        return false;
    }
    if (query->listener != NULL &&
        strcmp(query->listener, session->listener->config->name.text) != 0) {
        return false;
    }
    if (query->rule != NULL) {
        const char *rule = exchange_rule_name(&session->exchange, session);
        if (rule == NULL || strcmp(query->rule, rule) != 0) {
            return false;
        }
    }
    return !query->has_identity || peer_matches(query, session_downstream_peer(session)) ||
           peer_matches(query, session_upstream_peer(session));
}

static void on_session(void *arg, struct session *session)
{
    struct querying *querying = arg;
    const struct session_query *query = querying->query;
    if (session->id >= querying->first_unseen || !session_query_matches(query, session)) {
        return;
    }
    querying->matched++;
    switch (query->kind) {
    case SESSION_QUERY_LIST:
        if (querying->survey->count < query->limit &&
            survey_add(querying->survey, session) == NULL) {
            querying->failed = true;
        }
        break;
    case SESSION_QUERY_TERMINATE:
        session_end(session, REASON_TERMINATED, NULL);
        break;
    }
}

static void finish(struct querying *querying)
{
    struct worker_report *report = mem_alloc(sizeof(*report));
    report->survey = querying->survey;
    report->matched = querying->matched;
    report->failed = querying->failed;
    report->query = querying->query;
    worker_report(querying->worker, WORKER_SAYS_QUERIED, report);
    walk_free(querying->walk);
    mem_free(querying);
}

static void on_done(void *arg)
{
    finish(arg);
}

/* Nobody waits for the answer any more. */
static void on_abandoned(void *arg)
{
    struct querying *querying = arg;
    survey_free(querying->survey);
    walk_free(querying->walk);
    mem_free(querying);
}

void session_query_start(struct worker *worker, const struct session_query *query)
{
    struct querying *querying = mem_alloc(sizeof(*querying));
    querying->worker = worker;
    querying->query = query;
    querying->first_unseen = worker->next_session;
    querying->walk = walk_new(worker);
    if (query->kind == SESSION_QUERY_LIST) {
        querying->survey = survey_new();
        querying->failed = querying->survey == NULL;
    }
    if (querying->walk == NULL || querying->failed) {
        querying->failed = true;
        finish(querying);
        return;
    }
    querying->walk->abandoned = on_abandoned;
    walk_start(querying->walk, on_session, on_done, querying);
}
