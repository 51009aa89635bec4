/*
 * authority: does what admitted a live session still hold?
 *
 * A session is judged again at every swap of the snapshot and, when one came in between, at each
 * of its transitions: handshake done, before the dial, dial done, before the first relayed byte.
 * Judged are its listener (still there, same kind and target), its rules (policy towards the
 * downstream, `expect` towards the server), the kept chains of both peers (bundle and CRL), and
 * our own identity. Time is proxy/expiry.h's matter.
 *
 * Worker thread only.
 */
#ifndef BULKHEAD_PROXY_AUTHORITY_H
#define BULKHEAD_PROXY_AUTHORITY_H

#include "base/reason.h"
#include "policy/policy.h"

struct peer_chain;
struct session;
struct setup_listener;
struct snapshot;

/* How much is looked at. Rules cost next to nothing; a chain may cost a verification. */
enum authority_scope { AUTHORITY_RULES = 0, AUTHORITY_ALL };

enum { AUTHORITY_DETAIL_SIZE = 512 };

struct authority_verdict {
    enum reason reason;                    /* REASON_NONE: it holds */
    const struct setup_listener *listener; /* under which it goes on; NULL when that is gone */
    struct decision decision;              /* towards the downstream */
    char detail[AUTHORITY_DETAIL_SIZE];    /* the fact in words, or "" */
};

/* What the policy is asked about a peer whose chain was admitted, now, under that snapshot. */
struct policy_input authority_input(const struct setup_listener *listener,
                                    const struct peer_chain *chain,
                                    const struct snapshot *snapshot);
/* Under any snapshot, in force or only looked at; changes nothing of the session. */
void authority_judge(const struct session *session, const struct snapshot *snapshot,
                     enum authority_scope scope, struct authority_verdict *verdict);
/*
 * The rule that admitted the session has ended by time: REASON_NONE when it goes on by another,
 * else why not, with verdict->detail.
 */
enum reason authority_judge_time(struct session *session, struct authority_verdict *verdict)
    __attribute__((warn_unused_result));
/* For a session whose handshake has just ended, before its first decision: only whether its
   listener stands and our identity is the one that it was made under. */
void authority_judge_listener(const struct session *session, const struct snapshot *snapshot,
                              struct authority_verdict *verdict);
/* The session goes on under that snapshot, by that verdict. */
void authority_renew(struct session *session, struct snapshot *snapshot,
                     const struct authority_verdict *verdict);
/*
 * Judges and renews when the worker's snapshot is not the one that the session was last judged
 * under. REASON_NONE: it holds; else why not, with verdict->detail.
 */
enum reason authority_catch_up(struct session *session, struct authority_verdict *verdict)
    __attribute__((warn_unused_result));

#endif
