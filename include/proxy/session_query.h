/*
 * session_query: which sessions are there, or which are to be ended, by what an operator knows of
 * them: identity, rule, listener, or the session's own number.
 *
 * Control makes a query and gives it to every worker (worker_query), which only reads it; it must
 * live until each has answered. A worker goes through its sessions in slices (proxy/walk.h), and
 * looks at none that has begun after the query came: an answer is of one moment, and whoever dials
 * again at once is not chased.
 */
#ifndef BULKHEAD_PROXY_SESSION_QUERY_H
#define BULKHEAD_PROXY_SESSION_QUERY_H

#include "policy/id_pattern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;
struct worker;

enum session_query_kind {
    SESSION_QUERY_LIST = 0,
    SESSION_QUERY_TERMINATE /* ends them with REASON_TERMINATED, as a cut */
};

/* What a session must be, all of it. */
struct session_query {
    enum session_query_kind kind;
    bool has_identity;
    struct id_pattern identity; /* of its downstream or of its upstream, verified */
    const char *rule;           /* exchange_rule_name; NULL: any */
    const char *listener;       /* NULL: any */
    uint64_t session;           /* 0: any */
    size_t limit; /* SESSION_QUERY_LIST: describes so many of each worker, oldest first */
};

bool session_query_matches(const struct session_query *query, const struct session *session);
/* Worker thread. Reports WORKER_SAYS_QUERIED: how many matched, and for a list the survey of them;
   or that memory is out. */
void session_query_start(struct worker *worker, const struct session_query *query);

#endif
