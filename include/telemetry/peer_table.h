/*
 * peer_table: who was seen: each peer's decisions, when it was first and last seen, and whether
 * this is the first time that it calls, or is denied.
 *
 * One table for all workers: a peer is added once and never removed, without a lock. The number of
 * peers is bounded, whoever calls: the first `capacity` have their own counts, whole; all others
 * are counted together. Counts are shared by the workers and not kept by each of them: they move
 * once for each session, not for each byte, and a hundred thousand peers times the workers would be
 * hundreds of MiB.
 */
#ifndef BULKHEAD_TELEMETRY_PEER_TABLE_H
#define BULKHEAD_TELEMETRY_PEER_TABLE_H

#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer_table;

/* capacity: how many peers, 1 or more. Aborts when memory is out; control thread. */
struct peer_table *peer_table_new(size_t capacity);
/* NULL is fine; nobody notes any more. */
void peer_table_free(struct peer_table *table);
/* Before anything is noted: one that is known from before, with the milliseconds since 1970 of its
   first call and of its first denial (0: none). False: it is there already, or there is no room.
   Aborts when memory is out. */
bool peer_table_know(struct peer_table *table, struct strview id, uint64_t first_call_ms,
                     uint64_t first_denied_ms);

/* A decision about a verified peer. */
struct peer_sight {
    struct strview id; /* copied when it is new */
    bool calls;        /* it dialled us; else we dialled it */
    bool allowed;
    uint64_t now_ms; /* since 1970 */
};
enum peer_news {
    PEER_NEWS_NONE = 0,
    PEER_NEWS_FIRST_CALL,   /* it has never called before; allowed or not */
    PEER_NEWS_FIRST_DENIAL, /* it has called before, and is denied for the first time */
    PEER_NEWS_FULL          /* the first peer that has no room; told once */
};
/* Any worker. No memory for a new one: it counts among the others, and is tried again next time. */
enum peer_news peer_table_note(struct peer_table *table, const struct peer_sight *sight);

struct peer_record {
    struct strview id; /* empty: all the others */
    uint64_t allowed;  /* since the start, as all but the first times */
    uint64_t denied;
    uint64_t first_ms;        /* its first call, or when it was first seen; 0: of the others */
    uint64_t last_ms;         /* 0: not since the start */
    uint64_t first_denied_ms; /* 0: never */
    bool has_called;
};
/* Any thread. The others, then the peers that were seen since the start in the order in which they
   came, which keep their places; i < peer_table_size, which never falls. */
size_t peer_table_size(const struct peer_table *table);
void peer_table_get(const struct peer_table *table, size_t i, struct peer_record *out);
/* The others and all from place `from` on, together. */
void peer_table_rest(const struct peer_table *table, size_t from, struct peer_record *out);
/* Those that were known, in the order in which they were made known, seen since or not. */
size_t peer_table_known(const struct peer_table *table);
void peer_table_get_known(const struct peer_table *table, size_t i, struct peer_record *out);
/* Is it one of peer_table_known? */
bool peer_table_was_known(const struct peer_table *table, size_t i);
/* Grows with each first call and each first denial. */
uint64_t peer_table_changes(const struct peer_table *table);

#endif
