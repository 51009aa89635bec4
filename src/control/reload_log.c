#include "reload_log.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/material.h"
#include "spiffe/x509_svid.h"

enum { MESSAGE_SIZE = 1536 };

void reload_log_diags(struct log *log, const struct diag_list *diags, enum reload_kind kind)
{
    if (kind != RELOAD_APPLY) {
        return; /* whoever asked gets them as the answer */
    }
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->items[i];
        char text[MESSAGE_SIZE];
        if (diag->severity == DIAG_NOTE) {
            continue;
        }
        diag_format(diags, diag, text, sizeof(text));
        bool error = diag_told_as(diag) == DIAG_ERROR;
        log_begin(log, error ? LOG_ERROR : LOG_WARN, error ? "source_failed" : "source_warning");
        log_str(log, "error", text);
        log_end(log);
    }
}

static void log_changes(struct log *log, const struct reload_outcome *outcome)
{
    struct change_counts counts;
    if (outcome->from == NULL || outcome->to == NULL) {
        return;
    }
    changes_count(outcome->from, outcome->to, &counts);
    for (int kind = 0; kind < CHANGE_KINDS; kind++) {
        for (int what = 0; what < CHANGE_WHATS; what++) {
            if (counts.of[kind][what] != 0) {
                char key[64];
                (void)snprintf(key, sizeof(key), "%s_%s", change_kind_name((enum change_kind)kind),
                               change_what_name((enum change_what)what));
                log_u64(log, key, counts.of[kind][what]);
            }
        }
    }
    if (outcome->to->own != NULL && outcome->to->own != outcome->from->own) {
        char text[CLOCK_TEXT_SIZE];
        const struct x509_svid *own = outcome->to->own;
        log_strview(log, "spiffe_id", x509_svid_id(own)->text);
        log_str(log, "expires", clock_format_s(x509_svid_not_after(own), text));
    }
}

static void log_sessions(struct log *log, const struct reload_outcome *outcome)
{
    uint64_t ended = 0;
    for (int reason = 0; reason < REASON_COUNT; reason++) {
        ended += outcome->ended[reason];
    }
    log_u64(log, "judged", outcome->judged);
    log_u64(log, "kept", outcome->judged - ended);
    log_u64(log, "ended", ended);
    for (int reason = 0; reason < REASON_COUNT; reason++) {
        if (outcome->ended[reason] != 0) {
            char key[64];
            (void)snprintf(key, sizeof(key), "ended_%s", reason_label((enum reason)reason));
            log_u64(log, key, outcome->ended[reason]);
        }
    }
    log_u64(log, "longest_slice_us", outcome->longest_slice_us);
}

static void log_needs_restart(struct log *log, const struct reload_outcome *outcome)
{
    for (size_t i = 0; i < outcome->needs_restart_count; i++) {
        log_begin(log, LOG_WARN, "needs_restart");
        log_str(log, "key", outcome->needs_restart[i]);
        log_str(log, "error", "the change takes effect at the next start only");
        log_end(log);
    }
}

static void log_outcome(struct log *log, const struct reload_outcome *outcome)
{
    if (outcome->config_refused) {
        log_str(log, "configuration", "refused");
    }
    log_changes(log, outcome);
    if (outcome->result != RELOAD_UNCHANGED) {
        log_sessions(log, outcome);
    }
}

/* What was refused has held somebody in quarantine all the same. */
static void log_spared_quarantine(struct log *log, const struct reload_outcome *outcome)
{
    bool refused = outcome->config_refused || outcome->result == RELOAD_QUARANTINE_ALONE;
    struct change_counts counts;
    if (!refused || outcome->result == RELOAD_REFUSED || outcome->from == NULL) {
        return;
    }
    changes_count(outcome->from, outcome->to, &counts);
    uint64_t added = counts.of[CHANGE_QUARANTINE][CHANGE_ADDED];
    if (added != 0) {
        log_begin(log, LOG_WARN, "quarantine_spared");
        log_u64(log, "entries", added);
        log_str(log, "error",
                "what was read is refused, but new entries of its quarantine are in force");
        log_end(log);
    }
}

/* A touched file that holds what it held is no news. */
static enum log_level level_of(const struct reload_outcome *outcome, const char *trigger)
{
    if (outcome->why[0] != '\0' || outcome->config_refused) {
        return LOG_ERROR;
    }
    bool by_itself = strcmp(trigger, RELOAD_TRIGGER_WATCH) == 0;
    return outcome->result == RELOAD_UNCHANGED && by_itself ? LOG_DEBUG : LOG_INFO;
}

enum { AUDIT_NAMES_SIZE = 1024 };

void reload_log_audit(struct log *log, const struct config *config)
{
    char names[AUDIT_NAMES_SIZE];
    size_t len = 0;
    size_t count = 0;
    names[0] = '\0';
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        bool audited = listener->enforcement == CONFIG_ENFORCEMENT_AUDIT &&
                       listener->kind != CONFIG_KIND_ORIGINATE;
        count += audited;
        if (audited && len + strlen(listener->name.text) + sizeof(",...") < sizeof(names)) {
            len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len > 0 ? "," : "",
                                    listener->name.text);
        }
    }
    if (count == 0) {
        return;
    }
    log_begin(log, LOG_WARN, "enforcement_audit");
    log_u64(log, "count", count);
    log_str(log, "listeners", names);
    log_str(log, "error",
            "what no rule matches is let through here (enforcement: audit); access lines with "
            "would_deny say whom that concerns");
    log_end(log);
}

void reload_log_outcome(struct log *log, const struct reload_outcome *outcome, const char *trigger)
{
    if (outcome->kind != RELOAD_APPLY) {
        return;
    }
    log_begin(log, level_of(outcome, trigger), "reload");
    log_str(log, "result", reload_result_name(outcome->result));
    log_str(log, "trigger", trigger);
    log_u64(log, "generation", outcome->generation);
    if (outcome->why[0] != '\0') {
        log_str(log, "error", outcome->why);
    }
    if (outcome->result != RELOAD_REFUSED) {
        log_outcome(log, outcome);
    }
    log_u64(log, "took_ms", outcome->took_ms);
    log_end(log);
    log_spared_quarantine(log, outcome);
    log_needs_restart(log, outcome);
}
