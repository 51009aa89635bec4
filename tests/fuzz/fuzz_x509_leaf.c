/*
 * Fuzz target: bytes that a peer sent as its certificate. What is accepted as a leaf must be one
 * by facts that are read here once more, from other functions of libcrypto.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "../../src/spiffe/pem.h"
#include "base/assert.h"
#include "spiffe/credentials.h"
#include "spiffe/crypto.h"
#include "spiffe/svid_inspect.h"
#include "spiffe/svid_verify.h"
#include "spiffe/x509_svid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct crypto *crypto;
    struct credentials *nobody;
};

/* Made by the first input and kept: a library context per input would cost milliseconds. */
static const struct fuzz *fuzz_get(void)
{
    static struct fuzz fuzz;
    struct errbuf err;
    if (fuzz.crypto == NULL) {
        fuzz.crypto = crypto_new(CRYPTO_FILTERED, &err);
        ASSERT(fuzz.crypto != NULL);
        const struct credentials_parts nobody = {.domain_count = 0};
        fuzz.nobody = credentials_build(&nobody, &err);
        ASSERT(fuzz.nobody != NULL);
    }
    return &fuzz;
}

static void assert_is_leaf(X509 *leaf, const struct spiffe_id *id)
{
    ASSERT(X509_get_version(leaf) == 2);
    ASSERT(X509_check_ca(leaf) == 0);
    ASSERT((X509_get_key_usage(leaf) & (KU_DIGITAL_SIGNATURE | KU_KEY_CERT_SIGN | KU_CRL_SIGN)) ==
           KU_DIGITAL_SIGNATURE);
    ASSERT((X509_get_extension_flags(leaf) & (EXFLAG_INVALID | EXFLAG_CRITICAL)) == 0);
    int uris = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI) {
            uris++;
            const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
            ASSERT((size_t)ASN1_STRING_length(uri) == id->text.len);
            ASSERT(memcmp(ASN1_STRING_get0_data(uri), id->text.ptr, id->text.len) == 0);
        }
    }
    ASSERT(uris == 1);
    ASSERT(id->path.len > 1);
    GENERAL_NAMES_free(names);
}

static void check_certificate(const struct fuzz *fuzz, X509 *certificate)
{
    char text[SPIFFE_ID_MAX];
    struct spiffe_id id;
    struct svid_failure failure;
    struct svid_failure faults[4];
    enum reason reason = x509_svid_check_leaf(certificate, text, &id, &failure);
    ASSERT(failure.reason == reason);
    ASSERT((x509_svid_leaf_faults(certificate, faults, 4) == 0) == (reason == REASON_NONE));
    if (reason == REASON_NONE) {
        assert_is_leaf(certificate, &id);
    }
    (void)!x509_svid_check_signing(certificate, strview_from("prod.example"), &failure);
    int64_t from = 0;
    int64_t until = 0;
    (void)!x509_svid_validity(certificate, &from, &until);

    /* Nobody is trusted, so nothing may ever pass. */
    struct svid_verified verified;
    ASSERT(svid_verify(fuzz->crypto, fuzz->nobody, certificate, NULL, SVID_ROLE_CLIENT, 1800000000,
                       &verified, &failure) != REASON_NONE);
    ASSERT(failure.reason != REASON_NONE && verified.path == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct fuzz *fuzz = fuzz_get();
    X509 *certificate = pem_parse_der(fuzz->crypto, data, size);
    if (certificate != NULL) {
        check_certificate(fuzz, certificate);
        X509_free(certificate);
    }
    struct svid_inspection *inspection = malloc(sizeof(*inspection));
    struct errbuf err;
    ASSERT(inspection != NULL);
    (void)!svid_inspect(fuzz->crypto, data, size, fuzz->nobody, 1800000000, inspection, &err);
    free(inspection);
    ASSERT(ERR_peek_error() == 0);
    return 0;
}
