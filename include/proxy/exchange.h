/*
 * exchange: one authorised unit towards one upstream; at L4 one per session. Here, and only here,
 * authentication (tls) and authorisation (policy) meet.
 *
 *   AUTHORIZE → DIAL → RELAY → DONE
 *
 * exchange_finish is the one place that counts and logs.
 */
#ifndef BULKHEAD_PROXY_EXCHANGE_H
#define BULKHEAD_PROXY_EXCHANGE_H

#include "policy/policy.h"
#include "proxy/relay.h"
#include "proxy/upstream.h"

#include <stdbool.h>
#include <stdint.h>

struct peer_chain;
struct session;
struct tls_failure;

enum exchange_state { EXCHANGE_AUTHORIZE = 0, EXCHANGE_DIAL, EXCHANGE_RELAY, EXCHANGE_DONE };

struct exchange {
    enum exchange_state state;
    struct decision decision;
    struct upstream upstream;
    /* The server's, counted, while its handshake goes on: between its certificate and the end a
       swap may come that holds nothing of it. */
    struct peer_chain *server_chain;
    struct conn *upstream_conn;
    bool announced; /* the upstream has got a PROXY header (proxy/announce.h) */
    struct relay relay;
};

/* The downstream is there and, where it speaks mTLS, verified. */
void exchange_start(struct exchange *exchange, struct session *session);
/* The session's timer fired while serving. */
void exchange_on_timer(struct exchange *exchange, struct session *session);
/* Ends it: counts, writes the access line, closes the session. failure and detail may be NULL. A
   stream that broke off before and was only being flushed gives its own reason. */
void exchange_finish(struct exchange *exchange, struct session *session, enum reason reason,
                     const struct tls_failure *failure, const char *detail);
/* What let it in: a rule's name, "expect", or NULL (nothing yet). */
const char *exchange_rule_name(const struct exchange *exchange, const struct session *session);

#endif
