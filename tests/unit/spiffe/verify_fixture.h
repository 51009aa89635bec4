/*
 * verify_fixture: two trust domains with a CA each, an intermediate of the first, and verification
 * of a list of certificates in either role. Include cmocka.h first.
 */
#ifndef BULKHEAD_TESTS_VERIFY_FIXTURE_H
#define BULKHEAD_TESTS_VERIFY_FIXTURE_H

#include "cert_builder.h"
#include "credentials_of.h"
#include "spiffe/credentials.h"
#include "spiffe/svid_verify.h"
#include "spiffe/trust_bundle.h"

#include <openssl/err.h>

#define ID      "spiffe://prod.example/ns/shop/sa/web"
#define PARTNER "spiffe://partner.example/web"

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *root_key, *partner_key, *intermediate_key, *key, *spare_key;
    X509 *root, *partner, *intermediate;
    struct credentials *credentials; /* prod.example and partner.example */
};

static inline struct credentials *credentials_with(struct fixture *f, X509 *const *prod)
{
    struct errbuf err;
    struct trust_bundle *bundles[2];
    X509 *const partner[] = {f->partner, NULL};
    char *pem = cert_pem(prod);
    bundles[0] = trust_bundle_from_pem(f->crypto, "prod.example", pem, strlen(pem), &err);
    free(pem);
    pem = cert_pem(partner);
    bundles[1] = trust_bundle_from_pem(f->crypto, "partner.example", pem, strlen(pem), &err);
    free(pem);
    CERT_MUST(bundles[0] != NULL && bundles[1] != NULL);
    struct credentials *credentials = credentials_of(NULL, bundles, 2, 1, &err);
    CERT_MUST(credentials != NULL);
    trust_bundle_unref(bundles[0]);
    trust_bundle_unref(bundles[1]);
    return credentials;
}

static inline int verify_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->root_key = cert_ec_key(f->crypto, "P-256");
    f->partner_key = cert_ec_key(f->crypto, "P-256");
    f->intermediate_key = cert_ec_key(f->crypto, "P-256");
    f->key = cert_ec_key(f->crypto, "P-256");
    f->spare_key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("prod root");
    f->root = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    spec = cert_ca("partner root");
    f->partner = cert_build(f->crypto, &spec, f->partner_key, NULL, NULL);
    spec = cert_ca("intermediate");
    cert_add_name(&spec, GEN_URI, "spiffe://prod.example", 0);
    f->intermediate = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    X509 *const prod[] = {f->root, NULL};
    f->credentials = credentials_with(f, prod);
    *state = f;
    return 0;
}

static inline int verify_teardown(void **state)
{
    struct fixture *f = *state;
    credentials_unref(f->credentials);
    X509_free(f->root);
    X509_free(f->partner);
    X509_free(f->intermediate);
    EVP_PKEY_free(f->root_key);
    EVP_PKEY_free(f->partner_key);
    EVP_PKEY_free(f->intermediate_key);
    EVP_PKEY_free(f->key);
    EVP_PKEY_free(f->spare_key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

/* Verifies list[0] with the rest as untrusted (NULL ends it); the leaf is in the list, as
   libssl's is. */
static inline enum reason verify_under(struct fixture *f, const struct credentials *credentials,
                                       X509 *const *list, enum svid_role role, int64_t now_s,
                                       struct svid_failure *failure)
{
    struct svid_verified verified;
    STACK_OF(X509) *chain = sk_X509_new_null();
    for (size_t i = 0; list[i] != NULL; i++) {
        CERT_MUST(sk_X509_push(chain, list[i]) > 0);
    }
    enum reason reason =
        svid_verify(f->crypto, credentials, list[0], chain, role, now_s, &verified, failure);
    assert_int_equal(failure->reason, reason);
    if (reason == REASON_NONE) {
        assert_non_null(verified.path);
        assert_ptr_equal(verified.bundle,
                         credentials_bundle(credentials, verified.id.trust_domain));
        assert_true(verified.not_before <= now_s && now_s < verified.not_after);
    } else {
        assert_null(verified.path);
        assert_int_equal(verified.id.text.len, 0);
    }
    svid_verified_fini(&verified);
    sk_X509_free(chain);
    assert_int_equal(ERR_peek_error(), 0); /* nothing is left for the next connection */
    return reason;
}

static inline enum reason verify(struct fixture *f, X509 *const *list, struct svid_failure *failure)
{
    enum reason client = verify_under(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, failure);
    enum reason server = verify_under(f, f->credentials, list, SVID_ROLE_SERVER, CERT_NOW, failure);
    assert_int_equal(client, server);
    return server;
}

static inline X509 *leaf_of(struct fixture *f, X509 *issuer, EVP_PKEY *issuer_key)
{
    struct cert_spec spec = cert_leaf(ID);
    return cert_build(f->crypto, &spec, f->key, issuer, issuer_key);
}

static inline void expect(enum reason actual, enum reason expected,
                          const struct svid_failure *failure)
{
    if (actual != expected) {
        fail_msg("%s (%s), expected %s", reason_label(actual), failure->detail,
                 reason_label(expected));
    }
}

#endif
