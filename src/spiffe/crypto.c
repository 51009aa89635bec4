/*
 * A library context of our own. OPENSSL_INIT_NO_LOAD_CONFIG comes before anything else in
 * libcrypto runs, so that not even the default context, which libraries below us may touch,
 * reads openssl.cnf; a context made with OSSL_LIB_CTX_new reads it only when told to.
 */
#include "spiffe/crypto.h"

#include "base/memory.h"
#include "spiffe/crypto_memory.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

struct crypto {
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *provider;
};

static struct crypto *crypto_fail(struct crypto *crypto, const char *what, struct errbuf *err)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    errbuf_set(err, "libcrypto: %s: %s", what, why != NULL ? why : "unknown error");
    ERR_clear_error();
    crypto_free(crypto);
    return NULL;
}

struct crypto *crypto_new(struct errbuf *err)
{
    struct crypto *crypto = mem_alloc(sizeof(*crypto));

    if (!crypto_memory_install()) {
        return crypto_fail(crypto, "it was used before it was set up", err);
    }
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1) {
        return crypto_fail(crypto, "initialisation", err);
    }
    crypto->libctx = OSSL_LIB_CTX_new();
    if (crypto->libctx == NULL) {
        return crypto_fail(crypto, "library context", err);
    }
    crypto->provider = OSSL_PROVIDER_load(crypto->libctx, "default");
    if (crypto->provider == NULL) {
        return crypto_fail(crypto, "default provider", err);
    }
    /* A generator that cannot be seeded must stop the start, not the first handshake. */
    unsigned char probe[16];
    if (RAND_bytes_ex(crypto->libctx, probe, sizeof(probe), 0) != 1) {
        return crypto_fail(crypto, "random numbers", err);
    }
    OPENSSL_cleanse(probe, sizeof(probe));
    return crypto;
}

void crypto_free(struct crypto *crypto)
{
    if (crypto == NULL) {
        return;
    }
    if (crypto->provider != NULL) {
        (void)OSSL_PROVIDER_unload(crypto->provider); /* fails only for a NULL provider */
    }
    OSSL_LIB_CTX_free(crypto->libctx);
    mem_free(crypto);
}

OSSL_LIB_CTX *crypto_libctx(const struct crypto *crypto)
{
    return crypto->libctx;
}

const char *crypto_build_version(void)
{
    return OPENSSL_VERSION_TEXT;
}

const char *crypto_run_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
