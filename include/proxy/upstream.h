/*
 * upstream: from a listener's `forward` to a conn that may carry data: resolve, dial each address
 * in turn, and for mtls the handshake with the expected server. Worker thread only.
 */
#ifndef BULKHEAD_PROXY_UPSTREAM_H
#define BULKHEAD_PROXY_UPSTREAM_H

#include "base/netaddr.h"
#include "base/reason.h"
#include "net/dialer.h"
#include "net/resolver.h"
#include "tls/tls_conn.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct setup_listener;

struct upstream_owner {
    /* Once. REASON_NONE: conn is the callee's, reading is off. Else conn is NULL, failure may be
       the TLS failure (or NULL) and detail a text (or ""). */
    void (*on_done)(void *arg, struct conn *conn, enum reason reason,
                    const struct tls_failure *failure, const char *detail);
    peer_check_fn *peer_check;
};

struct upstream {
    struct worker *worker;
    const struct setup_listener *listener;
    const struct upstream_owner *owner;
    void *owner_arg;
    const char *alpn; /* see tls_conn_connect */
    struct resolver_query *query;
    struct dialer *dialer;
    struct conn *conn; /* in its handshake */
    struct timer *timer;
    struct netaddr *addresses; /* what the name resolved to */
    size_t address_count;
    size_t next_address;
    struct netaddr_kept address; /* being dialled, or dialled last */
    struct netaddr_kept local;   /* our end of it; unset for a Unix socket */
    struct dial_failure last_failure;
    struct loop_deferred deferred;
    bool pending_failure;
    bool in_handshake;
    uint64_t began_us;     /* count_now_us */
    uint64_t connected_us; /* while in_handshake */
};

/* on_done never runs from inside. listener must live until then. */
void upstream_start(struct upstream *upstream, struct worker *worker,
                    const struct setup_listener *listener, const char *alpn,
                    const struct upstream_owner *owner, void *arg);
/* Gives everything up without on_done. Safe at any time, also when done. */
void upstream_cancel(struct upstream *upstream);
/* Last: the addresses are known until then. */
void upstream_fini(struct upstream *upstream);

#endif
