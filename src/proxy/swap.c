/*
 *   IDLE → RULES    the worker has taken the new snapshot
 *   RULES → CHAINS  every session's rules were judged; what goes on is not yet renewed
 *   CHAINS → CLEAN  every session was judged whole and renewed, or ended
 *   CLEAN → IDLE    what only the former credentials needed is gone: in force
 */
#include "proxy/swap.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/loop.h"
#include "proxy/authority.h"
#include "proxy/expiry.h"
#include "proxy/session.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"
#include "tls/tls_conn.h"

struct swap {
    struct worker *worker;
    struct walk *walk;
    struct timer *clean_timer; /* of no delay: between two pieces the loop serves what is ready */
    size_t left_to_clean;
    struct snapshot *former; /* not NULL while under way */
    uint64_t began_us;
    struct swap_result result;
};

static void finish(struct swap *swap)
{
    struct worker_report *report = mem_alloc(sizeof(*report));
    swap->result.took_us = clock_mono_us() - swap->began_us;
    report->swap = swap->result;
    report->former = swap->former;
    swap->former = NULL;
    worker_report(swap->worker, WORKER_SAYS_IN_FORCE, report);
}

static void on_clean(void *arg)
{
    struct swap *swap = arg;
    tls_thread_forget_stale(swap->worker->tls, &swap->left_to_clean);
    if (swap->left_to_clean > 0) {
        timer_set(swap->clean_timer, 0);
    } else {
        finish(swap);
    }
}

struct swap *swap_new(struct worker *worker)
{
    struct swap *swap = mem_try_alloc(sizeof(*swap));
    if (swap == NULL) {
        return NULL;
    }
    swap->worker = worker;
    swap->walk = walk_new(worker);
    swap->clean_timer = timer_new(worker->loop, on_clean, swap);
    if (swap->walk == NULL || swap->clean_timer == NULL) {
        swap_free(swap);
        return NULL;
    }
    return swap;
}

void swap_free(struct swap *swap)
{
    if (swap == NULL) {
        return;
    }
    walk_free(swap->walk);
    timer_free(swap->clean_timer);
    snapshot_unref(swap->former);
    mem_free(swap);
}

static void lose(struct swap *swap, struct session *session, enum reason reason, const char *detail)
{
    swap->result.ended[reason]++;
    session_end(session, reason, detail);
}

static bool is_current(const struct swap *swap, const struct session *session)
{
    return session->snapshot == swap->worker->snapshot;
}

static void judge_rules(void *arg, struct session *session)
{
    struct swap *swap = arg;
    if (is_current(swap, session)) {
        return;
    }
    struct authority_verdict verdict;
    authority_judge(session, swap->worker->snapshot, AUTHORITY_RULES, &verdict);
    if (verdict.reason != REASON_NONE) {
        swap->result.judged++;
        lose(swap, session, verdict.reason, verdict.detail);
    }
}

static void judge_all(void *arg, struct session *session)
{
    struct swap *swap = arg;
    if (is_current(swap, session)) {
        return;
    }
    struct authority_verdict verdict = {.reason = REASON_NONE};
    swap->result.judged++;
    enum reason reason = authority_catch_up(session, &verdict);
    if (reason == REASON_NONE) {
        reason = expiry_schedule(swap->worker->expiry, session, &verdict);
    }
    if (reason != REASON_NONE) {
        lose(swap, session, reason, verdict.detail);
    }
}

static void on_judged(void *arg)
{
    struct swap *swap = arg;
    if (swap->walk->longest_us > swap->result.longest_slice_us) {
        swap->result.longest_slice_us = swap->walk->longest_us;
    }
    swap->left_to_clean = SIZE_MAX;
    on_clean(swap);
}

static void on_rules_judged(void *arg)
{
    struct swap *swap = arg;
    swap->result.longest_slice_us = swap->walk->longest_us;
    walk_start(swap->walk, judge_all, on_judged, swap);
}

void swap_start(struct swap *swap, struct snapshot *snapshot)
{
    struct worker *worker = swap->worker;
    ASSERT(swap->former == NULL);
    memset(&swap->result, 0, sizeof(swap->result));
    swap->began_us = clock_mono_us();
    swap->former = worker->snapshot;
    worker->snapshot = snapshot;
    tls_thread_set_credentials(worker->tls, snapshot->credentials);
    log_set_format(&worker->log, (enum log_format)snapshot->setup->config->log.format);
    walk_start(swap->walk, judge_rules, on_rules_judged, swap);
}
