/*
 * swap: a worker's way from one snapshot to the next.
 *
 * From the moment of swap_start everything new is decided under the new snapshot. The live
 * sessions are judged again in slices, rules first, so that what a rule no longer grants ends
 * before any chain is verified. Until the last is judged the former snapshot stays, because
 * sessions point into it; then it goes back to control, which frees it.
 *
 * One at a time: control sends the next when every worker has reported the last in force.
 * Worker thread only.
 */
#ifndef BULKHEAD_PROXY_SWAP_H
#define BULKHEAD_PROXY_SWAP_H

struct snapshot;
struct swap;
struct worker;

/* NULL: out of memory. */
struct swap *swap_new(struct worker *worker);
void swap_free(struct swap *swap); /* NULL is fine; gives the former snapshot back */
/* Takes the reference of snapshot over. Reports WORKER_SAYS_IN_FORCE when it is done. */
void swap_start(struct swap *swap, struct snapshot *snapshot);

#endif
