/*
 * Records of one size in an array, their texts behind one another in one block. The listener's
 * and rule's names are copied too: by the time the survey is read, their setup may be gone.
 */
#include "proxy/survey.h"

#include <string.h>

#include "base/memory.h"
#include "base/strview.h"
#include "proxy/authority.h"
#include "proxy/expiry.h"
#include "proxy/session.h"
#include "proxy/snapshot.h"
#include "proxy/walk.h"
#include "proxy/worker.h"
#include "spiffe/peer_chain.h"
#include "tls/tls_conn.h"

enum { FIRST_SESSIONS = 64, FIRST_TEXT = 8192 };

/* One survey under way. */
struct surveying {
    struct worker *worker;
    struct walk *walk;
    struct snapshot *snapshot;
    struct session_survey *survey; /* NULL: memory is out */
};

const char *survey_text(const struct session_survey *survey, size_t offset)
{
    return offset == 0 ? NULL : survey->text + offset;
}

void survey_free(struct session_survey *survey)
{
    if (survey != NULL) {
        mem_free(survey->sessions);
        mem_free(survey->text);
        mem_free(survey);
    }
}

/* Doubles an array without abort. */
static bool grow(void **array, size_t *capacity, size_t needed, size_t first, size_t size)
{
    if (needed <= *capacity) {
        return true;
    }
    size_t wanted = *capacity == 0 ? first : *capacity * 2;
    wanted = wanted < needed ? needed : wanted;
    void *bigger = mem_try_alloc(wanted * size);
    if (bigger == NULL) {
        return false;
    }
    if (*capacity != 0) {
        memcpy(bigger, *array, *capacity * size);
    }
    mem_free(*array);
    *array = bigger;
    *capacity = wanted;
    return true;
}

static size_t put_text(struct session_survey *survey, struct strview text)
{
    if (text.len == 0) {
        return 0;
    }
    void *block = survey->text;
    if (!grow(&block, &survey->text_capacity, survey->text_len + text.len + 2, FIRST_TEXT, 1)) {
        survey->incomplete = true;
        return 0;
    }
    survey->text = block;
    if (survey->text_len == 0) {
        survey->text_len = 1; /* 0 means none */
    }
    size_t offset = survey->text_len;
    memcpy(survey->text + offset, text.ptr, text.len);
    survey->text[offset + text.len] = '\0';
    survey->text_len += text.len + 1;
    return offset;
}

static size_t put_string(struct session_survey *survey, const char *text)
{
    return text == NULL ? 0 : put_text(survey, strview_from(text));
}

static void describe_peer(struct session_survey *survey, const struct peer_info *peer,
                          struct session_peer *out)
{
    if (peer != NULL) {
        out->id = put_text(survey, peer_chain_id(peer->chain)->text);
        out->tls_version = peer->version;
        out->resumed = peer->resumed;
    }
}

/* As in the access log: what was dialled, or would be. */
static size_t put_upstream(struct session_survey *survey, const struct session *session)
{
    char text[NETADDR_TEXT_SIZE];
    struct netaddr dialled = netaddr_of(&session->exchange.upstream.address);
    if (session->exchange.state == EXCHANGE_AUTHORIZE) {
        return 0;
    }
    return put_string(survey, dialled.len != 0 ? netaddr_format(&dialled, text)
                                               : session->listener->config->forward.text.text);
}

static const char *state_name(const struct session *session)
{
    if (session->state < SESSION_SERVING) {
        return "handshake";
    }
    return session->exchange.state == EXCHANGE_RELAY ? "relay" : "dial";
}

static void describe(struct session_survey *survey, const struct session *session,
                     struct session_brief *brief)
{
    char text[NETADDR_TEXT_SIZE];
    struct netaddr peer = netaddr_of(&session->peer);
    const struct exchange *exchange = &session->exchange;
    brief->id = session->id;
    brief->age_ms = loop_now_ms(session->worker->loop) - session->started_ms;
    if (exchange->state == EXCHANGE_RELAY) {
        brief->bytes_up = relay_bytes(&exchange->relay, RELAY_DOWNSTREAM);
        brief->bytes_down = relay_bytes(&exchange->relay, RELAY_UPSTREAM);
    }
    brief->ends_wall_ms = expiry_wall_ms(session, &brief->ends_by);
    brief->state = state_name(session);
    brief->listener = put_string(survey, session->listener->config->name.text);
    brief->rule = put_string(survey, exchange_rule_name(exchange, session));
    describe_peer(survey, session_downstream_peer(session), &brief->downstream);
    describe_peer(survey, session_upstream_peer(session), &brief->upstream);
    brief->downstream_address = put_string(survey, netaddr_format(&peer, text));
    brief->upstream_address = put_upstream(survey, session);
}

struct session_survey *survey_new(void)
{
    return mem_try_alloc(sizeof(struct session_survey));
}

struct session_brief *survey_add(struct session_survey *survey, const struct session *session)
{
    void *array = survey->sessions;
    if (survey->incomplete || !grow(&array, &survey->capacity, survey->count + 1, FIRST_SESSIONS,
                                    sizeof(*survey->sessions))) {
        survey->incomplete = true;
        return NULL;
    }
    survey->sessions = array;
    struct session_brief *brief = &survey->sessions[survey->count++];
    memset(brief, 0, sizeof(*brief));
    describe(survey, session, brief);
    return brief;
}

static void judge(struct surveying *surveying, const struct session *session,
                  struct session_brief *brief)
{
    struct authority_verdict verdict;
    authority_judge(session, surveying->snapshot, AUTHORITY_ALL, &verdict);
    brief->reason = verdict.reason;
    brief->detail =
        verdict.reason == REASON_NONE ? 0 : put_string(surveying->survey, verdict.detail);
}

static void on_session(void *arg, struct session *session)
{
    struct surveying *surveying = arg;
    struct session_brief *brief = survey_add(surveying->survey, session);
    if (brief != NULL) {
        judge(surveying, session, brief);
    }
}

/* The snapshot goes back with the report: it is freed on control. */
static void finish(struct surveying *surveying)
{
    struct worker_report *report = mem_alloc(sizeof(*report));
    if (surveying->survey != NULL && surveying->survey->incomplete) {
        survey_free(surveying->survey);
        surveying->survey = NULL;
    }
    report->survey = surveying->survey;
    report->former = surveying->snapshot;
    worker_report(surveying->worker, WORKER_SAYS_SURVEYED, report);
    walk_free(surveying->walk);
    mem_free(surveying);
}

static void on_done(void *arg)
{
    finish(arg);
}

/* Nobody waits for the answer any more. */
static void on_abandoned(void *arg)
{
    struct surveying *surveying = arg;
    survey_free(surveying->survey);
    snapshot_unref(surveying->snapshot);
    walk_free(surveying->walk);
    mem_free(surveying);
}

void survey_start(struct worker *worker, struct snapshot *snapshot)
{
    struct surveying *surveying = mem_alloc(sizeof(*surveying));
    surveying->worker = worker;
    surveying->snapshot = snapshot;
    surveying->survey = survey_new();
    surveying->walk = walk_new(worker);
    if (surveying->survey == NULL || surveying->walk == NULL) {
        survey_free(surveying->survey);
        surveying->survey = NULL;
        finish(surveying);
        return;
    }
    surveying->walk->abandoned = on_abandoned;
    walk_start(surveying->walk, on_session, on_done, surveying);
}
