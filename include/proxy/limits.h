/*
 * limits: counts that bound the whole process: sessions and unfinished handshakes, in total and
 * per listener, and the descriptors of both and of refused connections that wait for their end. The
 * only state that workers share; relaxed atomics.
 *
 * A connection's places are taken before it is accepted (limits_reserve), all or none, so that no
 * count ever exceeds its bound, however many workers and listeners there are.
 */
#ifndef BULKHEAD_PROXY_LIMITS_H
#define BULKHEAD_PROXY_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct setup_listener;

/* What is written for each connection shares no cache line with what is read for each piece of
   data: the space between is wider than a line, wherever the struct begins. */
enum { LIMITS_CACHE_LINE = 64 };

struct limits_counts {
    /* For each connection. */
    _Atomic uint64_t sessions;
    _Atomic uint64_t handshakes;
    _Atomic uint64_t short_of_handshakes; /* see limits_set_short */
    char apart[LIMITS_CACHE_LINE];
    /* Read before each read of a relay; written when bytes must wait. */
    _Atomic uint64_t buffered_bytes;
    char apart_from_next[LIMITS_CACHE_LINE];
};

struct limits {
    _Atomic uint64_t max_sessions;    /* from descriptors and limits.connections */
    _Atomic uint64_t max_descriptors; /* for sessions and what lingers; see limits_descriptors */
    struct limits_counts *listeners;  /* by slot */
    char apart[LIMITS_CACHE_LINE];
    _Atomic uint64_t descriptors; /* two for each session, one for each conn that lingers: those
                                     are counted by tls (tls_thread_new) */
    struct limits_counts process;
};

/* What stands in the way of one more connection on a listener; 0: nothing. */
enum limits_bound {
    LIMITS_NONE = 0,
    LIMITS_DESCRIPTORS,
    LIMITS_CONNECTIONS,
    LIMITS_LISTENER_CONNECTIONS,
    LIMITS_LISTENER_HANDSHAKES,
    LIMITS_HANDSHAKES
};

void limits_init(struct limits *limits);
void limits_fini(struct limits *limits);
/* How many descriptors connections may hold: limit - used - 32 in reserve; the reserve lets dials,
   log files and name resolution always find one. */
uint64_t limits_descriptors(uint64_t descriptor_limit, uint64_t used);
/* How many sessions that is: half, because a session holds two. */
uint64_t limits_sessions_by_descriptors(uint64_t descriptor_limit, uint64_t used);
/* Everything is counted by the listener's slot, judged by the bounds of its setup. This one only
   looks. */
enum limits_bound limits_check(struct limits *limits, const struct setup_listener *listener);
/* Takes the places of a connection: a session's, its two descriptors', and, where the listener
   speaks mtls, a handshake's. All or, with the bound that is full, none. */
enum limits_bound limits_reserve(struct limits *limits, const struct setup_listener *listener)
    __attribute__((warn_unused_result));
/* Nobody came for them: gives all of them back. */
void limits_cancel(struct limits *limits, const struct setup_listener *listener);
/* A session gives its places back one by one: the handshake's when it is over, then the rest. */
void limits_handshake_end(struct limits *limits, size_t slot);
void limits_session_end(struct limits *limits, size_t slot);
/*
 * For one of the two bounds of handshakes: a listener of a worker that is kept out by it, while
 * that worker holds less than its share, says so until that is over; workers that hold more make
 * room. The bound, UINT64_MAX for none, is the least of what is configured and of half the places
 * that finished sessions leave.
 */
void limits_set_short(struct limits *limits, enum limits_bound bound, size_t slot, bool is_short);
bool limits_is_short(struct limits *limits, enum limits_bound bound, size_t slot);
uint64_t limits_handshake_bound(struct limits *limits, const struct setup_listener *listener,
                                enum limits_bound bound);
/* Where the bound of handshakes is the half that sessions leave: what leaves so little. */
enum limits_bound limits_bound_behind(struct limits *limits, const struct setup_listener *listener,
                                      enum limits_bound bound);
/* Around giving a session's conn to tls_conn_refuse: its descriptor is counted all the while. */
void limits_hold_descriptor(struct limits *limits);
void limits_drop_descriptor(struct limits *limits);
/* "connections", "handshakes", "descriptors": what an operator would raise. */
const char *limits_bound_name(enum limits_bound bound);
bool limits_bound_is_of_listener(enum limits_bound bound);
/* False: a bound (limits.buffered, of the process or the listener) would be exceeded; nothing is
   added then. */
bool limits_buffer(struct limits *limits, const struct setup_listener *listener, size_t bytes);
void limits_unbuffer(struct limits *limits, size_t slot, size_t bytes);
/* More than half of limits.buffered is in use: readers shall take small pieces. */
bool limits_buffer_is_tight(struct limits *limits, const struct setup_listener *listener);

#endif
