/*
 * A cursor into the worker's list of sessions and a timer of no delay: between two slices the loop
 * serves whatever is ready.
 */
#include "proxy/walk.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/loop.h"
#include "proxy/worker.h"

enum { SLICE_US = 500 };

static void stop(struct walk *walk)
{
    if (walk->running) {
        TAILQ_REMOVE(&walk->worker->walks, walk, link);
        walk->running = false;
        walk->next = NULL;
    }
    timer_cancel(walk->timer);
}

static void on_slice(void *arg)
{
    struct walk *walk = arg;
    uint64_t began = clock_mono_us();
    uint64_t spent = 0;
    while (walk->next != NULL && spent < SLICE_US) {
        struct session *session = walk->next;
        walk->next = TAILQ_NEXT(session, link);
        walk->visit(walk->arg, session);
        spent = clock_mono_us() - began;
    }
    walk->longest_us = spent > walk->longest_us ? spent : walk->longest_us;
    if (walk->next != NULL) {
        timer_set(walk->timer, 0);
        return;
    }
    stop(walk);
    walk->done(walk->arg);
}

struct walk *walk_new(struct worker *worker)
{
    struct walk *walk = mem_try_alloc(sizeof(*walk));
    if (walk == NULL) {
        return NULL;
    }
    walk->worker = worker;
    walk->timer = timer_new(worker->loop, on_slice, walk);
    if (walk->timer == NULL) {
        mem_free(walk);
        return NULL;
    }
    return walk;
}

void walk_free(struct walk *walk)
{
    if (walk == NULL) {
        return;
    }
    stop(walk);
    timer_free(walk->timer);
    mem_free(walk);
}

void walk_start(struct walk *walk, walk_visit_fn *visit, walk_done_fn *done, void *arg)
{
    if (!walk->running) {
        TAILQ_INSERT_TAIL(&walk->worker->walks, walk, link);
        walk->running = true;
    }
    walk->visit = visit;
    walk->done = done;
    walk->arg = arg;
    walk->longest_us = 0;
    walk->next = TAILQ_FIRST(&walk->worker->sessions);
    timer_set(walk->timer, 0);
}

void walk_abandon_all(struct worker *worker)
{
    struct walk *next = NULL;
    for (struct walk *walk = TAILQ_FIRST(&worker->walks); walk != NULL; walk = next) {
        next = TAILQ_NEXT(walk, link);
        if (walk->abandoned != NULL) {
            walk->abandoned(walk->arg);
        }
    }
}

void walk_pass_by(struct worker *worker, const struct session *session)
{
    struct walk *walk = NULL;
    TAILQ_FOREACH (walk, &worker->walks, link) {
        if (walk->next == session) {
            walk->next = TAILQ_NEXT(session, link);
        }
    }
}
