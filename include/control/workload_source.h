/*
 * workload_source: our identity from the Workload API while the process runs: the stream follows
 * the configuration, each message goes to `sources` and from there the way that files go, by a
 * reload of the credentials.
 *
 * A start without an identity waits: until the first one is in force no listener is open, a line at
 * growing intervals says what is missing, and identity.start_timeout ends it. The last good
 * identity serves on when the agent is gone; PermissionDenied, or a message in which the chosen
 * SVID is not, takes it away (and that is final for sessions that live).
 *
 * Control thread only.
 */
#ifndef BULKHEAD_CONTROL_WORKLOAD_SOURCE_H
#define BULKHEAD_CONTROL_WORKLOAD_SOURCE_H

#include <stddef.h>

struct control;
struct workload_source;

/* Before the first reload and the first socket; asks at once where the configuration says so. NULL:
   memory is out. */
struct workload_source *workload_source_new(struct control *control);
void workload_source_free(struct workload_source *source); /* NULL is fine */
/* The configuration in force may be another: asks whom it names now; what has given up, or waits,
   tries again. */
void workload_source_follow(struct workload_source *source);
/* Another material is in force: with an identity nobody waits any more. */
void workload_source_in_force(struct workload_source *source);
/* Why there is no identity yet, or none any more, for readiness; "" when nothing is wrong or our
   SVID comes from files. May hold any byte: escape it. */
const char *workload_source_problem(const struct workload_source *source);

#endif
