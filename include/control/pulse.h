/*
 * pulse: whether the workers' loops go round.
 *
 * Each second control gives every worker an order that means nothing. One that has not been taken
 * after PULSE_STUCK_BEATS of our own seconds says that the worker's loop has stopped: it serves
 * nobody. Counted in our beats, not by the clock, so that a process that was stopped as a whole (a
 * frozen container, SIGSTOP) is not taken for one that is stuck. Control thread.
 */
#ifndef BULKHEAD_CONTROL_PULSE_H
#define BULKHEAD_CONTROL_PULSE_H

#include <stdbool.h>
#include <stddef.h>

struct control;
struct pulse;

enum { PULSE_BEAT_MS = 1000, PULSE_STUCK_BEATS = 10 };

/* Begins at once; the workers' threads may start later. NULL: memory is out. */
struct pulse *pulse_new(struct control *control);
void pulse_free(struct pulse *pulse); /* NULL is fine */
/* Of the workers from *index on the first that is stuck, which goes to *index. False: none is. */
bool pulse_find_stuck(const struct pulse *pulse, unsigned *index);

#endif
