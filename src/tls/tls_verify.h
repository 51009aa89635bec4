/*
 * tls_verify: the peer's certificate inside the handshake, and the gate behind it.
 */
#ifndef BULKHEAD_TLS_VERIFY_H
#define BULKHEAD_TLS_VERIFY_H

#include "base/reason.h"

#include <openssl/ssl.h>

#include <stdbool.h>

struct tls_conn;

/* libssl's callbacks: own chain and key, and the judgement of the peer's. */
void tls_verify_init(SSL_CTX *ssl_ctx, bool server);
/* REASON_NONE when we have an SVID that is valid now: without one nobody is talked to. */
enum reason tls_verify_own(const struct tls_conn *tls) __attribute__((warn_unused_result));
/*
 * The one gate, after every handshake: REASON_NONE only with a peer certificate, a chain that was
 * admitted and is still valid, under the credentials that are in force now, ours among them. Else
 * the failure is filled but for its reason.
 */
enum reason tls_peer_admit(struct tls_conn *tls) __attribute__((warn_unused_result));

#endif
