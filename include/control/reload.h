/*
 * reload: brings what the files say now into force, or says what that would do.
 *
 *   IDLE ─ request → prepare a candidate from what can be read
 *        ─ to be asked first (a dry run, reload.max_cut) → SURVEYING: what would become of each
 * session ─ published → SWAPPING: every worker judges its sessions ─ in force everywhere → one log
 * line → IDLE, next request
 *
 * What is refused is refused with one exception: entries that the quarantine has gained take effect
 * whatever else was wrong, also while the process drains.
 *
 * One request at a time, the others wait in order. Control thread only.
 */
#ifndef BULKHEAD_CONTROL_RELOAD_H
#define BULKHEAD_CONTROL_RELOAD_H

#include "base/reason.h"
#include "config/diag.h"
#include "control/changes.h"
#include "control/sources.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control;
struct reload;
struct session_survey;
struct worker_report;

#define RELOAD_TRIGGER_WATCH "watch"

enum reload_kind {
    RELOAD_APPLY = 0,
    RELOAD_PREVIEW /* what RELOAD_APPLY would do now, or with another file */
};

enum reload_result {
    RELOAD_IN_FORCE = 0, /* for a preview: it could be brought into force */
    RELOAD_UNCHANGED,
    RELOAD_REFUSED,         /* what is in force stays whole */
    RELOAD_QUARANTINE_ALONE /* the rest was refused; what the quarantine has gained is in force */
};
enum { RELOAD_RESULTS = RELOAD_QUARANTINE_ALONE + 1 };
const char *reload_result_name(enum reload_result result); /* "in_force", … */

/* What came of a request. Valid during reload_done_fn. */
struct reload_outcome {
    enum reload_kind kind;
    enum reload_result result;
    uint64_t generation; /* in force now */
    bool config_refused; /* the configuration; other sources may have gone through */
    const char *why;     /* of a refusal, also of one that spared the quarantine; "" */
    const struct diag_list *diags;
    const struct material *from; /* NULL with to: nothing was compared */
    const struct material *to;
    const char *const *needs_restart; /* keys that have changed and can't without a restart */
    size_t needs_restart_count;
    uint64_t judged;
    uint64_t ended[REASON_COUNT];
    uint64_t took_ms;
    uint64_t longest_slice_us;
    struct session_survey *const *surveys; /* of each worker; NULL: memory was out there */
    size_t survey_count;
};
typedef void reload_done_fn(void *arg, const struct reload_outcome *outcome);

struct reload_request {
    enum reload_kind kind;
    enum sources_scope scope;
    const char *trigger;     /* for the log: "SIGHUP", "watch", "ctl"; a constant */
    const char *config_path; /* RELOAD_PREVIEW of another file; copied; or NULL */
    reload_done_fn *done;    /* or NULL; may run from inside reload_start */
    void *arg;
};

struct reload *reload_new(struct control *control);
void reload_free(struct reload *reload); /* NULL is fine; done is not called any more */
/* A request that nobody waits for joins one of its kind that has not begun. */
void reload_start(struct reload *reload, const struct reload_request *request);
/* Nobody waits for the answer any more: a request that has not begun is dropped when it would only
   have looked, and joins others else. */
void reload_forget(struct reload *reload, const void *arg);
/* WORKER_SAYS_IN_FORCE and WORKER_SAYS_SURVEYED. Takes what the report carries. */
void reload_on_report(struct reload *reload, struct worker_report *report);

#endif
