/*
 * json_writer allocates nothing, so each text is written again into twice the room until it fits.
 *
 * A preview's sessions are grouped by listener, rule, identities and fate: an operator asks who
 * would be cut, and a thousand lines of one identity say that no better than one with a count.
 */
#include "admin_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytebuf.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "control/changes.h"
#include "net/http_server.h"
#include "proxy/survey.h"

enum { FIRST_SIZE = 64 * 1024, STATUS_NO_MEMORY = 503 };
static const size_t last_size = (size_t)1024 * 1024 * 1024;

char *admin_json_render(admin_json_fn *write, const void *arg, size_t *len)
{
    for (size_t size = FIRST_SIZE; size <= last_size; size *= 2) {
        char *buf = mem_try_alloc(size);
        if (buf == NULL) {
            return NULL;
        }
        struct json_writer w;
        json_writer_init(&w, buf, size);
        write(&w, arg);
        *len = json_writer_finish(&w);
        if (*len > 0) {
            return buf;
        }
        mem_free(buf);
    }
    return NULL;
}

void admin_json_answer(struct http_call *call, int status, char *text, size_t len, const char *why)
{
    struct bytebuf body = {0};
    if (text == NULL || !bytebuf_append(&body, text, len)) {
        http_call_refuse(call, STATUS_NO_MEMORY, why);
    } else {
        const struct http_answer answer = {.status = status, .body = &body};
        http_call_answer(call, &answer);
    }
    bytebuf_clear(&body);
    mem_free(text);
}

/* --- what a reload did ----------------------------------------------------------------------- */

static void write_diags(struct json_writer *w, const char *key, const struct diag_list *diags,
                        enum diag_severity severity)
{
    json_key(w, key);
    diag_write_json(w, diags, severity);
}

static void write_change(void *arg, enum change_kind kind, enum change_what what, const char *name)
{
    struct json_writer *w = arg;
    json_object_begin(w);
    json_field_string(w, "kind", change_kind_name(kind));
    json_field_string(w, "name", name);
    json_field_string(w, "change", change_what_name(what));
    json_object_end(w);
}

static void write_changes(struct json_writer *w, const struct reload_outcome *outcome)
{
    json_key(w, "changes");
    json_array_begin(w);
    if (outcome->from != NULL && outcome->to != NULL) {
        changes_each(outcome->from, outcome->to, write_change, w);
    }
    json_array_end(w);
    json_key(w, "needs_restart");
    json_array_begin(w);
    for (size_t i = 0; i < outcome->needs_restart_count; i++) {
        json_text(w, outcome->needs_restart[i]);
    }
    json_array_end(w);
}

static void write_counts(struct json_writer *w, const struct reload_outcome *outcome)
{
    uint64_t ended = 0;
    for (int reason = 0; reason < REASON_COUNT; reason++) {
        ended += outcome->ended[reason];
    }
    json_key(w, "sessions");
    json_object_begin(w);
    json_field_u64(w, "judged", outcome->judged);
    json_field_u64(w, "kept", outcome->judged - ended);
    json_field_u64(w, "ended", ended);
    json_key(w, "by_reason");
    json_object_begin(w);
    for (int reason = 0; reason < REASON_COUNT; reason++) {
        if (outcome->ended[reason] != 0) {
            json_field_u64(w, reason_label((enum reason)reason), outcome->ended[reason]);
        }
    }
    json_object_end(w);
    json_object_end(w);
}

/* --- groups of a preview --------------------------------------------------------------------- */

struct group {
    const struct session_survey *survey;
    const struct session_brief *brief; /* of the first session of the group */
    uint64_t count;
};

static int compare_text(const struct group *a, size_t left, const struct group *b, size_t right)
{
    const char *one = survey_text(a->survey, left);
    const char *other = survey_text(b->survey, right);
    return strcmp(one == NULL ? "" : one, other == NULL ? "" : other);
}

static int compare_groups(const void *left, const void *right)
{
    const struct group *a = left;
    const struct group *b = right;
    int order = (a->brief->reason == REASON_NONE) - (b->brief->reason == REASON_NONE);
    order = order != 0 ? order : compare_text(a, a->brief->listener, b, b->brief->listener);
    order = order != 0 ? order : compare_text(a, a->brief->rule, b, b->brief->rule);
    order =
        order != 0 ? order : compare_text(a, a->brief->downstream.id, b, b->brief->downstream.id);
    order = order != 0 ? order : compare_text(a, a->brief->upstream.id, b, b->brief->upstream.id);
    return order != 0
               ? order
               : (a->brief->reason > b->brief->reason) - (a->brief->reason < b->brief->reason);
}

static size_t count_briefs(const struct reload_outcome *outcome)
{
    size_t count = 0;
    for (size_t i = 0; i < outcome->survey_count; i++) {
        count += outcome->surveys[i] == NULL ? 0 : outcome->surveys[i]->count;
    }
    return count;
}

/* Sorted and folded; NULL when memory is out. */
static struct group *make_groups(const struct reload_outcome *outcome, size_t *count)
{
    size_t all = count_briefs(outcome);
    struct group *groups = mem_try_alloc((all + 1) * sizeof(*groups));
    if (groups == NULL) {
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < outcome->survey_count; i++) {
        const struct session_survey *survey = outcome->surveys[i];
        for (size_t k = 0; survey != NULL && k < survey->count; k++) {
            groups[n++] = (struct group){survey, &survey->sessions[k], 1};
        }
    }
    qsort(groups, n, sizeof(*groups), compare_groups);
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        if (*count > 0 && compare_groups(&groups[*count - 1], &groups[i]) == 0) {
            groups[*count - 1].count++;
        } else {
            groups[(*count)++] = groups[i];
        }
    }
    return groups;
}

static void write_group(struct json_writer *w, const struct group *group)
{
    const struct session_survey *survey = group->survey;
    const struct session_brief *brief = group->brief;
    bool ends = brief->reason != REASON_NONE;
    json_object_begin(w);
    json_field_string(w, "fate", ends ? "ended" : "kept");
    json_field_u64(w, "sessions", group->count);
    json_field_string(w, "listener", survey_text(survey, brief->listener));
    json_field_string(w, "rule", survey_text(survey, brief->rule));
    json_field_string(w, "downstream_id", survey_text(survey, brief->downstream.id));
    json_field_string(w, "upstream_id", survey_text(survey, brief->upstream.id));
    if (ends) {
        json_field_string(w, "reason", reason_label(brief->reason));
        json_field_string(w, "detail", survey_text(survey, brief->detail));
    }
    json_object_end(w);
}

struct reload_arg {
    const struct reload_outcome *outcome;
    const struct group *groups;
    size_t group_count;
};

static void write_reload(struct json_writer *w, const void *arg)
{
    const struct reload_arg *a = arg;
    const struct reload_outcome *outcome = a->outcome;
    bool preview = outcome->kind == RELOAD_PREVIEW;
    json_object_begin(w);
    json_field_bool(w, "dry_run", preview);
    json_field_string(w, "result",
                      preview && outcome->result == RELOAD_IN_FORCE
                          ? "would_be_in_force"
                          : reload_result_name(outcome->result));
    json_field_u64(w, "generation", outcome->generation);
    json_field_bool(w, "configuration_refused", outcome->config_refused);
    json_field_string(w, "error", outcome->why[0] == '\0' ? NULL : outcome->why);
    write_diags(w, "errors", outcome->diags, DIAG_ERROR);
    write_diags(w, "warnings", outcome->diags, DIAG_WARNING);
    write_changes(w, outcome);
    write_counts(w, outcome);
    if (preview) {
        json_key(w, "groups");
        json_array_begin(w);
        for (size_t i = 0; i < a->group_count; i++) {
            write_group(w, &a->groups[i]);
        }
        json_array_end(w);
    }
    json_field_u64(w, "took_ms", outcome->took_ms);
    json_object_end(w);
}

char *admin_json_reload(const struct reload_outcome *outcome, size_t *len)
{
    size_t count = 0;
    struct group *groups = make_groups(outcome, &count);
    if (groups == NULL) {
        return NULL;
    }
    const struct reload_arg arg = {.outcome = outcome, .groups = groups, .group_count = count};
    char *text = admin_json_render(write_reload, &arg, len);
    mem_free(groups);
    return text;
}
