/*
 * backoff: how long to wait before something that failed is tried again: at once the first time,
 * then least, twice that, and so on up to most, each drawn from the upper half of it, so that many
 * who lost the same peer don't come back together.
 *
 * Belongs to one thread.
 */
#ifndef BULKHEAD_BASE_BACKOFF_H
#define BULKHEAD_BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint64_t least_ms;
    uint64_t most_ms;
    uint64_t next_ms; /* 0: at once */
    uint64_t random;  /* never 0 */
};

void backoff_init(struct backoff *backoff, uint64_t least_ms, uint64_t most_ms);
/* The wait before the next try, from 0 to most_ms. */
uint64_t backoff_next(struct backoff *backoff);
/* It went well: the next wait is none. */
void backoff_reset(struct backoff *backoff);

#endif
