/*
 * rule_hits: how often each rule of a setup has decided a connection, or, as a shadow rule, would
 * have taken part in it, and when last; and what `enforcement: audit` let through on each listener.
 *
 * One for each worker and setup. That worker alone writes: a load and a store, no lock, no atomic
 * addition, and no cache line that another worker writes to. Whoever adds them up (control) reads.
 */
#ifndef BULKHEAD_PROXY_RULE_HITS_H
#define BULKHEAD_PROXY_RULE_HITS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct decision;
struct setup;
struct setup_listener;

enum { RULE_HITS_CACHE_LINE = 64 };

struct rule_hit {
    _Atomic uint64_t count;
    _Atomic uint64_t last_ms; /* wall clock; 0: never */
};

struct rule_hits {
    char apart[RULE_HITS_CACHE_LINE]; /* wider than a line, wherever this begins */
    const struct setup *setup;        /* only to be compared */
    size_t rule_count;
    _Atomic uint64_t *would_deny; /* by config index of the listener */
    struct rule_hit rules[]; /* by config index of the rule; then would_deny, and space again */
};

/* Control thread; memory that no rule of a worker ever touches costs none. */
struct rule_hits *rule_hits_new(const struct setup *setup);
void rule_hits_free(struct rule_hits *hits); /* NULL is fine */
/* A connection was decided by a listener of that setup. Not when a live session is judged again. */
void rule_hits_note(struct rule_hits *hits, const struct setup_listener *listener,
                    const struct decision *decision);

#endif
