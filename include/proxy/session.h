/*
 * session: one accepted downstream connection and all that is done for it. Lives in one worker.
 *
 *   HELLO → HANDSHAKE → SERVING → CLOSED     (a plaintext downstream starts in SERVING)
 *
 * Ends in exactly one place, exchange_finish, which counts, logs and calls session_close.
 */
#ifndef BULKHEAD_PROXY_SESSION_H
#define BULKHEAD_PROXY_SESSION_H

#include "base/netaddr.h"
#include "base/reason.h"
#include "net/conn.h"
#include "net/loop.h"
#include "proxy/exchange.h"
#include "proxy/expiry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct peer_chain;
struct peer_info;
struct worker;
struct setup_listener;
struct snapshot;

enum session_state {
    SESSION_NEW = 0,
    SESSION_HELLO,
    SESSION_HANDSHAKE,
    SESSION_SERVING,
    SESSION_CLOSED
};
enum { SESSION_MAGIC = 0x73657373 };

struct session {
    unsigned magic;
    enum session_state state;
    struct worker *worker;
    /* What it was last judged under. Not counted: a worker keeps a snapshot that it replaces until
       every session has been judged again (proxy/authority.h). */
    struct snapshot *snapshot;
    const struct setup_listener *listener; /* of that snapshot */
    uint64_t id;                           /* unique in the process */
    uint64_t started_ms;
    uint64_t accepted_us; /* the same moment, for metrics */
    uint64_t entered_ms;  /* its state */
    struct conn *downstream;
    struct timer *timer;
    uint64_t timer_due_ms;
    struct exchange exchange;
    struct expiry_entry expiry;
    struct netaddr_kept peer;
    TAILQ_ENTRY(session) link;           /* worker->sessions */
    TAILQ_ENTRY(session) handshake_link; /* its listener's handshakes */
    struct loop_deferred deferred;
};

/* Takes fd, and the places that limits_reserve took for it. Out of memory: closes it, counted and
   told. */
void session_accept(struct worker *worker, const struct setup_listener *listener, int fd,
                    const struct netaddr *peer);
/* Ends a session from outside: drain deadline, eviction, lost authority. detail may be NULL. */
void session_end(struct session *session, enum reason reason, const char *detail);
/* exchange_finish only: closes what is open, frees at the end of the turn. */
void session_close(struct session *session, bool in_order);
/* What the finished handshakes proved; NULL where there was none (yet). */
const struct peer_info *session_downstream_peer(const struct session *session);
const struct peer_info *session_upstream_peer(const struct session *session);
/* The server's, from the moment that it was admitted inside its handshake; NULL before. */
struct peer_chain *session_upstream_chain(const struct session *session);
/* Sets the one timer of the session; session_hurry_timer only brings it nearer. */
void session_set_timer(struct session *session, uint64_t delay_ms);
void session_hurry_timer(struct session *session, uint64_t delay_ms);

#endif
