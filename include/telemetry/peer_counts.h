/*
 * peer_counts: decisions by peer, of as many peers as were first seen; all others together.
 *
 * One table for all workers: a peer is added once and never removed, without a lock; each worker
 * counts in memory of its own. So the number of peers told of is bounded, whoever calls, and what
 * is told of one is all there was of it.
 */
#ifndef BULKHEAD_TELEMETRY_PEER_COUNTS_H
#define BULKHEAD_TELEMETRY_PEER_COUNTS_H

#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer_counts;

/* capacity: how many peers, 1 or more. Aborts when memory is out; control thread. */
struct peer_counts *peer_counts_new(size_t workers, size_t capacity);
/* NULL is fine; no worker counts any more. */
void peer_counts_free(struct peer_counts *counts);
/* The thread of that worker. id is copied when it is new; no memory for it: it counts among the
   others, and is tried again next time. Else the first so many peers have their own counts whole.
 */
void peer_counts_add(struct peer_counts *counts, size_t worker, struct strview id, bool allowed);

struct peer_count {
    struct strview id; /* empty: all the others */
    uint64_t allowed;
    uint64_t denied;
};
/* Any thread. The others, then peers in the order in which they came, which keep their places;
   i < peer_counts_size, which never falls. */
size_t peer_counts_size(const struct peer_counts *counts);
void peer_counts_get(const struct peer_counts *counts, size_t i, struct peer_count *out);

#endif
