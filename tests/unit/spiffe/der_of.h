/* der_of: what the Workload API would deliver: concatenated DER of certificates, PKCS#8 of a key.
 */
#ifndef BULKHEAD_TESTS_DER_OF_H
#define BULKHEAD_TESTS_DER_OF_H

#include "cert_builder.h"

struct der_text {
    uint8_t *data;
    size_t len;
};

/* Exactly as many bytes as there are, for the sanitizer; free() data. */
static inline struct der_text der_of(X509 *const *certificates)
{
    struct der_text text = {NULL, 0};
    for (size_t i = 0; certificates[i] != NULL; i++) {
        unsigned char *der = NULL;
        int len = i2d_X509(certificates[i], &der);
        CERT_MUST(len > 0);
        text.data = realloc(text.data, text.len + (size_t)len);
        CERT_MUST(text.data != NULL);
        memcpy(text.data + text.len, der, (size_t)len);
        text.len += (size_t)len;
        OPENSSL_free(der);
    }
    return text;
}

static inline struct der_text pkcs8_of(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    CERT_MUST(info != NULL);
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    CERT_MUST(len > 0);
    struct der_text text = {malloc((size_t)len), (size_t)len};
    CERT_MUST(text.data != NULL);
    memcpy(text.data, der, (size_t)len);
    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(info);
    return text;
}

#endif
