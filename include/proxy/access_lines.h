/*
 * access_lines: a worker's way to the access log: which events have a line (access_log.events), and
 * equal refusals in one (access_log.fold, telemetry/access_fold.h). Worker thread; new and free on
 * control, before the thread runs and after it has ended.
 */
#ifndef BULKHEAD_PROXY_ACCESS_LINES_H
#define BULKHEAD_PROXY_ACCESS_LINES_H

#include "config/config.h"

#include <stdbool.h>

struct access_lines;
struct access_record;
struct worker;

/* NULL: memory is out. worker has its loop and its ring. */
struct access_lines *access_lines_new(struct worker *worker);
/* Writes what is folded. NULL is fine. */
void access_lines_free(struct access_lines *lines);
/* Asked before a record is made. */
bool access_lines_wants(const struct access_lines *lines, enum config_access event);
void access_lines_write(struct access_lines *lines, enum config_access event,
                        const struct access_record *record);

#endif
