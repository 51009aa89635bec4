/*
 * tls_context: the settings of TLS connections, one per distinct set: versions, ciphers, groups,
 * ALPN. Never a chain, key or bundle: those come from the thread's credentials at each handshake.
 *
 * Immutable, counted atomically; made on control, used by all workers.
 *
 * TLS 1.3 and 1.2 with ECDHE and AEAD; no renegotiation, compression or early data; security
 * level 2; a peer certificate always required. The host's OpenSSL configuration is ignored; with
 * CRYPTO_SYSTEM (spiffe/crypto.h) it counts where it narrows this.
 *
 * Groups: X25519MLKEM768 first where libssl has it, X25519, P-256, P-384, P-521 (tls/tls_groups.h).
 *
 * Resumption: of TLS 1.3 sessions, where a session store is given, and always with a key exchange
 * of its own. A TLS 1.2 handshake is always a full one.
 */
#ifndef BULKHEAD_TLS_TLS_CONTEXT_H
#define BULKHEAD_TLS_TLS_CONTEXT_H

#include "base/errbuf.h"

#include <stdbool.h>
#include <stddef.h>

struct crypto;
struct tls_context;
struct tls_session_store;

struct tls_settings {
    bool server;             /* we accept; else we connect */
    const char *const *alpn; /* in order of preference; copied */
    size_t alpn_count;       /* 0: none is offered or selected */
    bool alpn_required;      /* server: a client that offers none is refused */
    const char *name;        /* the listener's: sessions are never resumed under another */
    struct tls_session_store *sessions; /* a reference is taken; NULL: nothing is resumed */
};

struct tls_context *tls_context_new(const struct crypto *crypto,
                                    const struct tls_settings *settings, struct errbuf *err);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context);
const char *tls_build_version(void);
const char *tls_run_version(void);

#endif
