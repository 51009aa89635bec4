/*
 * SSL_CTX_new_ex starts from what a host's configuration may have put into libssl's global state,
 * so everything that matters is set anew (the algorithms in tls_algorithms.c), options and modes
 * after clearing them all.
 *
 * Off, and why: renegotiation (CVE-2009-3555, CVE-2021-3449), compression (CVE-2012-4929), early
 * data (replayable, RFC 8446 8), stateless tickets and the resumption of TLS 1.2, static RSA and
 * finite-field DH, SHA-1, TLS below 1.2 (RFC 8996). SSL_MODE_NO_AUTO_CHAIN: without it libssl
 * builds and verifies our own chain in every handshake. No SSL_MODE_ENABLE_PARTIAL_WRITE: a write
 * into memory takes all. No SSL_MODE_AUTO_RETRY: records without data come back to us one by one,
 * to be counted.
 */
#include "tls_context_private.h"

#include "base/assert.h"
#include "base/memory.h"
#include "spiffe/crypto.h"
#include "spiffe/svid_verify.h"
#include "tls/tls_session_store.h"
#include "tls_algorithms.h"
#include "tls_error.h"
#include "tls_hello.h"
#include "tls_resumption.h"
#include "tls_verify.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <stdio.h>
#include <string.h>

static int fail(struct errbuf *err, const char *what)
{
    struct tls_error error;
    tls_error_take(&error);
    errbuf_set(err, "libssl: %s: %s", what,
               error.detail[0] != '\0' ? error.detail : "unknown error");
    return -1;
}

static int set_behaviour(SSL_CTX *ssl_ctx, struct errbuf *err)
{
    (void)SSL_CTX_clear_options(ssl_ctx, SSL_CTX_get_options(ssl_ctx));
    (void)SSL_CTX_set_options(ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                           SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    (void)SSL_CTX_clear_mode(ssl_ctx, SSL_CTX_get_mode(ssl_ctx));
    (void)SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_max_cert_list(ssl_ctx, SVID_CHAIN_BYTES_MAX);
    SSL_CTX_set_read_ahead(ssl_ctx, 0);
    if (SSL_CTX_set_num_tickets(ssl_ctx, 0) != 1 || SSL_CTX_set_max_early_data(ssl_ctx, 0) != 1) {
        return fail(err, "tickets and early data");
    }
    return 0;
}

static int hash_name(struct tls_context *context, const struct crypto *crypto, const char *name,
                     struct errbuf *err)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    size_t size = sizeof("server ") + (name != NULL ? strlen(name) : 0);
    char *text = mem_alloc(size);
    (void)snprintf(text, size, "%s %s", context->server ? "server" : "client",
                   name != NULL ? name : "");
    context->sha256 = EVP_MD_fetch(crypto_libctx(crypto), "SHA256", NULL);
    bool hashed = context->sha256 != NULL &&
                  EVP_Digest(text, strlen(text), digest, NULL, context->sha256, NULL) == 1;
    mem_free(text);
    if (!hashed) {
        return fail(err, "SHA-256");
    }
    memcpy(context->name_hash, digest, sizeof(context->name_hash));
    return 0;
}

static void copy_settings(struct tls_context *context, const struct tls_settings *settings)
{
    context->server = settings->server;
    context->sessions =
        settings->sessions != NULL ? tls_session_store_ref(settings->sessions) : NULL;
    context->alpn_required = settings->server && settings->alpn_required;
    context->alpn_count = settings->alpn_count;
    context->alpn = mem_alloc_array(settings->alpn_count + 1, sizeof(*context->alpn));
    for (size_t i = 0; i < settings->alpn_count; i++) {
        context->alpn[i] = mem_strdup(settings->alpn[i]);
    }
}

static int make_ssl_ctx(struct tls_context *context, const struct crypto *crypto,
                        struct errbuf *err)
{
    /* The first call into libssl decides whether openssl.cnf is read. */
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1) {
        return fail(err, "initialisation");
    }
    context->ssl_ctx = SSL_CTX_new_ex(crypto_libctx(crypto), NULL,
                                      context->server ? TLS_server_method() : TLS_client_method());
    if (context->ssl_ctx == NULL) {
        return fail(err, "context");
    }
    if (tls_algorithms_set(context->ssl_ctx, crypto, err) != 0 ||
        set_behaviour(context->ssl_ctx, err) != 0) {
        return -1;
    }
    tls_verify_init(context->ssl_ctx, context->server);
    tls_resumption_init(context);
    return tls_hello_init(context, err);
}

static void destroy(struct tls_context *context)
{
    SSL_CTX_free(context->ssl_ctx);
    EVP_MD_free(context->sha256);
    tls_session_store_unref(context->sessions);
    for (size_t i = 0; i < context->alpn_count; i++) {
        mem_free(context->alpn[i]);
    }
    mem_free(context->alpn);
    mem_free(context);
}

struct tls_context *tls_context_new(const struct crypto *crypto,
                                    const struct tls_settings *settings, struct errbuf *err)
{
    struct tls_context *context = mem_alloc(sizeof(*context));
    static atomic_uint_fast64_t serials;
    atomic_init(&context->references, 1);
    context->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed);
    copy_settings(context, settings);
    tls_error_clear();
    if (make_ssl_ctx(context, crypto, err) != 0 ||
        hash_name(context, crypto, settings->name, err) != 0) {
        destroy(context);
        return NULL;
    }
    return context;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    size_t before = atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL) {
        return;
    }
    size_t before = atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1) {
        destroy(context);
    }
}

const char *tls_build_version(void)
{
    return OPENSSL_VERSION_TEXT;
}

const char *tls_run_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
