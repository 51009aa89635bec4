/*
 * tls_session_store: TLS 1.3 sessions for resumption, in memory, one store for the whole process,
 * so that a client is resumed by whichever worker accepts it.
 *
 * Any thread: sharded, a short mutex per shard; no lock is ever held while libssl works. Counted
 * atomically; contexts that resume hold a reference (tls_settings.sessions).
 *
 * A session is of no use without a gate behind it, and there is one: every resumed handshake is
 * judged like a full one, by the chain that the session keeps (tls_conn). What the store itself
 * promises: it is bounded, in total and for each peer identity; what has been used goes first, then
 * the oldest; nothing is given out past its end, nor by a clock that stands before its beginning;
 * what goes is wiped.
 */
#ifndef BULKHEAD_TLS_TLS_SESSION_STORE_H
#define BULKHEAD_TLS_TLS_SESSION_STORE_H

#include <stddef.h>
#include <stdint.h>

struct tls_session_store;

/*
 * A session costs some 6.5 KiB after a full handshake (the peer's certificate as libssl keeps it is
 * most of that) and 1.5 KiB more for each ticket that followed from it.
 */
struct tls_session_limits {
    size_t max_sessions; /* of both roles; at least 1 */
    size_t max_per_peer; /* of one SPIFFE ID; at least 1 */
    int64_t max_age_s;   /* from the full handshake, however often it was resumed */
};
enum {
    TLS_SESSIONS_DEFAULT = 4096,
    TLS_SESSIONS_PER_PEER_DEFAULT = 1024,
    TLS_SESSION_AGE_DEFAULT_S = 3600
};

/* Never NULL. */
struct tls_session_store *tls_session_store_new(const struct tls_session_limits *limits);
struct tls_session_store *tls_session_store_ref(struct tls_session_store *store);
void tls_session_store_unref(struct tls_session_store *store); /* NULL is fine */
/*
 * For each change of trust or of our own credentials: drops every session that was made under
 * credentials older than this generation, and takes none such from now on. Sessions are bound to
 * their generation anyway; this one frees them at once.
 */
void tls_session_store_clear(struct tls_session_store *store, uint64_t generation);
size_t tls_session_store_count(struct tls_session_store *store);

#endif
