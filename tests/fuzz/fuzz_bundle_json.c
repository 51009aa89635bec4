/* Fuzz target: a bundle document. What loads holds CA certificates only, each of them in the
   text; JSON that can't be read refuses the whole. */
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
    uint64_t number = 0;
    size_t count = trust_bundle_count(bundle);
    ASSERT(size <= TRUST_BUNDLE_JSON_MAX && memmem(data, size, "\"", 1) != NULL);
    ASSERT(memchr(data, 0, size) == NULL);
    ASSERT(count == 0 || memmem(data, size, "M", 1) != NULL); /* base64 of 0x30 */
    ASSERT(trust_bundle_anchor(bundle, count) == NULL);
    if (trust_bundle_sequence(bundle, &number) || trust_bundle_refresh_hint_s(bundle, &number)) {
        ASSERT(number <= INT64_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t sha256[32];
        X509 *anchor = trust_bundle_anchor(bundle, i);
        ASSERT((X509_get_extension_flags(anchor) & EXFLAG_CA) != 0);
        ASSERT((X509_get_key_usage(anchor) & KU_KEY_CERT_SIGN) != 0);
        ASSERT(X509_digest(anchor, EVP_sha256(), sha256, NULL) == 1);
        ASSERT(trust_bundle_find_anchor(bundle, sha256) == anchor);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errbuf err = {""};
    struct trust_bundle *bundle =
        trust_bundle_from_json(crypto_get(), "prod.example", (const char *)data, size, &err);
    if (bundle != NULL) {
        check_bundle(bundle, data, size);
        trust_bundle_unref(bundle);
    } else {
        ASSERT(err.text[0] != '\0');
    }
    ASSERT(ERR_peek_error() == 0);
    return 0;
}
