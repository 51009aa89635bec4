/*
 * tls_context_private: struct tls_context, for src/tls/ only.
 */
#ifndef BULKHEAD_TLS_CONTEXT_PRIVATE_H
#define BULKHEAD_TLS_CONTEXT_PRIVATE_H

#include "tls/tls_context.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>

#include <stdatomic.h>
#include <stdint.h>

enum { TLS_NAME_HASH_SIZE = 24 };

struct tls_context {
    atomic_size_t references;
    SSL_CTX *ssl_ctx;
    bool server;
    bool alpn_required;
    char **alpn;
    size_t alpn_count;
    struct tls_session_store *sessions; /* NULL: nothing is resumed */
    EVP_MD *sha256;
    uint64_t serial;                       /* no two contexts of the process have the same */
    uint8_t name_hash[TLS_NAME_HASH_SIZE]; /* of role and listener's name: SHA-256, cut */
};

#endif
