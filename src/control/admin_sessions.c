/*
 * Each worker describes its oldest matching sessions, at most `limit` of them; of all those the
 * oldest are told, so that an answer is the same however the sessions lie on the workers.
 */
#include "admin_sessions.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "admin_json.h"
#include "admin_parameters.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "config/config.h"
#include "control_private.h"
#include "net/http_server.h"
#include "proxy/session_query.h"
#include "proxy/snapshot.h"
#include "proxy/survey.h"
#include "proxy/worker.h"

enum { STATUS_OK = 200, STATUS_BAD = 400, STATUS_BUSY = 503 };
/* Also those whose callers are gone: a connection's end takes no wish to terminate back. */
enum { JOBS_MAX = 64 };

struct job {
    STAILQ_ENTRY(job) link;
    struct admin_sessions *sessions;
    struct http_call *call; /* NULL: nobody waits any more */
    struct session_query query;
    char *identity; /* what the query points into */
    char *rule;
    char *listener;
    bool all;
    bool by_uid;
    uid_t uid;
    uint64_t matched;
    bool failed;
};

STAILQ_HEAD(job_list, job);

struct admin_sessions {
    struct control *control;
    struct job_list jobs; /* the first is under way */
    size_t job_count;
    unsigned waiting; /* for so many workers; 0: nothing is under way */
    struct session_survey **surveys;
};

struct admin_sessions *admin_sessions_new(struct control *control)
{
    struct admin_sessions *sessions = mem_alloc(sizeof(*sessions));
    sessions->control = control;
    STAILQ_INIT(&sessions->jobs);
    sessions->surveys = mem_alloc_array(control->worker_count, sizeof(struct session_survey *));
    return sessions;
}

static void job_free(struct job *job)
{
    mem_free(job->identity);
    mem_free(job->rule);
    mem_free(job->listener);
    mem_free(job);
}

static void free_surveys(struct admin_sessions *sessions)
{
    for (unsigned i = 0; i < sessions->control->worker_count; i++) {
        survey_free(sessions->surveys[i]);
        sessions->surveys[i] = NULL;
    }
}

void admin_sessions_free(struct admin_sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    struct job *job = NULL;
    while ((job = STAILQ_FIRST(&sessions->jobs)) != NULL) {
        STAILQ_REMOVE_HEAD(&sessions->jobs, link);
        job_free(job);
    }
    free_surveys(sessions);
    mem_free(sessions->surveys);
    mem_free(sessions);
}

/* --- the filter ------------------------------------------------------------------------------ */

static bool take_identity(struct job *job, struct http_call *call)
{
    bool good = admin_parameter_identity(call, &job->identity, &job->query.identity);
    job->query.has_identity = job->identity != NULL;
    return good;
}

static bool has_listener(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        if (strcmp(config->listeners[i].name.text, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_rule(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->rule_count; i++) {
        if (strcmp(config->rules[i].name.text, name) == 0) {
            return true;
        }
    }
    return strcmp(name, "expect") == 0; /* what let an originating listener's sessions in */
}

/* A misspelt name would find nothing, and look like the peace that was asked for. */
static bool take_names(struct job *job, struct http_call *call)
{
    const struct config *config = control_config(job->sessions->control);
    if (!admin_parameter_text(call, "listener", &job->listener) ||
        !admin_parameter_text(call, "rule", &job->rule)) {
        return false;
    }
    if (job->listener != NULL && !has_listener(config, job->listener)) {
        http_call_refuse(call, STATUS_BAD, "there is no listener of that name");
        return false;
    }
    if (job->rule != NULL && !has_rule(config, job->rule)) {
        http_call_refuse(call, STATUS_BAD, "there is no rule of that name");
        return false;
    }
    job->query.listener = job->listener;
    job->query.rule = job->rule;
    return true;
}

static bool take_limit(struct job *job, struct http_call *call)
{
    uint64_t limit = ADMIN_SESSIONS_LIMIT;
    bool good = admin_parameter_number(call, "limit", ADMIN_SESSIONS_LIMIT_MAX, &limit);
    job->query.limit = (size_t)limit;
    return good;
}

static bool take_all(struct job *job, struct http_call *call)
{
    const struct strview *all = http_request_parameter(http_call_request(call), "all");
    bool filtered = job->query.has_identity || job->rule != NULL || job->listener != NULL ||
                    job->query.session != 0;
    job->all = all != NULL;
    if (all != NULL && !strview_equal_text(*all, "true")) {
        http_call_refuse(call, STATUS_BAD, "all must be true");
        return false;
    }
    if (filtered == job->all) {
        http_call_refuse(call, STATUS_BAD,
                         filtered ? "all=true has no filter beside it"
                                  : "say which: identity, rule, listener or session, or all");
        return false;
    }
    return true;
}

/* --- asking ---------------------------------------------------------------------------------- */

static void begin(struct admin_sessions *sessions)
{
    struct control *control = sessions->control;
    const struct job *job = STAILQ_FIRST(&sessions->jobs);
    if (job == NULL) {
        return;
    }
    sessions->waiting = control->running;
    for (unsigned i = 0; i < control->running; i++) {
        worker_query(control->workers[i], &job->query);
    }
}

static void on_gone(void *arg)
{
    struct job *job = arg;
    struct admin_sessions *sessions = job->sessions;
    job->call = NULL;
    if (job->query.kind == SESSION_QUERY_LIST && job != STAILQ_FIRST(&sessions->jobs)) {
        STAILQ_REMOVE(&sessions->jobs, job, job, link);
        sessions->job_count--;
        job_free(job);
    }
}

static void start(struct job *job, struct http_call *call)
{
    struct admin_sessions *sessions = job->sessions;
    job->call = call;
    job->by_uid = http_call_peer_uid(call, &job->uid);
    http_call_on_gone(call, on_gone, job);
    STAILQ_INSERT_TAIL(&sessions->jobs, job, link);
    sessions->job_count++;
    if (job == STAILQ_FIRST(&sessions->jobs)) {
        begin(sessions);
    }
}

typedef bool take_fn(struct job *job, struct http_call *call);

static bool has_room(const struct admin_sessions *sessions, struct http_call *call)
{
    if (sessions->job_count == JOBS_MAX) {
        http_call_refuse(call, STATUS_BUSY, "too many questions are waiting");
        return false;
    }
    return true;
}

static void ask(struct admin_sessions *sessions, struct http_call *call,
                enum session_query_kind kind, take_fn *take_rest)
{
    struct job *job = mem_alloc(sizeof(*job));
    job->sessions = sessions;
    job->query.kind = kind;
    if (take_identity(job, call) && take_names(job, call) &&
        admin_parameter_number(call, "session", UINT64_MAX, &job->query.session) &&
        take_rest(job, call) && has_room(sessions, call)) {
        start(job, call);
    } else {
        job_free(job);
    }
}

void admin_sessions_list(struct admin_sessions *sessions, struct http_call *call)
{
    ask(sessions, call, SESSION_QUERY_LIST, take_limit);
}

void admin_sessions_terminate(struct admin_sessions *sessions, struct http_call *call)
{
    ask(sessions, call, SESSION_QUERY_TERMINATE, take_all);
}

/* --- the answer ------------------------------------------------------------------------------ */

struct row {
    const struct session_survey *survey;
    const struct session_brief *brief;
};

struct list {
    uint64_t generation;
    uint64_t matched;
    const struct row *rows;
    size_t count;
};

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left;
    const struct row *b = right;
    return (a->brief->id > b->brief->id) - (a->brief->id < b->brief->id);
}

/* NULL: memory is out. */
static struct row *make_rows(const struct admin_sessions *sessions, size_t *count)
{
    size_t all = 0;
    for (unsigned i = 0; i < sessions->control->worker_count; i++) {
        all += sessions->surveys[i] == NULL ? 0 : sessions->surveys[i]->count;
    }
    struct row *rows = mem_try_alloc((all + 1) * sizeof(*rows));
    *count = 0;
    for (unsigned i = 0; rows != NULL && i < sessions->control->worker_count; i++) {
        const struct session_survey *survey = sessions->surveys[i];
        for (size_t k = 0; survey != NULL && k < survey->count; k++) {
            rows[(*count)++] = (struct row){survey, &survey->sessions[k]};
        }
    }
    if (rows != NULL) {
        qsort(rows, *count, sizeof(*rows), compare_rows);
    }
    return rows;
}

static void write_side(struct json_writer *w, const struct session_peer *peer, const char *version,
                       const char *resumed)
{
    json_field_string(w, version, peer->tls_version);
    json_key(w, resumed);
    if (peer->tls_version == NULL) {
        json_none(w);
    } else {
        json_bool(w, peer->resumed);
    }
}

static void write_session(struct json_writer *w, const struct row *row)
{
    char ends[CLOCK_TEXT_SIZE];
    const struct session_survey *survey = row->survey;
    const struct session_brief *brief = row->brief;
    json_object_begin(w);
    json_field_u64(w, "session", brief->id);
    json_field_string(w, "state", brief->state);
    json_field_string(w, "listener", survey_text(survey, brief->listener));
    json_field_string(w, "rule", survey_text(survey, brief->rule));
    json_field_string(w, "downstream_id", survey_text(survey, brief->downstream.id));
    json_field_string(w, "upstream_id", survey_text(survey, brief->upstream.id));
    json_field_string(w, "downstream", survey_text(survey, brief->downstream_address));
    json_field_string(w, "upstream", survey_text(survey, brief->upstream_address));
    json_field_u64(w, "age_ms", brief->age_ms);
    json_field_u64(w, "bytes_up", brief->bytes_up);
    json_field_u64(w, "bytes_down", brief->bytes_down);
    write_side(w, &brief->downstream, "tls_version", "resumed");
    write_side(w, &brief->upstream, "upstream_tls_version", "upstream_resumed");
    json_field_string(w, "authority_ends",
                      brief->ends_wall_ms == 0 ? NULL : clock_format_ms(brief->ends_wall_ms, ends));
    json_field_string(w, "ends_by",
                      brief->ends_by == REASON_NONE ? NULL : reason_label(brief->ends_by));
    json_object_end(w);
}

static void write_list(struct json_writer *w, const void *arg)
{
    const struct list *list = arg;
    json_object_begin(w);
    json_field_u64(w, "generation", list->generation);
    json_field_u64(w, "matched", list->matched);
    json_field_bool(w, "truncated", list->count < list->matched);
    json_key(w, "sessions");
    json_array_begin(w);
    for (size_t i = 0; i < list->count; i++) {
        write_session(w, &list->rows[i]);
    }
    json_array_end(w);
    json_object_end(w);
}

static char *render_list(const struct admin_sessions *sessions, const struct job *job, size_t *len)
{
    size_t count = 0;
    struct row *rows = make_rows(sessions, &count);
    if (rows == NULL) {
        return NULL;
    }
    const struct list list = {
        .generation = sessions->control->snapshot->generation,
        .matched = job->matched,
        .rows = rows,
        .count = count < job->query.limit ? count : job->query.limit,
    };
    char *text = admin_json_render(write_list, &list, len);
    mem_free(rows);
    return text;
}

static void write_terminated(struct json_writer *w, const void *arg)
{
    const struct job *job = arg;
    json_object_begin(w);
    json_field_u64(w, "terminated", job->matched);
    json_object_end(w);
}

static void log_terminated(struct log *log, const struct job *job)
{
    log_begin(log, LOG_INFO, "sessions_terminated");
    log_u64(log, "count", job->matched);
    if (job->identity != NULL) {
        log_str(log, "identity", job->identity);
    }
    if (job->rule != NULL) {
        log_str(log, "rule", job->rule);
    }
    if (job->listener != NULL) {
        log_str(log, "listener", job->listener);
    }
    if (job->query.session != 0) {
        log_u64(log, "session", job->query.session);
    }
    if (job->all) {
        log_str(log, "all", "true");
    }
    if (job->by_uid) {
        log_u64(log, "uid", job->uid);
    }
    if (job->failed) {
        log_str(log, "error", "memory is out: a worker has ended none");
    }
    log_end(log);
}

static void answer(struct admin_sessions *sessions, const struct job *job)
{
    size_t len = 0;
    char *text = NULL;
    if (!job->failed && job->query.kind == SESSION_QUERY_LIST) {
        text = render_list(sessions, job, &len);
    } else if (!job->failed) {
        text = admin_json_render(write_terminated, job, &len);
    }
    admin_json_answer(job->call, STATUS_OK, text, len,
                      "memory is out: not every worker could answer");
}

static void finish(struct admin_sessions *sessions)
{
    struct job *job = STAILQ_FIRST(&sessions->jobs);
    STAILQ_REMOVE_HEAD(&sessions->jobs, link);
    sessions->job_count--;
    if (job->query.kind == SESSION_QUERY_TERMINATE) {
        log_terminated(&sessions->control->log, job);
    }
    if (job->call != NULL) {
        answer(sessions, job);
    }
    job_free(job);
    free_surveys(sessions);
    begin(sessions);
}

void admin_sessions_on_report(struct admin_sessions *sessions, struct worker_report *report)
{
    struct job *job = STAILQ_FIRST(&sessions->jobs);
    ASSERT(sessions->waiting > 0 && report->query == &job->query);
    ASSERT(sessions->surveys[report->worker] == NULL);
    sessions->surveys[report->worker] = report->survey;
    job->matched += report->matched;
    job->failed = job->failed || report->failed;
    if (--sessions->waiting == 0) {
        finish(sessions);
    }
}
