/*
 * A library context of our own. OPENSSL_INIT_NO_LOAD_CONFIG comes before anything else in
 * libcrypto runs, so that not even the default context, which libraries below us may touch,
 * reads openssl.cnf; a context made with OSSL_LIB_CTX_new reads it only when told to.
 */
#include "spiffe/crypto.h"

#include "base/assert.h"
#include "base/memory.h"
#include "crypto_filter.h"
#include "crypto_host.h"
#include "spiffe/crypto_memory.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

struct crypto {
    OSSL_LIB_CTX *libctx;
    OSSL_PROVIDER *provider;      /* NULL: those that the host's configuration has loaded */
    struct crypto_filter *filter; /* NULL: nothing is filtered */
    enum crypto_provider kind;
    char *host_file;
};

static struct crypto *crypto_fail(struct crypto *crypto, const char *what, struct errbuf *err)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    errbuf_set(err, "libcrypto: %s: %s", what, why != NULL ? why : "unknown error");
    ERR_clear_error();
    crypto_free(crypto);
    return NULL;
}

static int load_default(struct crypto *crypto, struct errbuf *err)
{
    crypto->provider = OSSL_PROVIDER_load(crypto->libctx, "default");
    if (crypto->provider == NULL) {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        errbuf_set(err, "default provider: %s", why != NULL ? why : "unknown error");
        return -1;
    }
    return 0;
}

static int load_provider(struct crypto *crypto, struct errbuf *err)
{
    switch (crypto->kind) {
    case CRYPTO_FILTERED:
        crypto->filter = crypto_filter_new(crypto->libctx, &crypto->provider, err);
        return crypto->filter != NULL ? 0 : -1;
    case CRYPTO_STOCK:
        return load_default(crypto, err);
    case CRYPTO_SYSTEM:
        return crypto_host_load(crypto->libctx, &crypto->host_file, err);
    }
    ASSERT(false);
    return -1;
}

/* What fails later for want of it would fail in a handshake. */
static bool has_digest(const struct crypto *crypto)
{
    EVP_MD *digest = EVP_MD_fetch(crypto->libctx, "SHA256", NULL);
    EVP_MD_free(digest);
    return digest != NULL;
}

struct crypto *crypto_new(enum crypto_provider provider, struct errbuf *err)
{
    struct crypto *crypto = mem_alloc(sizeof(*crypto));

    crypto->kind = provider;
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
    if (load_provider(crypto, err) != 0) {
        errbuf_prefix(err, "libcrypto");
        ERR_clear_error();
        crypto_free(crypto);
        return NULL;
    }
    if (!has_digest(crypto)) {
        return crypto_fail(
            crypto,
            crypto_fips_enforced(crypto)
                ? "the host's OpenSSL configuration demands FIPS (default_properties) "
                  "and no FIPS module gives SHA-256"
                : "SHA-256",
            err);
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
    crypto_filter_free(crypto->filter);
    mem_free(crypto->host_file);
    mem_free(crypto);
}

enum crypto_provider crypto_provider(const struct crypto *crypto)
{
    return crypto->kind;
}

const char *crypto_host_file(const struct crypto *crypto)
{
    return crypto->host_file;
}

enum crypto_fips crypto_fips_wanted(void)
{
    return crypto_host_wants_fips();
}

bool crypto_fips_enforced(const struct crypto *crypto)
{
    return EVP_default_properties_is_fips_enabled(crypto->libctx) == 1;
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
