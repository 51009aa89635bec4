/*
 *     stream ─ message → response → update ─┬─ sources_set_workload → reload (credentials)
 *            └ end → what it means          └─ the same as before: nothing
 *
 * The stream is another when the configuration names another address, another pin or another hint:
 * an agent says everything at the beginning of a stream. Until it has, the last update counts.
 */
#include "control/workload_source.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/pace.h"
#include "control/material.h"
#include "control/reload.h"
#include "control/sockets.h"
#include "control/sources.h"
#include "control/systemd.h"
#include "control/workload_material.h"
#include "control_private.h"
#include "identity/workload_address.h"
#include "identity/workload_response.h"
#include "identity/workload_stream.h"
#include "identity/workload_update.h"
#include "spiffe/x509_svid.h"

enum {
    WAITING_FIRST_MS = 5000,
    WAITING_MOST_MS = 5 * 60 * 1000,
    LOST_INTERVAL_MS = 60 * 1000,
    PROBLEM_SIZE = 512
};

struct workload_source {
    struct control *control;
    struct workload_stream *stream; /* NULL: our SVID comes from files */
    char *address;                  /* of the stream, as it was written, like the next two */
    char *spiffe_id;
    char *hint;
    struct workload_update *update;     /* the last good one */
    struct workload_response *response; /* too large for a stack */
    struct timer *waiting_timer;
    struct timer *start_timer;
    uint64_t waiting_ms; /* until the next line */
    struct pace lost_lines;
    char problem[PROBLEM_SIZE];
};

static void set_problem(struct workload_source *source, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void set_problem(struct workload_source *source, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(source->problem, sizeof(source->problem), format, args);
    va_end(args);
}

const char *workload_source_problem(const struct workload_source *source)
{
    return source->problem;
}

/* --- messages -------------------------------------------------------------------------------- */

static void bring_into_force(struct workload_source *source, struct workload_update *update)
{
    static const struct reload_request request = {
        .kind = RELOAD_APPLY, .scope = SOURCES_CREDENTIALS, .trigger = "workload_api"};
    workload_update_unref(source->update);
    source->update = update;
    sources_set_workload(source->control->sources, update);
    reload_start(source->control->reload, &request);
}

static size_t count_crls(const struct workload_update *update)
{
    size_t count = 0;
    for (size_t i = 0; i < update->domain_count; i++) {
        count += update->domains[i].crls != NULL;
    }
    return count;
}

static void log_update(struct workload_source *source, const struct workload_update *update)
{
    bool is_bad = update->own == NULL || update->note[0] != '\0';
    char expires[CLOCK_TEXT_SIZE];
    struct log *log = &source->control->log;
    log_begin(log, is_bad ? LOG_WARN : LOG_INFO,
              update->own == NULL ? "workload_withdrawn" : "workload_update");
    log_str(log, "address", source->address);
    if (update->own != NULL) {
        log_strview(log, "spiffe_id", x509_svid_id(update->own)->text);
        log_str(log, "expires", clock_format_s(x509_svid_not_after(update->own), expires));
    }
    log_u64(log, "svids", update->svid_count);
    log_u64(log, "domains", update->domain_count);
    log_u64(log, "domains_with_crls", count_crls(update));
    log_u64(log, "crls_of_no_anchor", update->loose_crls);
    log_u64(log, "bundles_kept", update->kept);
    if (update->note[0] != '\0') {
        log_str(log, "error", update->note);
    }
    log_end(log);
}

static struct workload_update *take_apart(struct workload_source *source, const uint8_t *message,
                                          size_t len, struct errbuf *err)
{
    const struct workload_choice choice = {.spiffe_id = source->spiffe_id, .hint = source->hint};
    if (workload_response_decode(message, len, source->response, err) != 0) {
        return NULL;
    }
    return workload_update_new(source->control->crypto, source->response, &choice, source->update,
                               err);
}

static bool on_message(void *arg, const uint8_t *message, size_t len)
{
    struct workload_source *source = arg;
    struct errbuf err;
    struct workload_update *update = take_apart(source, message, len, &err);
    if (update == NULL) {
        set_problem(source, "the Workload API's message can't be used: %s", err.text);
        struct log *log = &source->control->log;
        log_begin(log, LOG_ERROR, "workload_refused");
        log_str(log, "address", source->address);
        log_u64(log, "bytes", len);
        log_str(log, "error", err.text);
        log_end(log);
        return false;
    }
    set_problem(source, "%s", update->own == NULL ? update->note : "");
    bool same = workload_update_same(update, source->update);
    if (!same || update->kept > 0) {
        log_update(source, update);
    }
    if (same) {
        workload_update_unref(update);
        return true;
    }
    bring_into_force(source, update);
    return true;
}

/* --- ends ------------------------------------------------------------------------------------ */

static void log_end_of_stream(struct workload_source *source, const struct workload_news *news,
                              uint64_t left_out)
{
    struct log *log = &source->control->log;
    switch (news->end) {
    case WORKLOAD_DENIED:
        log_begin(log, LOG_ERROR, "workload_denied");
        break;
    case WORKLOAD_GIVEN_UP:
        log_begin(log, LOG_ERROR, "workload_given_up");
        break;
    case WORKLOAD_LOST:
        log_begin(log, LOG_WARN, "workload_lost");
        break;
    }
    log_str(log, "address", source->address);
    log_str(log, "status", grpc_status_name(news->status));
    log_str(log, "from", news->from_agent ? "agent" : "here");
    log_strview(log, "error", news->text);
    if (news->end != WORKLOAD_GIVEN_UP) {
        log_u64(log, "retry_ms", news->retry_ms);
    }
    if (left_out > 0) {
        log_u64(log, "left_out", left_out);
    }
    log_end(log);
}

static void on_denied(struct workload_source *source, const struct workload_news *news)
{
    bool had_one = source->update != NULL && source->update->own != NULL;
    uint64_t left_out = 0;
    if (had_one || pace_allows(&source->lost_lines, clock_mono_ms(), LOST_INTERVAL_MS, &left_out)) {
        log_end_of_stream(source, news, left_out);
    }
    if (had_one) {
        bring_into_force(source, workload_update_withdrawn(source->update, "PermissionDenied"));
    }
}

static void on_end(void *arg, const struct workload_news *news)
{
    struct workload_source *source = arg;
    uint64_t left_out = 0;
    set_problem(source, "%s: %.*s", grpc_status_name(news->status),
                (int)(news->text.len < PROBLEM_SIZE ? news->text.len : PROBLEM_SIZE),
                news->text.ptr);
    switch (news->end) {
    case WORKLOAD_DENIED:
        on_denied(source, news);
        break;
    case WORKLOAD_GIVEN_UP:
        log_end_of_stream(source, news, 0);
        break;
    case WORKLOAD_LOST:
        if (news->had_answer ||
            pace_allows(&source->lost_lines, clock_mono_ms(), LOST_INTERVAL_MS, &left_out)) {
            log_end_of_stream(source, news, left_out);
        }
        break;
    }
}

/* --- waiting for the first identity ---------------------------------------------------------- */

static void wait_on(struct workload_source *source)
{
    timer_set(source->waiting_timer, source->waiting_ms);
    systemd_waiting(source->control->systemd, source->problem, source->waiting_ms);
}

static void on_still_waiting(void *arg)
{
    struct workload_source *source = arg;
    struct log *log = &source->control->log;
    log_begin(log, LOG_WARN, "workload_waiting");
    log_str(log, "address", source->address);
    log_u64(log, "waited_ms", clock_mono_ms() - source->control->started_ms);
    log_str(log, "error",
            source->problem[0] != '\0'
                ? source->problem
                : "the agent has given no identity yet; no listener is open");
    log_end(log);
    source->waiting_ms =
        source->waiting_ms * 2 < WAITING_MOST_MS ? source->waiting_ms * 2 : WAITING_MOST_MS;
    wait_on(source);
}

static void on_start_timeout(void *arg)
{
    struct workload_source *source = arg;
    char text[PROBLEM_SIZE + 128];
    (void)snprintf(text, sizeof(text), "identity.start_timeout: no identity from %s%s%s",
                   source->address == NULL ? "the Workload API" : source->address,
                   source->problem[0] != '\0' ? ": " : "", source->problem);
    control_give_up(source->control, text);
}

static void wait_for_identity(struct workload_source *source)
{
    uint64_t timeout = control_config(source->control)->identity.start_timeout_ms;
    source->waiting_ms = WAITING_FIRST_MS;
    wait_on(source);
    if (timeout != 0) {
        timer_set(source->start_timer, timeout);
    }
}

void workload_source_in_force(struct workload_source *source)
{
    if (!socket_table_is_held(source->control->sockets)) {
        timer_cancel(source->waiting_timer);
        timer_cancel(source->start_timer);
    }
}

/* --- the stream ------------------------------------------------------------------------------ */

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void replace_text(char **place, const char *text)
{
    mem_free(*place);
    *place = text == NULL ? NULL : mem_strdup(text);
}

static void close_stream(struct workload_source *source)
{
    workload_stream_free(source->stream);
    source->stream = NULL;
    source->problem[0] = '\0';
}

/* From files: what the API has given counts no more. */
static void leave(struct workload_source *source)
{
    close_stream(source);
    replace_text(&source->address, NULL);
    workload_update_unref(source->update);
    source->update = NULL;
    sources_set_workload(source->control->sources, NULL);
}

static void open_stream(struct workload_source *source)
{
    static const struct workload_handler handler = {.on_message = on_message, .on_end = on_end};
    struct netaddr address;
    const char *why = NULL;
    close_stream(source);
    source->lost_lines = (struct pace){.next_ms = 0};
    /* A configuration in force has been looked at. */
    if (workload_address_parse(source->address, &address, &why)) {
        source->stream = workload_stream_new(source->control->loop, &address,
                                             &workload_times_default, &handler, source);
    }
    if (source->stream == NULL) {
        struct log *log = &source->control->log;
        log_begin(log, LOG_ERROR, "workload_given_up");
        log_str(log, "address", source->address);
        log_str(log, "error", why != NULL ? why : "memory is out");
        log_end(log);
    }
}

void workload_source_follow(struct workload_source *source)
{
    const struct config *config = control_config(source->control);
    const char *address = workload_material_address(config);
    if (address == NULL) {
        if (source->address != NULL) {
            leave(source);
        }
        return;
    }
    bool same = source->stream != NULL && same_text(address, source->address) &&
                same_text(config->identity.spiffe_id.text, source->spiffe_id) &&
                same_text(config->identity.hint.text, source->hint);
    if (same) {
        workload_stream_retry(source->stream);
        return;
    }
    replace_text(&source->address, address);
    replace_text(&source->spiffe_id, config->identity.spiffe_id.text);
    replace_text(&source->hint, config->identity.hint.text);
    open_stream(source);
}

/* --- the object ------------------------------------------------------------------------------ */

struct workload_source *workload_source_new(struct control *control)
{
    struct workload_source *source = mem_alloc(sizeof(*source));
    source->control = control;
    source->response = mem_alloc(sizeof(*source->response));
    source->waiting_timer = timer_new(control->loop, on_still_waiting, source);
    source->start_timer = timer_new(control->loop, on_start_timeout, source);
    if (source->waiting_timer == NULL || source->start_timer == NULL) {
        workload_source_free(source);
        return NULL;
    }
    workload_source_follow(source);
    if (socket_table_is_held(control->sockets)) {
        wait_for_identity(source);
    }
    return source;
}

void workload_source_free(struct workload_source *source)
{
    if (source == NULL) {
        return;
    }
    workload_stream_free(source->stream);
    timer_free(source->waiting_timer);
    timer_free(source->start_timer);
    workload_update_unref(source->update);
    mem_free(source->response);
    mem_free(source->address);
    mem_free(source->spiffe_id);
    mem_free(source->hint);
    mem_free(source);
}
