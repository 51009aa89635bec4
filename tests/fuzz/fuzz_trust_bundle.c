/* Fuzz target: a bundle file. What loads holds CA certificates only, sorted out and countable. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/assert.h"
#include "spiffe/crypto.h"
#include "spiffe/trust_bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made by the first input and kept: a library context per input would cost milliseconds. */
static const struct crypto *crypto_get(void)
{
    static struct crypto *crypto;
    struct errbuf err;
    if (crypto == NULL) {
        crypto = crypto_new(CRYPTO_FILTERED, &err);
        ASSERT(crypto != NULL);
    }
    return crypto;
}

static void check_bundle(const struct trust_bundle *bundle, const uint8_t *data, size_t size)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    char subject[64];
    size_t count = trust_bundle_count(bundle);
    ASSERT(count > 0 && trust_bundle_count_valid(bundle, 1800000000) <= count);
    ASSERT(memmem(data, size, begin, sizeof(begin) - 1) != NULL);
    ASSERT(memmem(data, size, "-----BEGIN PRIVATE KEY-----\n", 28) == NULL);
    ASSERT(trust_bundle_shares_anchor(bundle, bundle, subject, sizeof(subject)));
    STACK_OF(X509) *all = X509_STORE_get1_all_certs(trust_bundle_store(bundle));
    ASSERT((size_t)sk_X509_num(all) == count);
    for (int i = 0; i < sk_X509_num(all); i++) {
        uint8_t sha256[32];
        X509 *anchor = sk_X509_value(all, i);
        ASSERT((X509_get_extension_flags(anchor) & EXFLAG_CA) != 0);
        ASSERT((X509_get_key_usage(anchor) & KU_KEY_CERT_SIGN) != 0);
        ASSERT(X509_digest(anchor, EVP_sha256(), sha256, NULL) == 1);
        ASSERT(trust_bundle_has_anchor(bundle, sha256));
    }
    sk_X509_pop_free(all, X509_free);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errbuf err = {""};
    struct trust_bundle *bundle =
        trust_bundle_from_pem(crypto_get(), "prod.example", (const char *)data, size, &err);
    if (bundle != NULL) {
        check_bundle(bundle, data, size);
        trust_bundle_unref(bundle);
    } else {
        ASSERT(err.text[0] != '\0');
    }
    ASSERT(ERR_peek_error() == 0);
    return 0;
}
