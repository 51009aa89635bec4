/*
 * pace: at most one log line of a kind per interval, with how many were left out since the last.
 *
 * All zero is its beginning: the first line is allowed. Belongs to one thread.
 */
#ifndef BULKHEAD_BASE_PACE_H
#define BULKHEAD_BASE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t next_ms;
    uint64_t left_out;
};

/* True: log it now, with *left_out (0 the first time). False: it was counted as left out. */
bool pace_allows(struct pace *pace, uint64_t now_ms, uint64_t interval_ms, uint64_t *left_out);

#endif
