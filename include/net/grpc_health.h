/*
 * grpc_health: one question to an application by the gRPC Health Checking Protocol v1:
 * grpc.health.v1.Health/Check, unary, without metadata. SERVING, in one whole message of a call
 * that has ended with OK, is health; everything else is none.
 *
 * The thread of the loop only; the two functions of the messages are pure.
 */
#ifndef BULKHEAD_NET_GRPC_HEALTH_H
#define BULKHEAD_NET_GRPC_HEALTH_H

#include "base/netaddr.h"
#include "net/loop.h"

#include <stddef.h>
#include <stdint.h>

enum { GRPC_HEALTH_SERVICE_MAX = 200, GRPC_HEALTH_REQUEST_MAX = GRPC_HEALTH_SERVICE_MAX + 3 };

/* HealthCheckResponse.ServingStatus */
enum grpc_health_state {
    GRPC_HEALTH_UNKNOWN = 0,
    GRPC_HEALTH_SERVING,
    GRPC_HEALTH_NOT_SERVING,
    GRPC_HEALTH_SERVICE_UNKNOWN,
    GRPC_HEALTH_NO_STATE, /* the message is broken, or says a number that is none of them */
};
enum { GRPC_HEALTH_STATES = GRPC_HEALTH_NO_STATE + 1 };

/* HealthCheckRequest for a service of at most GRPC_HEALTH_SERVICE_MAX bytes; "": the server as a
   whole. Returns its length. */
size_t grpc_health_encode(const char *service, uint8_t out[GRPC_HEALTH_REQUEST_MAX]);
/* Of a HealthCheckResponse. Unknown fields are skipped; of several states the last one counts. */
enum grpc_health_state grpc_health_decode(const uint8_t *message, size_t len);

struct grpc_health;

/* 200 with why NULL, or 503 with a sentence of ours, a constant: no byte of the answer. The
   question is gone when this runs. */
typedef void grpc_health_done_fn(void *arg, int status, const char *why);

/* service as above; copied. timeout_ms: for all of it. done runs once, never from inside, unless it
   is freed before. NULL: memory is out. */
struct grpc_health *grpc_health_start(struct loop *loop, const struct netaddr *addr,
                                      const char *service, uint64_t timeout_ms,
                                      grpc_health_done_fn *done, void *arg);
/* Not done any more. NULL is fine. */
void grpc_health_free(struct grpc_health *health);

#endif
