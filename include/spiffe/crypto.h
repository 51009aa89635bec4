/*
 * crypto: the OpenSSL library context of the process, private to us, and whose algorithms it has.
 *
 *   CRYPTO_FILTERED  those of libcrypto's default provider that we use, by a list; nothing else can
 *                    be fetched. The host's openssl.cnf, OPENSSL_CONF, SSL_CERT_FILE and the like
 *                    change nothing
 *   CRYPTO_STOCK     the whole default provider; the host's configuration changes nothing
 *   CRYPTO_SYSTEM    what the host's OpenSSL configuration says (providers, properties, limits of
 *                    libssl), for FIPS modules and keys in hardware. It can narrow what we accept
 *                    and never widen it (tls/tls_context.h)
 *
 * Made once at start, shared by all threads, freed last. Keys and anchors are loaded in it.
 */
#ifndef BULKHEAD_SPIFFE_CRYPTO_H
#define BULKHEAD_SPIFFE_CRYPTO_H

#include "base/errbuf.h"

#include <stdbool.h>

struct crypto;
struct ossl_lib_ctx_st;

enum crypto_provider { CRYPTO_FILTERED = 0, CRYPTO_STOCK, CRYPTO_SYSTEM };

/* NULL with the reason in err: there is no cryptography then, and nothing may go on without it. */
struct crypto *crypto_new(enum crypto_provider provider, struct errbuf *err);
void crypto_free(struct crypto *crypto);
struct ossl_lib_ctx_st *crypto_libctx(const struct crypto *crypto);
enum crypto_provider crypto_provider(const struct crypto *crypto);
/* What was read of the host with CRYPTO_SYSTEM; NULL: nothing. */
const char *crypto_host_file(const struct crypto *crypto);

/* How the host's OpenSSL configuration asks for FIPS. */
enum crypto_fips {
    CRYPTO_FIPS_NONE = 0,
    CRYPTO_FIPS_PROVIDER,  /* the module is activated */
    CRYPTO_FIPS_PROPERTIES /* and by default nothing else is to be taken */
};
/* At start, whichever provider is ours: it is looked up, and honoured with CRYPTO_SYSTEM alone. */
enum crypto_fips crypto_fips_wanted(void);
/* Whether by default every algorithm of the context comes from a FIPS module. */
bool crypto_fips_enforced(const struct crypto *crypto);

/* Build-time and run-time version texts of libcrypto. */
const char *crypto_build_version(void);
const char *crypto_run_version(void);

#endif
