/*
 * pair_private: what the parts of pair share: pair.c (ends, what is awaited, turns), pair_open.c
 * (dialling, handshakes, who is who), pair_flow.c (bytes and their ends). Where a function returns
 * bool, false means that the pair is gone, unless it says otherwise.
 */
#ifndef BENCH_MIXED_PAIR_PRIVATE_H
#define BENCH_MIXED_PAIR_PRIVATE_H

#include "pair.h"

enum {
    NS_PER_MS = 1000000,
    PAUSE_MAX_MS = 2000,
    READ_PAUSE_EVERY = 4 << 20 /* bytes, at most */
};

static inline enum side pair_other(enum side side)
{
    return side == CLIENT ? SERVER : CLIENT;
}

/* pair.c */
void pair_close_end(struct end *end);
/* The pair, or a server that belongs to none, is gone afterwards. */
void pair_fail(struct end *end, const char *what);
/* It has ended as it should, and is gone. */
void pair_finish(struct pair *pair, struct load *load);
/* After anything that changes what is on its way. */
void pair_watch(struct pair *pair, enum side source);
/* Something came in this turn that had not in the former. */
void pair_arrived(struct pair *pair, enum side source);
struct stall_place pair_handshake_place(const struct pair *pair);
void pair_update_events(struct end *end);
void pair_register(struct end *end);

/* pair_open.c */
/* False: the end is gone, or not open yet. */
bool pair_proceed(struct end *end);
/* A server reads who its client is. False: not yet, or the end is gone. */
bool pair_identify(struct end *end);

/* pair_flow.c */
uint64_t pair_pause_ns(struct dice *dice, uint64_t most_ms);
bool pair_send(struct end *end, uint64_t now_ns);
bool pair_receive(struct end *end);
bool pair_end_direction(struct end *end);
/* If both are in a pause the closer goes. What the other answers with finds nobody. */
bool pair_close_altogether(struct pair *pair);

#endif
