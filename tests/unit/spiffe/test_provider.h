/*
 * test_provider: which of libcrypto's algorithms a test runs with: BULKHEAD_TEST_PROVIDER, one of
 * the values of the key tls.provider; unset, the key's default. With "system" OPENSSL_CONF counts.
 */
#ifndef BULKHEAD_TESTS_TEST_PROVIDER_H
#define BULKHEAD_TESTS_TEST_PROVIDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spiffe/crypto.h"

static inline enum crypto_provider test_provider(void)
{
    const char *name = getenv("BULKHEAD_TEST_PROVIDER");
    if (name == NULL || strcmp(name, "filtered") == 0) {
        return CRYPTO_FILTERED;
    }
    if (strcmp(name, "stock") == 0) {
        return CRYPTO_STOCK;
    }
    if (strcmp(name, "system") != 0) {
        fprintf(stderr, "BULKHEAD_TEST_PROVIDER: \"%s\" is none\n", name);
        abort();
    }
    return CRYPTO_SYSTEM;
}

static inline struct crypto *test_crypto_new(struct errbuf *err)
{
    return crypto_new(test_provider(), err);
}

#endif
