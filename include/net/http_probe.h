/*
 * http_probe: one question to an application, without blocking: GET of a fixed target, of whose
 * answer the status counts and nothing else; or whether it accepts a connection.
 *
 * The thread of the loop only.
 */
#ifndef BULKHEAD_NET_HTTP_PROBE_H
#define BULKHEAD_NET_HTTP_PROBE_H

#include "base/netaddr.h"
#include "net/loop.h"

#include <stdint.h>

struct http_probe;

/*
 * The application's own status, 200 to 599 (200 when it accepted and no more was asked), and why
 * NULL; or 502, 503 or 504 with a sentence of ours: it spoke no HTTP, could not be reached, or took
 * too long. Redirects are a status like any other. The probe is gone when this runs.
 */
typedef void http_probe_done_fn(void *arg, int status, const char *why);

/*
 * target: path and query as they go out, or NULL when connecting is enough; copied. done runs
 * once, never from inside, unless it is freed before. NULL: memory or descriptors are out.
 */
struct http_probe *http_probe_start(struct loop *loop, const struct netaddr *addr,
                                    const char *target, uint64_t timeout_ms,
                                    http_probe_done_fn *done, void *arg);
/* Not done any more. NULL is fine. */
void http_probe_free(struct http_probe *probe);

#endif
