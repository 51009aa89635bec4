/*
 * crypto: the OpenSSL library context of the process, private to us.
 *
 * The host's openssl.cnf, OPENSSL_CONF, SSL_CERT_FILE and the like change nothing in it. Made
 * once at start, shared by all threads, freed last. Keys and anchors are loaded in it.
 */
#ifndef BULKHEAD_SPIFFE_CRYPTO_H
#define BULKHEAD_SPIFFE_CRYPTO_H

#include "base/errbuf.h"

struct crypto;
struct ossl_lib_ctx_st;

struct crypto *crypto_new(struct errbuf *err);
void crypto_free(struct crypto *crypto);
struct ossl_lib_ctx_st *crypto_libctx(const struct crypto *crypto);
/* Build-time and run-time version texts of libcrypto. */
const char *crypto_build_version(void);
const char *crypto_run_version(void);

#endif
