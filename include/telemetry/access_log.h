/*
 * access_log: one JSON line per session end and per refusal.
 *
 * Pure formatting into a buffer of the caller's; proxy/exchange hands the line to its ring. Every
 * peer-supplied byte is escaped and capped. Any thread.
 */
#ifndef BULKHEAD_TELEMETRY_ACCESS_LOG_H
#define BULKHEAD_TELEMETRY_ACCESS_LOG_H

#include "base/reason.h"
#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One TLS side; texts NULL or "" are left out. */
struct access_tls {
    const char *version;
    const char *cipher;
    const char *group;
    const char *alpn;
};

/* Texts that are NULL or empty leave their field out, so that a line holds only what is known. */
struct access_record {
    uint64_t wall_ms;  /* time */
    const char *event; /* "close" (a session that was let through) or "deny" */
    uint64_t session;
    const char *listener;
    const char *kind;             /* terminate, originate, bridge */
    struct strview downstream_id; /* verified SPIFFE IDs */
    struct strview own_id;
    struct strview upstream_id;
    struct strview claimed_id; /* what a refused certificate claimed, unverified */
    struct strview subject;    /* of a refused certificate */
    struct strview serial;
    struct strview sni;
    const char *downstream;     /* peer address */
    const char *upstream;       /* target address as dialled, or the configured one */
    const char *upstream_local; /* our address towards it: joins two logs */
    const char *decision;       /* allow, deny */
    const char *rule;
    enum reason reason; /* label and, when not CLOSED, the sentence as "why" */
    const char *detail; /* the explanation, the clause, the alert */
    bool has_bytes;
    uint64_t bytes_up; /* downstream to upstream */
    uint64_t bytes_down;
    uint64_t duration_ms;
    struct access_tls downstream_tls;
    struct access_tls upstream_tls;
};

enum { ACCESS_LINE_SIZE = 8192 };

/*
 * The line with its newline; returns its length (> 0 always: when it does not fit, the long
 * peer-supplied texts are cut or left out and "truncated":true stands in it). Field names, in this
 * order: time event session listener kind decision rule reason why detail downstream_id own_id
 * upstream_id claimed_id subject serial sni downstream upstream upstream_local bytes_up bytes_down
 * duration_ms tls {version cipher group alpn} upstream_tls {…} truncated
 */
size_t access_log_format(const struct access_record *record, char out[ACCESS_LINE_SIZE]);

#endif
