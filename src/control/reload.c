/*
 * Each request runs to its end before the next begins, so that there are never more than two
 * snapshots about: the one in force and the one that comes.
 */
#include "control/reload.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "config/same.h"
#include "control/activation.h"
#include "control/changes.h"
#include "control/open_door.h"
#include "control/rule_expiry.h"
#include "control/rule_totals.h"
#include "control/sockets.h"
#include "control/systemd.h"
#include "control/watching.h"
#include "control/workload_source.h"
#include "control_private.h"
#include "proxy/snapshot.h"
#include "proxy/survey.h"
#include "proxy/worker.h"
#include "reload_log.h"
#include "tls/tls_session_store.h"

enum { MAX_NEEDS_RESTART = 16, WHY_SIZE = 512 };

struct job {
    STAILQ_ENTRY(job) link;
    struct reload_request request;
    char *config_path;
};

STAILQ_HEAD(job_list, job);

enum reload_step { RELOAD_IDLE = 0, RELOAD_SURVEYING, RELOAD_SWAPPING };

struct reload {
    struct control *control;
    struct job_list jobs;
    struct job *job; /* under way */
    enum reload_step step;
    struct timer *next; /* of no delay: the next job begins from the loop */
    uint64_t began_ms;
    struct diag_list diags;
    struct material *candidate;
    struct snapshot *snapshot;       /* of the candidate */
    struct listen_sockets **sockets; /* NULL with a snapshot: the listeners stay as they are */
    const char *refused;             /* why all but the quarantine was; NULL: it was not */
    char *needs_restart[MAX_NEEDS_RESTART];
    size_t needs_restart_count;
    unsigned waiting; /* for so many workers */
    struct session_survey **surveys;
    size_t survey_count;
    char why[WHY_SIZE];
    struct reload_outcome outcome;
};

static void begin(struct reload *reload);

static void on_next(void *arg)
{
    struct reload *reload = arg;
    if (reload->job == NULL && !STAILQ_EMPTY(&reload->jobs)) {
        begin(reload);
    }
}

struct reload *reload_new(struct control *control)
{
    struct reload *reload = mem_alloc(sizeof(*reload));
    reload->control = control;
    reload->next = timer_new(control->loop, on_next, reload);
    if (reload->next == NULL) {
        mem_free(reload);
        return NULL;
    }
    STAILQ_INIT(&reload->jobs);
    reload->survey_count = control->worker_count;
    reload->surveys = mem_alloc_array(control->worker_count, sizeof(struct session_survey *));
    return reload;
}

static void job_free(struct job *job)
{
    mem_free(job->config_path);
    mem_free(job);
}

/* Everything of the job under way but what has been taken over. */
static void clear(struct reload *reload)
{
    for (size_t i = 0; i < reload->survey_count; i++) {
        survey_free(reload->surveys[i]);
        reload->surveys[i] = NULL;
    }
    for (size_t i = 0; i < reload->needs_restart_count; i++) {
        mem_free(reload->needs_restart[i]);
    }
    reload->needs_restart_count = 0;
    mem_free(reload->sockets);
    reload->sockets = NULL;
    snapshot_unref(reload->snapshot);
    reload->snapshot = NULL;
    material_free(reload->candidate);
    reload->candidate = NULL;
    if (reload->job != NULL) {
        diag_list_fini(&reload->diags);
        job_free(reload->job);
        reload->job = NULL;
    }
    reload->step = RELOAD_IDLE;
}

void reload_free(struct reload *reload)
{
    if (reload == NULL) {
        return;
    }
    clear(reload);
    struct job *job = NULL;
    while ((job = STAILQ_FIRST(&reload->jobs)) != NULL) {
        STAILQ_REMOVE_HEAD(&reload->jobs, link);
        job_free(job);
    }
    timer_free(reload->next);
    mem_free(reload->surveys);
    mem_free(reload);
}

/* For the service manager: why not all of it is in force; "" when it is. Outlives the job. */
static const char *why_not(const struct reload *reload, enum reload_result result, const char *why)
{
    if (reload->outcome.kind != RELOAD_APPLY) {
        return "";
    }
    if (result == RELOAD_REFUSED || result == RELOAD_QUARANTINE_ALONE) {
        return why;
    }
    return reload->outcome.config_refused ? "the log says what is wrong" : "";
}

static void finish(struct reload *reload, enum reload_result result, const char *why)
{
    struct reload_outcome *outcome = &reload->outcome;
    const char *refused = why_not(reload, result, why);
    outcome->result = result;
    outcome->why = why;
    outcome->generation = reload->control->snapshot->generation;
    outcome->took_ms = clock_mono_ms() - reload->began_ms;
    outcome->diags = &reload->diags;
    outcome->needs_restart = (const char *const *)reload->needs_restart;
    outcome->needs_restart_count = reload->needs_restart_count;
    outcome->surveys = reload->surveys;
    outcome->survey_count = reload->survey_count;
    reload_counts_add(&reload->control->reloads, outcome,
                      reload->job->request.scope == SOURCES_CREDENTIALS);
    reload_log_outcome(&reload->control->log, outcome, reload->job->request.trigger);
    if (outcome->kind == RELOAD_APPLY && reload->job->request.scope == SOURCES_ALL) {
        reload_log_audit(&reload->control->log, control_config(reload->control));
        rule_expiry_look(reload->control->rule_expiry);
        workload_source_follow(reload->control->workload);
        open_doors_look(reload->control->open_doors);
    }
    if (reload->job->request.done != NULL) {
        reload->job->request.done(reload->job->request.arg, outcome);
    }
    clear(reload);
    if (!STAILQ_EMPTY(&reload->jobs)) {
        timer_set(reload->next, 0);
    } else {
        systemd_reloaded(reload->control->systemd, refused);
    }
}

const char *reload_result_name(enum reload_result result)
{
    static const char *const names[] = {[RELOAD_IN_FORCE] = "in_force",
                                        [RELOAD_UNCHANGED] = "unchanged",
                                        [RELOAD_REFUSED] = "refused",
                                        [RELOAD_QUARANTINE_ALONE] = "quarantine_alone"};
    return names[result];
}

static void publish(struct reload *reload);

static void forget_survey(struct reload *reload)
{
    memset(reload->outcome.ended, 0, sizeof(reload->outcome.ended));
    reload->outcome.judged = 0;
}

/* What the quarantine has gained takes effect without the rest. False: it has gained nothing. */
static bool publish_quarantine(struct reload *reload, const char *why)
{
    struct control *control = reload->control;
    struct material *alone = sources_quarantine_alone(control->sources, reload->candidate);
    if (material_same(sources_in_force(control->sources), alone)) {
        material_free(alone);
        return false;
    }
    material_free(reload->candidate);
    reload->candidate = alone;
    reload->outcome.to = alone;
    snapshot_unref(reload->snapshot);
    reload->snapshot = material_compose(alone, control->snapshot->generation + 1);
    mem_free(reload->sockets);
    reload->sockets = NULL;
    reload->refused = why;
    forget_survey(reload); /* it told of more than this */
    publish(reload);
    return true;
}

static void refuse(struct reload *reload, const char *why)
{
    socket_table_abandon(reload->control->sockets);
    if (reload->job->request.kind != RELOAD_APPLY || !publish_quarantine(reload, why)) {
        finish(reload, RELOAD_REFUSED, why);
    }
}

/* --- preparing ------------------------------------------------------------------------------- */

static void on_fixed_change(void *arg, const char *key)
{
    struct reload *reload = arg;
    if (reload->needs_restart_count < MAX_NEEDS_RESTART) {
        reload->needs_restart[reload->needs_restart_count++] = mem_strdup(key);
    }
}

/*
 * Before anything else of a new configuration counts: one whose sockets can't be opened is refused
 * whole, with the identity and the trust domains that it names.
 */
static bool can_serve(void *arg, const struct setup *setup, struct diag_list *diags)
{
    struct reload *reload = arg;
    struct errbuf err;
    reload->sockets = socket_table_open(reload->control->sockets, setup, &err);
    if (reload->sockets == NULL) {
        diag_error(diags, (struct config_pos){0, 0, 0}, "%s; the configuration in force is kept",
                   err.text);
    }
    return reload->sockets != NULL;
}

/* False: not even those that are in force can be had as they should be. */
static bool open_sockets(struct reload *reload)
{
    struct errbuf err;
    if (reload->sockets != NULL) {
        return true; /* can_serve has */
    }
    reload->sockets = socket_table_open(reload->control->sockets, reload->candidate->setup, &err);
    if (reload->sockets == NULL) {
        diag_error(&reload->diags, (struct config_pos){0, 0, 0}, "%s", err.text);
    }
    return reload->sockets != NULL;
}

static void survey(struct reload *reload, struct snapshot *snapshot)
{
    struct control *control = reload->control;
    reload->step = RELOAD_SURVEYING;
    reload->waiting = control->running;
    for (unsigned i = 0; i < control->running; i++) {
        worker_survey(control->workers[i], snapshot);
    }
}

static void apply_socket_options(struct reload *reload)
{
    struct control *control = reload->control;
    struct errbuf err;
    if (socket_table_apply_options(control->sockets, reload->candidate->setup, &err) != 0) {
        log_begin(&control->log, LOG_ERROR, "socket_options_kept");
        log_str(&control->log, "error", err.text);
        log_end(&control->log);
    }
}

static void publish(struct reload *reload)
{
    struct control *control = reload->control;
    if (reload->sockets != NULL) {
        apply_socket_options(reload);
    }
    control_follow_metrics(control, reload->snapshot->setup);
    reload->step = RELOAD_SWAPPING;
    reload->waiting = control->running;
    snapshot_unref(control->snapshot);
    control->snapshot = snapshot_ref(reload->snapshot);
    struct rule_hits *const *hits =
        rule_totals_prepare(control->rule_totals, reload->snapshot->setup);
    for (unsigned i = 0; i < control->running; i++) {
        const struct worker_next next = {
            .snapshot = reload->snapshot,
            .sockets = reload->sockets,
            .rule_hits = hits == NULL ? NULL : hits[i],
            .reread_resolver = reload->sockets != NULL && reload->job->request.scope == SOURCES_ALL,
        };
        worker_swap(control->workers[i], &next);
    }
}

static void read_sources(struct reload *reload, sources_serve_fn *can_serve_fn)
{
    struct control *control = reload->control;
    const struct sources_request request = {
        .scope = reload->job->request.scope,
        .config_path = reload->job->config_path,
        .can_serve = can_serve_fn,
        .arg = reload,
    };
    reload->candidate = sources_prepare(control->sources, &request, &reload->diags,
                                        &reload->outcome.config_refused);
    reload->outcome.from = sources_in_force(control->sources);
    reload->outcome.to = reload->candidate;
}

/* The first identity: from here on there is somebody to accept connections as. */
static bool release_sockets(struct reload *reload)
{
    struct socket_table *table = reload->control->sockets;
    if (!socket_table_is_held(table) || reload->job->request.kind != RELOAD_APPLY ||
        credentials_own(reload->candidate->credentials) == NULL) {
        return false;
    }
    socket_table_release(table);
    mem_free(reload->sockets);
    reload->sockets = NULL;
    return true;
}

/* As a start that need not wait does: a socket that was passed to us and is nobody's. */
static bool check_taken(struct reload *reload)
{
    struct errbuf err;
    if (activation_check_taken(reload->control->activation, &err) == 0) {
        return true;
    }
    diag_error(&reload->diags, (struct config_pos){0, 0, 0}, "%s", err.text);
    return false;
}

/* What the files say, made into a snapshot. False: there is nothing to go on with. */
static bool prepare(struct reload *reload)
{
    struct control *control = reload->control;
    const struct material *in_force = sources_in_force(control->sources);
    read_sources(reload, can_serve);
    bool is_first = release_sockets(reload);
    bool opened = open_sockets(reload) && (!is_first || check_taken(reload));
    reload_log_diags(&control->log, &reload->diags, reload->job->request.kind);
    if (!opened) {
        if (is_first) {
            control_give_up(control, "a listening socket can't be had");
        }
        refuse(reload, "a listening socket can't be had");
        return false;
    }
    config_each_fixed_change(in_force->setup->config, reload->candidate->setup->config,
                             on_fixed_change, reload);
    if (material_same(in_force, reload->candidate)) {
        bool refused = reload->outcome.config_refused || diag_has_errors(&reload->diags);
        finish(reload, refused ? RELOAD_REFUSED : RELOAD_UNCHANGED,
               refused ? "nothing that could be read has changed" : "");
        return false;
    }
    reload->snapshot = material_compose(reload->candidate, control->snapshot->generation + 1);
    return true;
}

/* While sessions end in their own time nothing else is brought into force. */
static void begin_draining(struct reload *reload)
{
    if (reload->job->request.kind == RELOAD_APPLY) {
        read_sources(reload, NULL);
        reload_log_diags(&reload->control->log, &reload->diags, RELOAD_APPLY);
    }
    refuse(reload, "the process is stopping");
}

static void begin(struct reload *reload)
{
    struct control *control = reload->control;
    reload->job = STAILQ_FIRST(&reload->jobs);
    STAILQ_REMOVE_HEAD(&reload->jobs, link);
    diag_list_init(&reload->diags);
    memset(&reload->outcome, 0, sizeof(reload->outcome));
    reload->outcome.kind = reload->job->request.kind;
    reload->began_ms = clock_mono_ms();
    reload->why[0] = '\0';
    reload->refused = NULL;
    if (control->state != CONTROL_RUNNING) {
        begin_draining(reload);
        return;
    }
    if (!prepare(reload)) {
        return;
    }
    bool look_first = reload->job->request.kind == RELOAD_PREVIEW ||
                      control_config(control)->reload.max_cut_percent != 0;
    if (look_first) {
        survey(reload, reload->snapshot);
    } else {
        publish(reload);
    }
}

/* What waits already does as well, when nobody waits for its answer. */
static bool join_waiting(struct reload *reload, const struct reload_request *request)
{
    struct job *job = NULL;
    STAILQ_FOREACH(job, &reload->jobs, link)
    {
        if (request->done == NULL && job->request.done == NULL &&
            job->request.kind == request->kind) {
            if (request->scope == SOURCES_ALL) {
                /* Its line is for who asked, not for what was noticed besides. */
                if (job->request.scope != SOURCES_ALL ||
                    strcmp(request->trigger, RELOAD_TRIGGER_WATCH) != 0) {
                    job->request.trigger = request->trigger;
                }
                job->request.scope = SOURCES_ALL;
            }
            return true;
        }
    }
    return false;
}

void reload_start(struct reload *reload, const struct reload_request *request)
{
    if (request->kind == RELOAD_APPLY && request->scope == SOURCES_ALL) {
        systemd_reloading(reload->control->systemd);
    }
    if (join_waiting(reload, request)) {
        return;
    }
    struct job *job = mem_alloc(sizeof(*job));
    job->request = *request;
    job->config_path = request->config_path == NULL ? NULL : mem_strdup(request->config_path);
    STAILQ_INSERT_TAIL(&reload->jobs, job, link);
    if (reload->job == NULL) {
        timer_set(reload->next, 0);
    }
}

/* A queued request without its waiter. What would only have been looked at need not be, and what
   is to be done need be done once: else whoever asks and goes away fills the queue. */
static void forget_queued(struct reload *reload, struct job *job)
{
    struct reload_request request = job->request;
    if (request.kind == RELOAD_APPLY) {
        STAILQ_REMOVE(&reload->jobs, job, job, link);
        request.done = NULL;
        request.arg = NULL;
        bool joined = join_waiting(reload, &request);
        if (!joined) {
            job->request = request;
            STAILQ_INSERT_TAIL(&reload->jobs, job, link);
            return;
        }
    } else {
        STAILQ_REMOVE(&reload->jobs, job, job, link);
    }
    job_free(job);
}

void reload_forget(struct reload *reload, const void *arg)
{
    struct job *job = NULL;
    if (reload->job != NULL && reload->job->request.arg == arg) {
        reload->job->request.done = NULL;
    }
    STAILQ_FOREACH(job, &reload->jobs, link)
    {
        if (job->request.arg == arg) {
            forget_queued(reload, job);
            return; /* the list is another one; an arg is one request's */
        }
    }
}

/* --- looking before cutting ------------------------------------------------------------------ */

/* A written deny, a quarantine, a revocation and a written end are meant to cut: no bound holds
   them up. */
static bool is_meant(enum reason reason)
{
    return reason == REASON_QUARANTINED || reason == REASON_RULE_DENIES ||
           reason == REASON_CERTIFICATE_REVOKED || reason == REASON_RULE_EXPIRED ||
           reason == REASON_OWN_IDENTITY_WITHDRAWN;
}

struct tally {
    uint64_t sessions;
    uint64_t cut; /* of them, by accident perhaps */
    bool unknown; /* a worker could not tell */
};

static struct tally tally_surveys(struct reload *reload)
{
    struct tally tally = {0};
    for (size_t i = 0; i < reload->survey_count; i++) {
        const struct session_survey *survey = reload->surveys[i];
        if (survey == NULL) {
            tally.unknown = true;
            continue;
        }
        tally.sessions += survey->count;
        for (size_t k = 0; k < survey->count; k++) {
            enum reason reason = survey->sessions[k].reason;
            reload->outcome.ended[reason] += reason != REASON_NONE;
            tally.cut += reason != REASON_NONE && !is_meant(reason);
        }
    }
    reload->outcome.judged = tally.sessions;
    return tally;
}

/* True when reload.max_cut forbids it; reload->why says so. */
static bool cuts_too_much(struct reload *reload, const struct tally *tally)
{
    uint64_t most = control_config(reload->control)->reload.max_cut_percent;
    if (most == 0) {
        return false;
    }
    if (tally->unknown) {
        (void)snprintf(reload->why, WHY_SIZE, "memory is out: what it would cut is not known");
        return true;
    }
    if (tally->cut * 100 <= most * tally->sessions) {
        return false;
    }
    (void)snprintf(reload->why, WHY_SIZE,
                   "it would end %llu of %llu sessions, reload.max_cut is %llu%%; look with `ctl "
                   "reload --dry-run`",
                   (unsigned long long)tally->cut, (unsigned long long)tally->sessions,
                   (unsigned long long)most);
    return true;
}

static void on_surveyed(struct reload *reload)
{
    struct tally tally = tally_surveys(reload);
    bool too_much = cuts_too_much(reload, &tally);
    if (too_much) {
        refuse(reload, reload->why);
    } else if (reload->job->request.kind == RELOAD_PREVIEW) {
        socket_table_abandon(reload->control->sockets);
        finish(reload, RELOAD_IN_FORCE, "");
    } else {
        forget_survey(reload);
        publish(reload);
    }
}

/* --- in force -------------------------------------------------------------------------------- */

static void log_new_sockets(struct control *control, const struct setup *setup)
{
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        if (socket_table_is_fresh(control->sockets, setup, i)) {
            control_log_listening(control, i);
        }
    }
}

static void on_in_force(struct reload *reload)
{
    struct control *control = reload->control;
    /* The outcome compares with what was in force: it must still be there when it is told. */
    struct material *former = material_new(sources_in_force(control->sources));
    sources_commit(control->sources, reload->candidate);
    reload->candidate = former;
    reload->outcome.from = former;
    reload->outcome.to = sources_in_force(control->sources);
    rule_totals_settle(control->rule_totals);
    log_new_sockets(control, reload->outcome.to->setup);
    if (reload->sockets != NULL) {
        socket_table_settle(control->sockets, reload->outcome.to->setup);
    }
    if (former->credentials != reload->outcome.to->credentials) {
        /* None of them could be resumed any more. */
        tls_session_store_clear(control->sessions,
                                credentials_generation(reload->outcome.to->credentials));
    }
    control_material_changed(control);
    bool all = reload->refused == NULL;
    finish(reload, all ? RELOAD_IN_FORCE : RELOAD_QUARANTINE_ALONE, all ? "" : reload->refused);
}

static void take_result(struct reload *reload, const struct swap_result *result)
{
    struct reload_outcome *outcome = &reload->outcome;
    outcome->judged += result->judged;
    for (int reason = 0; reason < REASON_COUNT; reason++) {
        outcome->ended[reason] += result->ended[reason];
    }
    if (result->longest_slice_us > outcome->longest_slice_us) {
        outcome->longest_slice_us = result->longest_slice_us;
    }
}

void reload_on_report(struct reload *reload, struct worker_report *report)
{
    enum worker_says what = (enum worker_says)report->node.kind;
    snapshot_unref(report->former);
    if (what == WORKER_SAYS_SURVEYED) {
        ASSERT(reload->step == RELOAD_SURVEYING && reload->surveys[report->worker] == NULL);
        reload->surveys[report->worker] = report->survey;
        if (--reload->waiting == 0) {
            on_surveyed(reload);
        }
        return;
    }
    ASSERT(reload->step == RELOAD_SWAPPING);
    take_result(reload, &report->swap);
    if (--reload->waiting == 0) {
        on_in_force(reload);
    }
}
