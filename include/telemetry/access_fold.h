/*
 * access_fold: equal refusals become one line of the access log with their number, so that a flood
 * of them can't fill a disk, and the first is told at once all the same.
 *
 * Two refusals are equal when listener, reason, the shadow rule that speaks of them and peer are:
 * the verified SPIFFE ID, or where there is none the address without its port and what the
 * certificate claims. The first of a kind is to
 * be written; those that follow within a window are counted, and told in one line when the window
 * is over, again and again until one passes without any. What is remembered is bounded: with
 * ACCESS_FOLD_KINDS kinds at one time, further ones are counted by their reason alone.
 *
 * So lines and the numbers in `repeats` together are all refusals, whatever happens. One thread.
 */
#ifndef BULKHEAD_TELEMETRY_ACCESS_FOLD_H
#define BULKHEAD_TELEMETRY_ACCESS_FOLD_H

#include "telemetry/access_log.h"

#include <stdbool.h>
#include <stdint.h>

enum { ACCESS_FOLD_KINDS = 256 };
#define ACCESS_FOLD_NEVER UINT64_MAX

struct access_fold;

struct access_fold *access_fold_new(void);
/* What has not been told is lost. NULL is fine. */
void access_fold_free(struct access_fold *fold);
/* True: it is counted, and not to be written now. now_ms is monotonic. */
bool access_fold_takes(struct access_fold *fold, const struct access_record *record,
                       uint64_t now_ms, uint64_t window_ms);
/* When access_fold_next will have something to tell or to forget; ACCESS_FOLD_NEVER: never. */
uint64_t access_fold_due(const struct access_fold *fold);
/*
 * The next line to be written, of windows that are over, or with everything of all windows, which
 * ends them (before the end, and when folding is turned off). False: there is none. record->wall_ms
 * is the caller's to fill; the texts are good until the next call.
 */
bool access_fold_next(struct access_fold *fold, uint64_t now_ms, uint64_t window_ms,
                      bool everything, struct access_record *record);

#endif
