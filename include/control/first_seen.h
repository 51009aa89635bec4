/*
 * first_seen: keeps on disk who has called before (first_seen_file), so that a first call is one
 * after a restart too.
 *
 * Read once, before the workers run. Written by a helper thread, for a disk may be slow: within
 * seconds of a change, once a minute at most, and at the end. Control thread.
 */
#ifndef BULKHEAD_CONTROL_FIRST_SEEN_H
#define BULKHEAD_CONTROL_FIRST_SEEN_H

#include <stdbool.h>

struct control;
struct first_seen;

enum { FIRST_SEEN_MAX = 100000 }; /* peers */

/* control->peers is there, its loop, and its log. What is wrong with the file is logged, and stops
   no start: then nothing is written. */
struct first_seen *first_seen_start(struct control *control, const char *path);
/* The last write, for some seconds at most, and the end; no worker runs any more. NULL is fine.
   False: a write hangs, and still reads control->peers. */
bool first_seen_stop(struct first_seen *first_seen);

#endif
