/*
 * walk: goes through all sessions of a worker in slices of at most half a millisecond, so that
 * thousands of sessions don't stall the relay. Worker thread only.
 *
 * Sessions that begin while a walk is under way may be visited or not; those that end are passed
 * by.
 */
#ifndef BULKHEAD_PROXY_WALK_H
#define BULKHEAD_PROXY_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct session;
struct timer;
struct walk;
struct worker;

/* May end the session. */
typedef void walk_visit_fn(void *arg, struct session *session);
/* Once, when all have been visited; may start the walk again or free it. */
typedef void walk_done_fn(void *arg);

struct walk {
    struct worker *worker;
    /* The worker is freed while it runs: its owner frees it, and itself. NULL until set: the owner
       is freed otherwise. */
    void (*abandoned)(void *arg);
    struct timer *timer;
    struct session *next; /* NULL: not under way, or done */
    walk_visit_fn *visit;
    walk_done_fn *done;
    void *arg;
    uint64_t longest_us; /* of one slice */
    bool running;
    TAILQ_ENTRY(walk) link; /* worker->walks, while it runs */
};

/* NULL: out of memory. */
struct walk *walk_new(struct worker *worker);
void walk_free(struct walk *walk); /* NULL is fine; stops it without done */
/* Begins with the oldest session, never from inside. One that is under way begins anew. */
void walk_start(struct walk *walk, walk_visit_fn *visit, walk_done_fn *done, void *arg);
/* For worker_free: no loop runs them any more. */
void walk_abandon_all(struct worker *worker);
/* For session_close: no walk shall visit it. */
void walk_pass_by(struct worker *worker, const struct session *session);

#endif
