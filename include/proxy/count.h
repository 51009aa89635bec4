/*
 * count: what happens to sessions, counted as metrics of their listener (telemetry/metrics.h).
 *
 * Worker thread only; nothing here can fail. Times are of count_now_us.
 */
#ifndef BULKHEAD_PROXY_COUNT_H
#define BULKHEAD_PROXY_COUNT_H

#include "base/reason.h"
#include "telemetry/metrics.h"

#include <stddef.h>
#include <stdint.h>

struct decision;
struct peer_info;
struct session;
struct setup_listener;
struct spiffe_id;
struct worker;

/* Now, for what is measured. */
uint64_t count_now_us(void);
/* Each connection that was accepted. */
void count_accepted(struct worker *worker, const struct setup_listener *listener);
/* One that never became a session. */
void count_not_made(struct worker *worker, const struct setup_listener *listener,
                    enum reason reason);
/* The session lives; see count_closed. */
void count_opened(const struct session *session);
void count_closed(const struct session *session);
/* It has a downstream handshake that is not finished; or has no more. */
void count_half_open(const struct session *session);
void count_not_half_open(const struct session *session);
/* A handshake that succeeded. */
void count_handshake(struct worker *worker, const struct setup_listener *listener,
                     enum metric_side side, const struct peer_info *peer, uint64_t began_us);
void count_handshake_failed(struct worker *worker, const struct setup_listener *listener,
                            enum metric_side side, enum reason reason);
/* What the policy said of a peer (METRIC_DOWNSTREAM) or a server; not when a live session is judged
   again. Says in the log who calls, or is denied, for the first time. */
void count_decision(const struct session *session, enum metric_side side,
                    const struct spiffe_id *id, const struct decision *decision);
/* A dial has ended; REASON_NONE: well. */
void count_dial(struct worker *worker, const struct setup_listener *listener, enum reason reason,
                uint64_t began_us);
void count_bytes(const struct session *session, enum metric_direction direction, size_t bytes);
/* Once, when the exchange ends and before anything of it is closed. */
void count_finish(const struct session *session, enum reason reason);

#endif
