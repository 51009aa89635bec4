/*
 * accepting: one worker's listeners: accepting from their sockets, within the process's bounds, and
 * following the configuration from one set of sockets to the next.
 *
 * Worker thread only (accepting_new and the first accepting_follow before it runs).
 */
#ifndef BULKHEAD_PROXY_ACCEPTING_H
#define BULKHEAD_PROXY_ACCEPTING_H

#include <stdbool.h>
#include <stdint.h>

struct listen_sockets;
struct session;
struct worker;

struct accepting;

/* The worker, with its loop, outlives it. NULL: memory is out. */
struct accepting *accepting_new(struct worker *worker);
/* Closes no socket: what is open stays with its listen_sockets. NULL is fine. */
void accepting_free(struct accepting *accepting);
/* Accepts from the sockets (by config index) of the worker's snapshot, keeps what has not changed,
   leaves the others. False: memory is out for one of them; the others accept. */
bool accepting_follow(struct accepting *accepting, struct listen_sockets *const *sockets);
/* Accepts what is queued, as far as the bounds allow, then no more, and closes this worker's
 * sockets. */
void accepting_stop(struct accepting *accepting);
/* For session.c: the session has entered a state of an unfinished handshake, or is about to leave
   one. See proxy/handshakes.h. */
void accepting_add_handshake(struct accepting *accepting, struct session *session);
void accepting_remove_handshake(struct accepting *accepting, struct session *session);
uint64_t accepting_handshake_count(const struct accepting *accepting);

#endif
