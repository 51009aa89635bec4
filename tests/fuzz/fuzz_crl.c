/*
 * Fuzz target: a CRL file. What is accepted as DER libcrypto reads too, with the same entries:
 * each of its serials is found but those that are taken back, and no others.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "../../src/spiffe/crl_private.h"
#include "base/assert.h"
#include "spiffe/crl.h"
#include "spiffe/crypto.h"

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

/* Libcrypto's entry of ours: found in the table unless all of its serial are taken back. */
static void check_entry(const struct crl *crl, const X509_REVOKED *revoked)
{
    unsigned char *bytes = NULL;
    int len = i2d_ASN1_INTEGER(X509_REVOKED_get0_serialNumber(revoked), &bytes);
    struct der in = {bytes, len > 0 ? (size_t)len : 0};
    struct der_value serial;
    struct crl_entry entry;
    ASSERT(der_next_tagged(&in, DER_INTEGER, &serial));
    ASN1_ENUMERATED *code = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
    long reason = code != NULL ? ASN1_ENUMERATED_get(code) : CRL_NO_REASON_CODE;
    bool found = crl_find(crl, serial.body, &entry);
    ASSERT(found || reason == CRL_REMOVE_FROM_CRL);
    if (found) {
        int64_t date = 0;
        ASSERT(der_equal(entry.serial, serial.body));
        ASSERT(entry.reason_code != CRL_REMOVE_FROM_CRL);
        (void)crl_entry_date(&entry, &date);
    }
    ASN1_ENUMERATED_free(code);
    OPENSSL_free(bytes);
}

static void compare(const struct crl *crl)
{
    const unsigned char *cursor = crl->bytes;
    X509_CRL *theirs = d2i_X509_CRL(NULL, &cursor, (long)crl->len);
    ASSERT(theirs != NULL && cursor == crl->bytes + crl->len);
    ASSERT(X509_CRL_get0_nextUpdate(theirs) != NULL);
    ASSERT(X509_CRL_get_ext_by_NID(theirs, NID_delta_crl, -1) < 0);
    ASSERT(X509_NAME_cmp(X509_CRL_get_issuer(theirs), crl->issuer) == 0);
    ASSERT(crl->this_update < crl->next_update);
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(theirs);
    int count = sk_X509_REVOKED_num(entries);
    ASSERT(crl->revoked_count <= (size_t)(count > 0 ? count : 0));
    for (int i = 0; i < count && i < 50; i++) {
        check_entry(crl, sk_X509_REVOKED_value(entries, i));
    }
    X509_CRL_free(theirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errbuf err = {""};
    struct crl_set *set = crl_set_from_bytes(crypto_get(), (const char *)data, size, &err);
    if (set != NULL) {
        ASSERT(crl_set_count(set) > 0 && crl_set_next_update(set) < INT64_MAX);
        ERR_set_mark();
        for (size_t i = 0; i < crl_set_count(set); i++) {
            compare(set->crls[i]);
        }
        (void)ERR_pop_to_mark();
        crl_set_unref(set);
    } else {
        ASSERT(err.text[0] != '\0');
    }
    ASSERT(ERR_peek_error() == 0);
    return 0;
}
