/*
 * workload_stream: FetchX509SVID of the SPIFFE Workload API, for as long as we run: a stream that
 * is opened again whenever it ends.
 *
 * What its end means (Workload API 5.2.1, Workload Endpoint 6):
 *
 *   PermissionDenied                 WORKLOAD_DENIED: the SVIDs are not to be used any more; tried
 *                                    again with backoff
 *   InvalidArgument, Unimplemented   WORKLOAD_GIVEN_UP: not tried again before
 *                                    workload_stream_retry
 *   all else, by the agent or here   WORKLOAD_LOST: what we have counts on; tried again with
 *                                    backoff
 *
 * Only a grpc-status of the agent's own counts for the first two. Backoff: at once after a stream
 * that brought something good, then 1 s, 2 s, … 30 s, with jitter.
 *
 * The thread of its loop; never blocks.
 */
#ifndef BULKHEAD_IDENTITY_WORKLOAD_STREAM_H
#define BULKHEAD_IDENTITY_WORKLOAD_STREAM_H

#include "base/netaddr.h"
#include "net/grpc_reader.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workload_stream;

enum workload_end { WORKLOAD_LOST = 0, WORKLOAD_DENIED, WORKLOAD_GIVEN_UP };

struct workload_news {
    enum workload_end end;
    enum grpc_status status;
    bool from_agent;     /* false: we have found it out */
    bool had_answer;     /* this stream had brought a good message */
    struct strview text; /* any bytes; escape it */
    uint64_t retry_ms;   /* WORKLOAD_GIVEN_UP: 0 */
};

struct workload_handler {
    /* A message, valid during the call and wiped after it. True when it was good. May free the
       stream. */
    bool (*on_message)(void *arg, const uint8_t *message, size_t len);
    /* May free the stream. */
    void (*on_end)(void *arg, const struct workload_news *news);
};

struct workload_times {
    uint64_t connect_ms;
    uint64_t answer_ms;
    uint64_t ping_ms;
    uint64_t ping_answer_ms;
    uint64_t backoff_least_ms;
    uint64_t backoff_most_ms;
    uint64_t steady_ms; /* a stream that ends sooner is not opened again at once */
};
/* For an agent as it is. */
extern const struct workload_times workload_times_default;

/* Begins in the next turn of the loop. handler outlives the stream; address is copied. NULL: memory
   is out. */
struct workload_stream *workload_stream_new(struct loop *loop, const struct netaddr *address,
                                            const struct workload_times *times,
                                            const struct workload_handler *handler, void *arg);
void workload_stream_free(struct workload_stream *stream); /* NULL is fine */
/* Tries again now, when it is waiting or has given up; a stream that is open stays. */
void workload_stream_retry(struct workload_stream *stream);

#endif
