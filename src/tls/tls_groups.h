/*
 * tls_groups: key exchange: what is offered and taken, in which order, and what a session uses.
 *
 * X25519, P-256, P-384, P-521; and before them all, where libssl has it (3.5), X25519MLKEM768
 * (draft-ietf-tls-ecdhe-mlkem): X25519 and ML-KEM-768 (FIPS 203) together, so that what is recorded
 * today can't be read with a quantum computer of tomorrow unless both are broken. It is for TLS 1.3
 * alone.
 *
 * A client sends key shares (RFC 8446 4.2.8) for it and for X25519, so that a server that has only
 * the latter needs no second round. A server asks a client that names X25519MLKEM768 without a
 * share for one (HelloRetryRequest, RFC 8446 4.1.4), whatever other shares there are; among the
 * others it takes one that has a share. The list is made in tls_algorithms.
 */
#ifndef BULKHEAD_TLS_GROUPS_H
#define BULKHEAD_TLS_GROUPS_H

#include <openssl/ssl.h>

#include <stdbool.h>

/* Whether the libssl that runs us, which may be newer than the one that we were built with, is one
   that brings X25519MLKEM768. */
bool tls_groups_post_quantum(void);
/* Of the last handshake: a constant, "" when there was no key exchange that we know. */
const char *tls_groups_name(SSL *ssl);

#endif
