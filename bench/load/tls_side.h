/*
 * tls_side: the TLS of one side: its context, and whether the peer is who it should be.
 *
 * Independent of the program that is measured. A peer's certificate is verified in full (chain to
 * the bundle, times, purpose, exactly one URI SAN and that the expected SPIFFE ID) when it is seen
 * for the first time, and remembered: the generator shall be lighter than what it measures. That
 * the peer has the key is verified by every full handshake. A resumed session carries the verdict.
 */
#ifndef BENCH_LOAD_TLS_SIDE_H
#define BENCH_LOAD_TLS_SIDE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "load/options.h"

enum { TLS_KNOWN_MAX = 16, TLS_TEXT_SIZE = 512 };

struct tls_side {
    SSL_CTX *ctx;
    const char *expect; /* NULL: any SPIFFE ID */
    X509 *known[TLS_KNOWN_MAX];
    unsigned known_count;
    uint64_t wrong_identity;
    char why[TLS_TEXT_SIZE]; /* of the last refusal of an identity */
};

/* NULL with the reason on stderr. */
struct tls_side *tls_side_new(const struct options *o);
void tls_side_free(struct tls_side *side);
/* The side that an SSL belongs to. */
struct tls_side *tls_side_of(const SSL *ssl);
/* Takes the first error out of OpenSSL's queue, clears the rest. Returns out. */
const char *tls_error_text(char *out, size_t size);

#endif
