/*
 * first_seen_file: the file itself: a line for each SPIFFE ID that has called.
 *
 *     # bulkhead first-seen 1
 *     spiffe://prod.example/ns/shop/sa/web 2026-11-30T22:30:00Z -
 *     spiffe://prod.example/ns/shop/sa/wiki 2026-11-30T22:31:07Z 2026-12-01T08:00:00Z
 *
 * ID, first call, first denial ("-": never). Any thread.
 */
#ifndef BULKHEAD_CONTROL_FIRST_SEEN_FILE_H
#define BULKHEAD_CONTROL_FIRST_SEEN_FILE_H

#include "base/errbuf.h"

#include <stddef.h>

struct peer_table;

enum first_seen_state {
    FIRST_SEEN_WHOLE = 0,
    FIRST_SEEN_ABSENT,    /* there is no such file */
    FIRST_SEEN_BROKEN,    /* some of it is not understood: err; what is, is known now */
    FIRST_SEEN_UNREADABLE /* err */
};
/* *line: of the first fault. */
enum first_seen_state first_seen_file_read(const char *path, struct peer_table *table, size_t *line,
                                           struct errbuf *err);
enum { FIRST_SEEN_PATH_SIZE = 4352 };
/* Renames it to path.broken-N, N being the first that is free: nothing is overwritten. -1 with err.
 */
int first_seen_file_set_aside(const char *path, char moved_to[FIRST_SEEN_PATH_SIZE],
                              struct errbuf *err);
/* Whole or not at all: beside it (path.new), to the disk, and renamed over it; mode 0600. -1 with
   err. */
int first_seen_file_write(const char *path, const struct peer_table *table, struct errbuf *err);

#endif
