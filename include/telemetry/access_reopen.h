/*
 * access_reopen: an access log whose path leads to another file than the one that is open: it was
 * renamed or removed (logrotate), or somebody says so. What is open is replaced in place, so that
 * its descriptor keeps its number; when the path can't be opened, what is open is kept, and said.
 *
 * Log writer's thread only.
 */
#ifndef BULKHEAD_TELEMETRY_ACCESS_REOPEN_H
#define BULKHEAD_TELEMETRY_ACCESS_REOPEN_H

#include "base/log.h"

#include <stdbool.h>

struct access_reopen {
    char *path;   /* NULL: the access log is no file of ours, and nothing is ever reopened */
    bool failing; /* which was said */
};

/* path is copied; NULL: nothing is ever reopened. */
void access_reopen_init(struct access_reopen *reopen, const char *path);
void access_reopen_fini(struct access_reopen *reopen);
/* A regular file, and its path leads elsewhere or nowhere. */
bool access_reopen_is_due(const struct access_reopen *reopen, int fd);
/* Opens the path anew in place of fd. False: it can't be; log says so, once until it can again. */
bool access_reopen_now(struct access_reopen *reopen, int fd, struct log *log);

#endif
