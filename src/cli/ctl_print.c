#include "cli/ctl_print.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include "cli/ctl_table.h"

void ctl_print_sessions(json_t *answer, FILE *out)
{
    static const struct ctl_column columns[] = {
        {"SESSION", "session"},
        {"STATE", "state"},
        {"LISTENER", "listener"},
        {"RULE", "rule"},
        {"DOWNSTREAM", "downstream_id"},
        {"UPSTREAM", "upstream_id"},
        {"FROM", "downstream"},
        {"TO", "upstream"},
        {"AGE_MS", "age_ms"},
        {"UP", "bytes_up"},
        {"DOWN", "bytes_down"},
        {"TLS", "tls_version"},
        {"RESUMED", "resumed"},
        {"UPSTREAM_TLS", "upstream_tls_version"},
        {"AUTHORITY_ENDS", "authority_ends"},
        {"ENDS_BY", "ends_by"},
    };
    json_t *sessions = json_object_get(answer, "sessions");
    ctl_print_table(sessions, columns, sizeof(columns) / sizeof(columns[0]), out);
    size_t count = json_array_size(sessions);
    fprintf(out, "%zu session%s\n", count, count == 1 ? "" : "s");
    if (json_is_true(json_object_get(answer, "truncated"))) {
        fprintf(out,
                "the oldest of %" JSON_INTEGER_FORMAT " that match: narrow it, or raise --limit\n",
                json_integer_value(json_object_get(answer, "matched")));
    }
}

void ctl_print_terminated(json_t *answer, FILE *out)
{
    json_int_t count = json_integer_value(json_object_get(answer, "terminated"));
    fprintf(out, "%" JSON_INTEGER_FORMAT " session%s ended\n", count, count == 1 ? "" : "s");
}

void ctl_print_rules(json_t *answer, FILE *out)
{
    static const struct ctl_column columns[] = {
        {"RULE", "name"},       {"ACTION", "action"},      {"MODE", "mode"},
        {"HITS", "hits"},       {"SHADOW", "shadow_hits"}, {"LAST_HIT", "last_hit"},
        {"EXPIRES", "expires"}, {"OWNER", "owner"},        {"WHERE", "where"},
    };
    size_t index = 0;
    json_t *item = NULL;
    json_t *rules = json_object_get(answer, "rules");
    json_array_foreach(rules, index, item)
    {
        json_int_t line = json_integer_value(json_object_get(item, "line"));
        (void)json_object_set_new(
            item, "where",
            json_sprintf("%s:%" JSON_INTEGER_FORMAT, ctl_text_of(item, "file"), line));
    }
    ctl_print_table(rules, columns, sizeof(columns) / sizeof(columns[0]), out);
    json_array_foreach(json_object_get(answer, "listeners"), index, item)
    {
        if (strcmp(ctl_text_of(item, "enforcement"), "audit") == 0) {
            fprintf(out,
                    "listener %s: audit, has let through %" JSON_INTEGER_FORMAT
                    " that no rule matched\n",
                    ctl_text_of(item, "name"),
                    json_integer_value(json_object_get(item, "would_deny")));
        }
    }
    fprintf(out, "%zu rules\n", json_array_size(rules));
}

/* --- reload ---------------------------------------------------------------------------------- */

static void print_diags(json_t *answer, const char *key, const char *severity, FILE *out)
{
    size_t index = 0;
    json_t *diag = NULL;
    json_array_foreach(json_object_get(answer, key), index, diag)
    {
        json_int_t line = json_integer_value(json_object_get(diag, "line"));
        ctl_print_clean(ctl_text_of(diag, "file"), out);
        if (line != 0) {
            fprintf(out, ":%" JSON_INTEGER_FORMAT ":%" JSON_INTEGER_FORMAT, line,
                    json_integer_value(json_object_get(diag, "column")));
        }
        fprintf(out, ": %s: ", severity);
        ctl_print_clean(ctl_text_of(diag, "message"), out);
        putc('\n', out);
    }
}

static void print_changes(json_t *answer, FILE *out)
{
    size_t index = 0;
    json_t *item = NULL;
    json_array_foreach(json_object_get(answer, "changes"), index, item)
    {
        fprintf(out, "%s %s ", ctl_text_of(item, "kind"), ctl_text_of(item, "change"));
        ctl_print_clean(ctl_text_of(item, "name"), out);
        putc('\n', out);
    }
    json_array_foreach(json_object_get(answer, "needs_restart"), index, item)
    {
        fprintf(out, "%s takes effect at the next start only\n", json_string_value(item));
    }
}

static json_int_t count_of(json_t *answer, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(answer, "sessions"), key));
}

static void print_groups(json_t *answer, FILE *out)
{
    static const struct ctl_column columns[] = {
        {"FATE", "fate"},     {"SESSIONS", "sessions"},        {"LISTENER", "listener"},
        {"RULE", "rule"},     {"DOWNSTREAM", "downstream_id"}, {"UPSTREAM", "upstream_id"},
        {"REASON", "reason"},
    };
    json_t *groups = json_object_get(answer, "groups");
    if (json_array_size(groups) > 0) {
        ctl_print_table(groups, columns, sizeof(columns) / sizeof(columns[0]), out);
    }
}

/* "reload: in force as generation 2" */
static void print_result(json_t *answer, bool dry_run, FILE *out)
{
    const char *result = ctl_text_of(answer, "result");
    json_int_t generation = json_integer_value(json_object_get(answer, "generation"));
    bool in_force = strcmp(result, "in_force") == 0;
    bool refused = strcmp(result, "refused") == 0;
    fputs(dry_run ? "dry run: " : "reload: ", out);
    if (in_force) {
        fprintf(out, "in force as generation %" JSON_INTEGER_FORMAT, generation);
    } else if (refused || strcmp(result, "would_be_in_force") == 0) {
        fprintf(out, "%s; generation %" JSON_INTEGER_FORMAT " stays in force",
                refused ? "refused" : "it would come into force", generation);
    } else {
        fprintf(out, "%s, generation %" JSON_INTEGER_FORMAT, result, generation);
    }
    if (!refused && json_is_true(json_object_get(answer, "configuration_refused"))) {
        fputs(", without the configuration, which is refused", out);
    }
    if (json_is_string(json_object_get(answer, "error"))) {
        fputs(": ", out);
        ctl_print_clean(ctl_text_of(answer, "error"), out);
    }
    putc('\n', out);
}

void ctl_print_reload(json_t *answer, FILE *out)
{
    bool dry_run = json_is_true(json_object_get(answer, "dry_run"));
    print_diags(answer, "errors", "error", out);
    print_diags(answer, "warnings", "warning", out);
    print_changes(answer, out);
    print_groups(answer, out);
    print_result(answer, dry_run, out);
    fprintf(out,
            "sessions: %" JSON_INTEGER_FORMAT " judged, %" JSON_INTEGER_FORMAT
            " kept, %" JSON_INTEGER_FORMAT " %s\n",
            count_of(answer, "judged"), count_of(answer, "kept"), count_of(answer, "ended"),
            dry_run ? "would end" : "ended");
}

int ctl_reload_code(json_t *answer)
{
    enum { GOOD = 0, FAILED = 1, WRONG = 2 };
    if (json_is_true(json_object_get(answer, "configuration_refused"))) {
        return WRONG;
    }
    /* Also what was refused but for the quarantine. */
    bool refused = json_is_string(json_object_get(answer, "error"));
    return refused || json_array_size(json_object_get(answer, "errors")) > 0 ? FAILED : GOOD;
}
