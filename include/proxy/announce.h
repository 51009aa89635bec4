/*
 * announce: tells a session's server who called, before any byte of the session: the PROXY header
 * of `listeners[].proxy_protocol` (config/PROXY.md says what is in it). Worker thread only.
 *
 * The upstream stands, the session has been judged under what is in force, and nothing has been
 * written to the upstream yet: what is told is what admits the session at this moment. A swap
 * afterwards may renew its rule; it ends the session, or the server's knowledge stays as it was.
 */
#ifndef BULKHEAD_PROXY_ANNOUNCE_H
#define BULKHEAD_PROXY_ANNOUNCE_H

#include "base/reason.h"

#include <stdbool.h>

struct conn;
struct session;

/* Whether the session's listener wants it. */
bool announce_is_wanted(const struct session *session);
/* Any other than REASON_NONE: nothing may be relayed, because the server would take the first bytes
   of the session for the header. */
enum reason announce_send(const struct session *session, struct conn *upstream)
    __attribute__((warn_unused_result));
/* How the header and the access log call the session: not twice in all processes. */
enum { ANNOUNCE_UNIQUE_ID_SIZE = 48 };
const char *announce_unique_id(const struct session *session, char out[ANNOUNCE_UNIQUE_ID_SIZE]);

#endif
