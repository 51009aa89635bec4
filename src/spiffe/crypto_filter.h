/*
 * crypto_filter: a provider that gives a library context the algorithms of libcrypto's default
 * provider that we use, and no other. The list, with a reason for each row, is in crypto_filter.c.
 *
 * For spiffe/ only. Any thread.
 */
#ifndef BULKHEAD_SPIFFE_CRYPTO_FILTER_H
#define BULKHEAD_SPIFFE_CRYPTO_FILTER_H

#include "base/errbuf.h"

#include <stdbool.h>
#include <stddef.h>

#include <openssl/types.h>

struct crypto_filter;

/*
 * Fills libctx, which is new and holds no provider; *provider is what it holds then, for the caller
 * to unload. NULL with the reason in err where memory is out or the default provider lacks a row
 * that must be there; libctx is then to be freed, not used.
 */
struct crypto_filter *crypto_filter_new(OSSL_LIB_CTX *libctx, OSSL_PROVIDER **provider,
                                        struct errbuf *err) __attribute__((warn_unused_result));
/* After the library context that it filled: the algorithms live here. NULL is fine. */
void crypto_filter_free(struct crypto_filter *filter);

/* The list, for tests: the row's operation (OSSL_OP_*), a name of the algorithm, and for an encoder
   or decoder what its properties hold (else NULL). False past the end. */
struct crypto_filter_row {
    int operation;
    const char *name;
    const char *properties;
    bool newer; /* not in every OpenSSL that we run with */
    const char *reason;
};
bool crypto_filter_row(size_t index, struct crypto_filter_row *row);

#endif
