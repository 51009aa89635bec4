/* Unit tests of trust_bundle and credentials: what may vouch for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cert_builder.h"
#include "credentials_of.h"
#include "der_of.h"
#include "spiffe/credentials.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *key, *other_key;
    X509 *root, *other, *leaf;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->key = cert_ec_key(f->crypto, "P-256");
    f->other_key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    f->root = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    f->other = cert_build(f->crypto, &spec, f->other_key, NULL, NULL);
    spec = cert_leaf("spiffe://prod.example/web");
    f->leaf = cert_build(f->crypto, &spec, f->key, f->root, f->key);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    X509_free(f->root);
    X509_free(f->other);
    X509_free(f->leaf);
    EVP_PKEY_free(f->key);
    EVP_PKEY_free(f->other_key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

static struct trust_bundle *bundle_of(struct fixture *f, const char *domain, X509 *const *anchors)
{
    struct errbuf err;
    char *pem = cert_pem(anchors);
    struct trust_bundle *bundle = trust_bundle_from_pem(f->crypto, domain, pem, strlen(pem), &err);
    free(pem);
    return bundle;
}

static void assert_refused(struct fixture *f, const char *domain, const char *pem,
                           const char *message)
{
    struct errbuf err = {""};
    assert_null(trust_bundle_from_pem(f->crypto, domain, pem, strlen(pem), &err));
    if (strstr(err.text, message) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, message);
    }
}

static void assert_certificate_refused(struct fixture *f, X509 *certificate, const char *message)
{
    X509 *const list[] = {f->root, certificate, NULL};
    char *pem = cert_pem(list);
    assert_refused(f, "prod.example", pem, message);
    free(pem);
}

static void test_order_and_duplicates_dont_matter(void **state)
{
    struct fixture *f = *state;
    X509 *const lists[][5] = {{f->root, f->other, NULL},
                              {f->other, f->root, NULL},
                              {f->root, f->other, f->root, f->root, NULL}};
    for (size_t i = 0; i < 3; i++) {
        uint8_t sha256[32];
        struct trust_bundle *bundle = bundle_of(f, "prod.example", lists[i]);
        assert_non_null(bundle);
        assert_int_equal(trust_bundle_count(bundle), 2);
        assert_true(strview_equal_text(trust_bundle_domain(bundle), "prod.example"));
        assert_int_equal(X509_digest(f->other, EVP_sha256(), sha256, NULL), 1);
        assert_true(trust_bundle_has_anchor(bundle, sha256));
        sha256[0] ^= 1;
        assert_false(trust_bundle_has_anchor(bundle, sha256));
        assert_true(trust_bundle_has_namesakes(bundle));
        trust_bundle_unref(bundle);
    }
}

static void test_text_around_blocks_is_fine(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    char *root = cert_pem_one(f->root);
    char text[4096];
    int len = snprintf(text, sizeof(text), "# prod roots\n  Subject: CN=root\n%s\n\ntail\n", root);
    struct trust_bundle *bundle =
        trust_bundle_from_pem(f->crypto, "prod.example", text, (size_t)len, &err);
    assert_non_null(bundle);
    assert_int_equal(trust_bundle_count(bundle), 1);
    assert_false(trust_bundle_has_namesakes(bundle));
    trust_bundle_unref(bundle);
    free(root);
}

static void test_expired_anchors_are_kept_and_counted_apart(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("old");
    spec.not_before = 1000;
    spec.not_after = 2000;
    X509 *old = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    X509 *const list[] = {old, f->root, NULL};
    struct trust_bundle *bundle = bundle_of(f, "prod.example", list);
    assert_non_null(bundle);
    assert_int_equal(trust_bundle_count(bundle), 2);
    assert_int_equal(trust_bundle_count_valid(bundle, CERT_NOW), 1);
    assert_int_equal(trust_bundle_count_valid(bundle, 999), 0);
    assert_int_equal(trust_bundle_count_valid(bundle, 1000), 1);
    assert_int_equal(trust_bundle_count_valid(bundle, 2000), 0); /* as libcrypto sees it */
    trust_bundle_unref(bundle);
    X509_free(old);
}

/* No path ends at an intermediate, so it keeps nobody's door open behind an expired root. */
static void test_intermediates_are_not_counted_as_valid(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("old");
    spec.not_after = CERT_NOW - 1;
    X509 *old = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    spec = cert_ca("intermediate");
    X509 *intermediate = cert_build(f->crypto, &spec, f->other_key, old, f->key);
    X509 *const list[] = {old, intermediate, NULL};
    struct trust_bundle *bundle = bundle_of(f, "prod.example", list);
    assert_non_null(bundle);
    assert_int_equal(trust_bundle_count(bundle), 2);
    assert_int_equal(trust_bundle_count_valid(bundle, CERT_NOW - 1), 0);
    assert_int_equal(trust_bundle_count_valid(bundle, CERT_NOW - 2), 1);
    trust_bundle_unref(bundle);
    X509_free(intermediate);
    X509_free(old);
}

static void test_refuses_broken_files(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "prod.example", "", "no PEM certificate");
    assert_refused(f, "prod.example", "\n# nothing\n", "no PEM certificate");
    assert_refused(f, "Prod.example", "", "upper case");
    assert_refused(f, "", "", "empty");

    char *root = cert_pem_one(f->root);
    char text[8192];
    (void)snprintf(text, sizeof(text), "%s%.*s", root, (int)strlen(root) / 2, root);
    assert_refused(f, "prod.example", text, "without its END");
    (void)snprintf(text, sizeof(text), "%s", root + 30);
    assert_refused(f, "prod.example", text, "without its BEGIN");
    (void)snprintf(text, sizeof(text), "%s", root);
    text[100] = '*';
    assert_refused(f, "prod.example", text, "decoded");

    char *key = cert_key_pem(f->key, NULL);
    (void)snprintf(text, sizeof(text), "%s%s", root, key);
    assert_refused(f, "prod.example", text, "a private key");
    free(key);

    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    CERT_MUST(PEM_write_bio_X509_AUX(bio, f->root) == 1);
    long len = BIO_get_mem_data(bio, &data);
    (void)snprintf(text, sizeof(text), "%.*s", (int)len, data);
    BIO_free(bio);
    assert_refused(f, "prod.example", text, "TRUSTED CERTIFICATE");
    assert_refused(f, "prod.example", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
                   "X509 CRL");
    free(root);
}

/* CVE-2024-2048: a leaf that was taken for an anchor. */
static void test_refuses_what_is_no_ca(void **state)
{
    struct fixture *f = *state;
    assert_certificate_refused(f, f->leaf, "basicConstraints lack cA=true; a bundle holds the CA");

    struct cert_spec spec = cert_leaf("spiffe://prod.example/web");
    X509 *certificate = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    assert_certificate_refused(f, certificate, "basicConstraints lack cA=true");
    X509_free(certificate);

    spec = cert_ca("no sign");
    spec.key_usage = "critical,digitalSignature";
    certificate = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    assert_certificate_refused(f, certificate, "keyUsage: digitalSignature");
    X509_free(certificate);

    spec = cert_ca("version 1");
    spec.version = 0;
    spec.no_extensions = true;
    certificate = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    assert_certificate_refused(f, certificate, "version 1");
    X509_free(certificate);
}

static void test_refuses_anchors_with_a_foreign_id(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *id, *message;
    } cases[] = {
        {"spiffe://partner.example", "partner.example"},
        {"spiffe://prod.example/ca", "has a path"},
        {"spiffe://prod.example/", "'/' at the end"},
        {"SPIFFE://prod.example", "lower case"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cert_spec spec = cert_ca("with id");
        cert_add_name(&spec, GEN_URI, cases[i].id, 0);
        X509 *certificate = cert_build(f->crypto, &spec, f->key, NULL, NULL);
        assert_certificate_refused(f, certificate, cases[i].message);
        X509_free(certificate);
    }
}

static void test_refuses_a_bundle_without_a_root(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("intermediate");
    X509 *intermediate = cert_build(f->crypto, &spec, f->other_key, f->root, f->key);
    char *pem = cert_pem_one(intermediate);
    assert_refused(f, "prod.example", pem, "no self-signed");
    free(pem);
    X509 *const list[] = {intermediate, f->root, NULL};
    struct trust_bundle *bundle = bundle_of(f, "prod.example", list);
    assert_non_null(bundle);
    trust_bundle_unref(bundle);
    X509_free(intermediate);
}

/* A bundle may come from another organisation, and whoever reads it must not be held up by it. */
static void test_refuses_more_anchors_than_there_may_be(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    X509 *list[TRUST_BUNDLE_ANCHORS_MAX + 2] = {NULL};
    for (size_t i = 0; i < TRUST_BUNDLE_ANCHORS_MAX; i++) {
        list[i] = i % 2 == 0 ? f->root : f->other;
    }
    struct trust_bundle *bundle = bundle_of(f, "prod.example", list);
    assert_non_null(bundle);
    assert_int_equal(trust_bundle_count(bundle), 2);
    trust_bundle_unref(bundle);
    list[TRUST_BUNDLE_ANCHORS_MAX] = f->root;
    char *pem = cert_pem(list);
    assert_refused(f, "prod.example", pem, "more than 256 certificates");
    free(pem);
    struct der_text der = der_of(list);
    assert_null(trust_bundle_from_der(f->crypto, "prod.example", der.data, der.len, &err));
    assert_string_equal(err.text, "certificate 257: more than 256 certificates in one bundle");
    free(der.data);
}

static void test_credentials_choose_by_exact_domain(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    X509 *anchors[7];
    struct trust_bundle *bundles[7];
    static const char *const domains[7] = {"prod.example", "b", "a.example",  "prod.example.org",
                                           "prod",         "z", "prod.exampl"};
    for (size_t i = 0; i < 7; i++) {
        struct cert_spec spec = cert_ca(domains[i]);
        EVP_PKEY *key = cert_ec_key(f->crypto, "P-256");
        anchors[i] = cert_build(f->crypto, &spec, key, NULL, NULL);
        EVP_PKEY_free(key);
        X509 *const list[] = {anchors[i], NULL};
        bundles[i] = bundle_of(f, domains[i], list);
        assert_non_null(bundles[i]);
    }
    struct credentials *credentials = credentials_of(NULL, bundles, 7, 42, &err);
    assert_non_null(credentials);
    assert_int_equal(credentials_generation(credentials), 42);
    assert_null(credentials_own(credentials));
    for (size_t i = 0; i < 7; i++) {
        assert_ptr_equal(credentials_bundle(credentials, strview_from(domains[i])), bundles[i]);
    }
    static const char *const absent[] = {"",   "a",           "c", "prod.Example", "prod.example.",
                                         "zz", "prod.exampla"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        assert_null(credentials_bundle(credentials, strview_from(absent[i])));
    }
    struct strview with_nul = {"prod.example\0", 13};
    assert_null(credentials_bundle(credentials, with_nul));

    assert_ptr_equal(credentials_ref(credentials), credentials);
    credentials_unref(credentials);
    for (size_t i = 0; i < 7; i++) {
        trust_bundle_unref(bundles[i]); /* the credentials have their own references */
        X509_free(anchors[i]);
    }
    assert_non_null(credentials_bundle(credentials, strview_from("z")));
    credentials_unref(credentials);
    credentials_unref(NULL);
}

static void test_credentials_without_bundles_trust_nobody(void **state)
{
    (void)state;
    struct errbuf err;
    struct credentials *credentials = credentials_of(NULL, NULL, 0, 1, &err);
    assert_non_null(credentials);
    assert_null(credentials_bundle(credentials, strview_from("prod.example")));
    credentials_unref(credentials);
}

/* Federation 4.2, 7.3. */
static void test_credentials_refuse_a_shared_anchor(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    char subject[64];
    X509 *const one[] = {f->root, f->other, NULL};
    X509 *const two[] = {f->other, NULL};
    X509 *const three[] = {f->root, NULL};
    struct trust_bundle *prod = bundle_of(f, "prod.example", one);
    struct trust_bundle *partner = bundle_of(f, "partner.example", two);
    struct trust_bundle *third = bundle_of(f, "third.example", three);
    struct trust_bundle *again = bundle_of(f, "partner.example", three);
    struct trust_bundle *const shared[] = {third, partner, prod};
    assert_null(credentials_of(NULL, shared, 3, 1, &err));
    assert_non_null(strstr(err.text, "share the anchor \"CN=root\""));
    struct trust_bundle *const twice[] = {partner, again};
    assert_null(credentials_of(NULL, twice, 2, 1, &err));
    assert_non_null(strstr(err.text, "twice"));
    assert_true(trust_bundle_shares_anchor(prod, partner, subject, sizeof(subject)));
    assert_string_equal(subject, "CN=root");
    assert_false(trust_bundle_shares_anchor(third, partner, subject, sizeof(subject)));
    struct trust_bundle *const apart[] = {partner, third};
    struct credentials *credentials = credentials_of(NULL, apart, 2, 1, &err);
    assert_non_null(credentials);
    credentials_unref(credentials);
    trust_bundle_unref(prod);
    trust_bundle_unref(partner);
    trust_bundle_unref(third);
    trust_bundle_unref(again);
    trust_bundle_unref(NULL);
}

/* The same key, certified twice, as self-signed roots, with a compressed point, by another CA. */
static void test_a_key_in_two_bundles_is_a_shared_anchor(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    char subject[64];
    struct cert_spec spec = cert_ca("a root");
    X509 *a = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    spec = cert_ca("b root");
    X509 *b = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    spec.not_after++;
    EVP_PKEY *compressed = EVP_PKEY_dup(f->key);
    CERT_MUST(EVP_PKEY_set_utf8_string_param(compressed, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                             "compressed") == 1);
    X509 *short_form = cert_build(f->crypto, &spec, compressed, NULL, NULL);
    X509 *below = cert_build(f->crypto, &spec, f->key, f->other, f->other_key);
    X509 *const lists[][3] = {{b}, {short_form}, {f->other, below}};
    X509 *const one[] = {a, NULL};
    struct trust_bundle *first = bundle_of(f, "a.example", one);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct trust_bundle *second = bundle_of(f, "b.example", lists[i]);
        assert_non_null(second);
        assert_true(trust_bundle_shares_anchor(first, second, subject, sizeof(subject)));
        assert_string_equal(subject, "CN=a root");
        assert_true(trust_bundle_shares_anchor(second, first, subject, sizeof(subject)));
        struct trust_bundle *const both[] = {first, second};
        assert_null(credentials_of(NULL, both, 2, 1, &err));
        assert_non_null(strstr(err.text, "a key of its own"));
        trust_bundle_unref(second);
    }
    X509 *const two[] = {b, a, NULL}; /* within one domain it is fine: a root was made anew */
    struct trust_bundle *renewed = bundle_of(f, "a.example", two);
    assert_non_null(renewed);
    assert_int_equal(trust_bundle_count(renewed), 2);
    trust_bundle_unref(renewed);
    trust_bundle_unref(first);
    X509_free(a);
    X509_free(b);
    X509_free(short_form);
    X509_free(below);
    EVP_PKEY_free(compressed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_duplicates_dont_matter),
        cmocka_unit_test(test_text_around_blocks_is_fine),
        cmocka_unit_test(test_expired_anchors_are_kept_and_counted_apart),
        cmocka_unit_test(test_intermediates_are_not_counted_as_valid),
        cmocka_unit_test(test_refuses_broken_files),
        cmocka_unit_test(test_refuses_what_is_no_ca),
        cmocka_unit_test(test_refuses_anchors_with_a_foreign_id),
        cmocka_unit_test(test_refuses_a_bundle_without_a_root),
        cmocka_unit_test(test_refuses_more_anchors_than_there_may_be),
        cmocka_unit_test(test_credentials_choose_by_exact_domain),
        cmocka_unit_test(test_credentials_without_bundles_trust_nobody),
        cmocka_unit_test(test_credentials_refuse_a_shared_anchor),
        cmocka_unit_test(test_a_key_in_two_bundles_is_a_shared_anchor),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
