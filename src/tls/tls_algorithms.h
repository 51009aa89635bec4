/*
 * tls_algorithms: versions, cipher suites, groups and signature algorithms of an SSL_CTX.
 *
 * For tls/ only. Control thread.
 */
#ifndef BULKHEAD_TLS_ALGORITHMS_H
#define BULKHEAD_TLS_ALGORITHMS_H

#include "base/errbuf.h"

#include <openssl/types.h>

struct crypto;

/*
 * Right after the SSL_CTX was made in crypto's library context. Ours, and nothing beside; with
 * CRYPTO_SYSTEM what the host's configuration has put into it counts where it is stricter: the
 * versions, the security level, the cipher suites (in our order). Its groups, its signature
 * algorithms and its options do not: libssl 3.0 does not tell them. -1 with err when nothing is
 * left to offer.
 */
int tls_algorithms_set(SSL_CTX *ssl_ctx, const struct crypto *crypto, struct errbuf *err)
    __attribute__((warn_unused_result));

#endif
