/*
 * expiry: ends sessions whose authority ends by time: the rule's `expires`, a peer chain's notAfter
 * (close_on_expiry), the listener's max_age, a CRL's nextUpdate (crl_expired: cut), our own
 * notAfter (own_expiry: close).
 *
 * Deadlines are moments of the wall clock but max_age, which is an age. At a rule's end the session
 * is judged again at that very moment: it ends, or goes on by another rule. Else each session ends
 * at a quiet moment before its deadline where there is one: from a point that it draws at random in
 * the last tenth of the time that it has left (at most five minutes), it ends as soon as no byte
 * has moved for a quarter of a second; at the deadline it ends whatever it does. So users of
 * connection pools are not cut in the middle of a query, and not all at once.
 *
 * One per worker, worker thread only.
 */
#ifndef BULKHEAD_PROXY_EXPIRY_H
#define BULKHEAD_PROXY_EXPIRY_H

#include "base/reason.h"
#include "proxy/deadline_heap.h"

#include <stdbool.h>
#include <stdint.h>

struct authority_verdict;
struct expiry;
struct loop;
struct session;

/* A session's part. */
struct expiry_entry {
    struct deadline deadline; /* when to look next, monotonic */
    uint64_t end_ms;          /* the deadline itself, monotonic by the offset of the wall clock */
    uint64_t quiet_from_ms;
    enum reason cause;
};

/* NULL: out of memory. */
struct expiry *expiry_new(struct loop *loop);
/* No session is in it any more. NULL is fine. */
void expiry_free(struct expiry *expiry);
/*
 * Works out when the session's authority ends, anew each time: after its handshake, after the
 * upstream's, and when it goes on under another snapshot. A rule that has ended meanwhile is
 * judged, for another may take over. REASON_NONE, or why it can't go on, with lost->detail: it is
 * over already, or memory is out.
 */
enum reason expiry_schedule(struct expiry *expiry, struct session *session,
                            struct authority_verdict *lost) __attribute__((warn_unused_result));
/* The session is closing. */
void expiry_forget(struct expiry *expiry, struct session *session);
/* When the session's authority ends, in milliseconds since 1970, and by what; 0: no end by time. At
   a rule's end the session is judged, and may go on by another. */
uint64_t expiry_wall_ms(const struct session *session, enum reason *cause);
/* The wall clock was set: looks at every deadline anew. (It also notices by itself within a
   second.) */
void expiry_clock_set(struct expiry *expiry);

#endif
