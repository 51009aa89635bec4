/*
 * admin: the admin socket (admin.listen): what `bulkhead ctl` talks to. HTTP/1.1, JSON answers.
 *
 *   POST /reload             read everything anew
 *   POST /reload?dry_run=1   what that would do, ending nothing
 *   POST /check?file=PATH    the same with another configuration; the path is absolute
 *   GET  /sessions           the live sessions; by identity, rule, listener, session; limit
 *   POST /sessions/terminate ends those that match, or with all=true all of them
 *   GET  /rules?from=N       each rule: what it did, when it ends; page by page
 *   GET  /identity           our own SVID in force; never a key
 *   GET  /trust              each trust domain's anchors and CRLs in force
 *   GET  /config             the configuration in force, key by key
 *   GET  /peers              who was seen, when, and how often let in and denied; identity, limit
 *   GET  /log-level          what the process log tells; POST /log-level?level=NAME changes it
 *   POST /drain              as the first SIGTERM
 *   GET  /livez, /readyz     as on the probes' listener; with ?json, or by Accept, as JSON
 *   GET  /metrics            Prometheus' text format, or OpenMetrics by Accept: config/METRICS.md
 *
 * Any other parameter is refused.
 *
 * Whoever may connect to the Unix socket may do all of it: its permissions (0660) are the only
 * wall. On TCP, which is taken on the loopback alone, that is every user of the host; what keeps
 * web pages in their browsers out is net/http_guard.h, and who asks is not known, so /check is
 * nobody's. Answers hold no secret. Control thread.
 */
#ifndef BULKHEAD_CONTROL_ADMIN_H
#define BULKHEAD_CONTROL_ADMIN_H

#include "base/errbuf.h"

struct admin;
struct control;

/* NULL with err: the socket can't be opened. */
struct admin *admin_new(struct control *control, struct errbuf *err);
void admin_free(struct admin *admin); /* NULL is fine */

#endif
