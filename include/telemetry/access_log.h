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
    bool resumed;
};

/* Texts that are NULL or empty leave their field out, so that a line holds only what is known. */
struct access_record {
    uint64_t wall_ms;  /* time */
    const char *event; /* "open" and "close" (a session that was let through), or "deny" */
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
    const char *unique_id;      /* of the PROXY header that the server got */
    const char *decision;       /* allow, deny */
    const char *rule;
    bool would_deny;             /* admitted by `enforcement: audit` alone */
    const char *shadow_decision; /* allow, deny: what shadow rules would do; with shadow_rule */
    const char *shadow_rule;
    enum reason reason; /* label and, when not CLOSED, the sentence as "why" */
    const char *detail; /* the explanation, the clause, the alert */
    bool has_bytes;
    uint64_t bytes_up; /* downstream to upstream */
    uint64_t bytes_down;
    uint64_t repeats; /* of a folded line: how many refusals it tells of; 0: it tells of one */
    uint64_t duration_ms;
    struct access_tls downstream_tls;
    struct access_tls upstream_tls;
};

enum { ACCESS_LINE_SIZE = 8192 };

/* The fields, for the writer and for the document made of them (config/LOGS.md). */
enum access_field {
#define ACCESS_FIELD(name, key, type, when, meaning)     ACCESS_FIELD_##name,
#define ACCESS_TLS_FIELD(name, key, type, when, meaning) ACCESS_FIELD_##name,
#include "telemetry/access_fields.def"
#undef ACCESS_FIELD
#undef ACCESS_TLS_FIELD
    ACCESS_FIELD_COUNT
};

struct access_field_info {
    const char *key;
    const char *type;
    const char *when;
    const char *meaning;
    bool in_tls; /* of `tls` and `upstream_tls` */
};
const struct access_field_info *access_field_info(enum access_field field);

/*
 * The line with its newline, its fields in the order of access_fields.def; returns its length (> 0
 * always: when it does not fit, the long peer-supplied texts are cut or left out and
 * "truncated":true stands in it).
 */
size_t access_log_format(const struct access_record *record, char out[ACCESS_LINE_SIZE]);

#endif
