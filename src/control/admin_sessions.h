/*
 * admin_sessions: GET /sessions and POST /sessions/terminate.
 *
 * One query at a time goes to the workers, the others wait in order. A client that goes away takes
 * its list along; what it wanted to be ended is ended all the same. Control thread.
 */
#ifndef BULKHEAD_CONTROL_ADMIN_SESSIONS_H
#define BULKHEAD_CONTROL_ADMIN_SESSIONS_H

struct admin_sessions;
struct control;
struct http_call;
struct worker_report;

/* The parameters that each takes. */
#define ADMIN_SESSIONS_LIST_PARAMETERS      "identity rule listener session limit"
#define ADMIN_SESSIONS_TERMINATE_PARAMETERS "identity rule listener session all"

enum { ADMIN_SESSIONS_LIMIT = 1000, ADMIN_SESSIONS_LIMIT_MAX = 10000 };

struct admin_sessions *admin_sessions_new(struct control *control);
/* No call and no worker is there any more. NULL is fine. */
void admin_sessions_free(struct admin_sessions *sessions);
/* Both answer the call, later mostly. */
void admin_sessions_list(struct admin_sessions *sessions, struct http_call *call);
void admin_sessions_terminate(struct admin_sessions *sessions, struct http_call *call);
/* WORKER_SAYS_QUERIED. Takes what the report carries. */
void admin_sessions_on_report(struct admin_sessions *sessions, struct worker_report *report);

#endif
