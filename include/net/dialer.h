/*
 * dialer: connect a socket to one address without blocking.
 *
 * Worker thread only. The callback runs exactly once, never from inside dialer_start(); it may
 * start another dial or close the session.
 */
#ifndef BULKHEAD_NET_DIALER_H
#define BULKHEAD_NET_DIALER_H

#include "base/netaddr.h"
#include "base/reason.h"
#include "net/loop.h"
#include "net/socket.h"

#include <stdint.h>

struct dialer;

struct dial_failure {
    enum reason reason; /* REASON_UPSTREAM_CONNECT_*, REASON_OUT_OF_*; REASON_NONE: connected */
    int error;          /* the kernel's, an errno; 0: none */
};

/* fd ≥ 0: connected and the callee's; else failure says why. The dialer is gone when this runs. */
typedef void dialer_done_fn(void *arg, int fd, struct dial_failure failure);

/* Copies addr and options. On success *out is owned by the caller until the callback or
   dialer_cancel(). -1 and *failure when no socket can be made. */
int dialer_start(struct loop *loop, const struct netaddr *addr, uint64_t timeout_ms,
                 const struct socket_options *options, dialer_done_fn *done, void *arg,
                 struct dialer **out, struct dial_failure *failure)
    __attribute__((warn_unused_result));
/* No callback any more. NULL is fine. */
void dialer_cancel(struct dialer *dialer);

#endif
