/*
 * limits: counts that bound the whole process: sessions and unfinished handshakes, in total and
 * per listener, and the descriptors of both and of refused connections that wait for their end. The
 * only state that workers share; relaxed atomics, touched once per connection.
 */
#ifndef BULKHEAD_PROXY_LIMITS_H
#define BULKHEAD_PROXY_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct setup_listener;

struct limits_counts {
    _Atomic uint64_t sessions;
    _Atomic uint64_t handshakes;
    _Atomic uint64_t buffered_bytes;
};

struct limits {
    _Atomic uint64_t max_sessions; /* from descriptors and limits.connections */
    uint64_t max_descriptors;      /* for sessions and what lingers; see limits_descriptors */
    _Atomic uint64_t lingering; /* refused, one descriptor each; counted by tls (tls_thread_new) */
    struct limits_counts process;
    struct limits_counts *listeners; /* by slot */
};

/* What a new connection on a listener must wait for. */
enum limits_verdict { LIMITS_OPEN = 0, LIMITS_SESSIONS_FULL, LIMITS_HANDSHAKES_FULL };

void limits_init(struct limits *limits);
void limits_fini(struct limits *limits);
/* How many descriptors connections may hold: limit - used - 32 in reserve; the reserve lets dials,
   log files and name resolution always find one. */
uint64_t limits_descriptors(uint64_t descriptor_limit, uint64_t used);
/* How many sessions that is: half, because a session holds two. */
uint64_t limits_sessions_by_descriptors(uint64_t descriptor_limit, uint64_t used);
/* Everything is counted by the listener's slot, judged by the bounds of its setup. */
enum limits_verdict limits_check(struct limits *limits, const struct setup_listener *listener);
void limits_session_begin(struct limits *limits, size_t slot);
void limits_session_end(struct limits *limits, size_t slot);
void limits_handshake_begin(struct limits *limits, size_t slot);
void limits_handshake_end(struct limits *limits, size_t slot);
/* False: a bound (limits.buffered, of the process or the listener) would be exceeded; nothing is
   added then. */
bool limits_buffer(struct limits *limits, const struct setup_listener *listener, size_t bytes);
void limits_unbuffer(struct limits *limits, size_t slot, size_t bytes);
/* More than half of limits.buffered is in use: readers shall take small pieces. */
bool limits_buffer_is_tight(struct limits *limits, const struct setup_listener *listener);

#endif
