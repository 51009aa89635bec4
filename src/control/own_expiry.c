/*
 * A timer to the next of the four moments, of an hour at most, because the wall clock may be set
 * while it runs.
 */
#include "control/own_expiry.h"

#include <stdint.h>

#include "base/clock.h"
#include "base/memory.h"
#include "control/material.h"
#include "control/sources.h"
#include "control_private.h"
#include "spiffe/x509_svid.h"

enum { LOOK_AT_LEAST_MS = 60 * 60 * 1000, MOMENTS = 4 };

/* Percent of the lifetime that are left. */
static const int64_t moments[MOMENTS] = {50, 25, 10, 0};

struct own_expiry {
    struct control *control;
    struct timer *timer;
    struct x509_svid *svid; /* that was spoken of; a reference */
    int said;               /* how many of the moments */
};

static int64_t moment_s(const struct x509_svid *svid, int index)
{
    int64_t life = x509_svid_not_after(svid) - x509_svid_not_before(svid);
    return x509_svid_not_after(svid) - life * moments[index] / 100;
}

static void say(struct own_expiry *own, int64_t now)
{
    char text[CLOCK_TEXT_SIZE];
    struct log *log = &own->control->log;
    bool expired = now >= x509_svid_not_after(own->svid);
    bool closes = control_config(own->control)->own_expiry == CONFIG_OWN_EXPIRY_CLOSE;
    log_begin(log, expired ? LOG_ERROR : LOG_WARN, expired ? "own_svid_expired" : "own_svid_ages");
    log_strview(log, "spiffe_id", x509_svid_id(own->svid)->text);
    log_str(log, "expires", clock_format_s(x509_svid_not_after(own->svid), text));
    if (!expired) {
        log_u64(log, "percent_left", (uint64_t)moments[own->said]);
        log_str(log, "error", "no successor has come: is whoever renews it at work?");
    } else if (closes) {
        log_str(log, "error", "no new sessions, and live ones are ended (own_expiry: close)");
    } else {
        log_str(log, "error", "no new sessions; live ones stay (own_expiry: refuse_new)");
    }
    log_end(log);
}

static void on_timer(void *arg)
{
    own_expiry_look(arg);
}

struct own_expiry *own_expiry_new(struct control *control)
{
    struct own_expiry *own = mem_alloc(sizeof(*own));
    own->control = control;
    own->timer = timer_new(control->loop, on_timer, own);
    if (own->timer == NULL) {
        mem_free(own);
        return NULL;
    }
    own_expiry_look(own);
    return own;
}

void own_expiry_free(struct own_expiry *own)
{
    if (own != NULL) {
        timer_free(own->timer);
        x509_svid_unref(own->svid);
        mem_free(own);
    }
}

void own_expiry_look(struct own_expiry *own)
{
    struct x509_svid *svid = sources_in_force(own->control->sources)->own;
    int64_t now = clock_wall_s();
    if (svid != own->svid) {
        x509_svid_unref(own->svid);
        own->svid = svid == NULL ? NULL : x509_svid_ref(svid);
        own->said = 0;
    }
    if (svid == NULL) {
        timer_cancel(own->timer);
        return;
    }
    int passed = own->said;
    while (passed < MOMENTS && now >= moment_s(svid, passed)) {
        passed++;
    }
    if (passed > own->said) {
        own->said = passed - 1; /* one line for the latest of those that have passed */
        say(own, now);
        own->said = passed;
    }
    if (passed == MOMENTS) {
        timer_cancel(own->timer);
        return;
    }
    uint64_t left_ms = (uint64_t)(moment_s(svid, passed) - now) * 1000;
    timer_set(own->timer, left_ms < LOOK_AT_LEAST_MS ? left_ms : LOOK_AT_LEAST_MS);
}
