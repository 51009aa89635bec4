/* What comes in DER: x509_svid_from_der, signer_from_pkcs8, trust_bundle_from_der; and bundles
   compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "der_of.h"
#include "verify_fixture.h"

#include "spiffe/signer.h"
#include "spiffe/x509_svid.h"

static void assert_why(const struct errbuf *err, const char *why)
{
    if (strstr(err->text, why) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", why, err->text);
    }
}

static struct x509_svid *load(struct fixture *f, X509 *const *chain, EVP_PKEY *key,
                              struct errbuf *err)
{
    struct der_text chain_der = der_of(chain);
    struct der_text key_der = pkcs8_of(key);
    struct x509_svid *svid = x509_svid_from_der(f->crypto, chain_der.data, chain_der.len,
                                                key_der.data, key_der.len, err);
    free(chain_der.data);
    free(key_der.data);
    return svid;
}

static void test_an_svid(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    X509 *leaf = leaf_of(f, f->intermediate, f->intermediate_key);
    X509 *const chain[] = {leaf, f->intermediate, f->root, NULL};
    struct x509_svid *svid = load(f, chain, f->key, &err);
    assert_non_null(svid);
    assert_true(strview_equal_text(x509_svid_id(svid)->text, ID));
    assert_int_equal(sk_X509_num(x509_svid_intermediates(svid)), 1);
    x509_svid_unref(svid);
    assert_null(load(f, chain, f->spare_key, &err));
    assert_why(&err, "the private key does not belong to the certificate");
    X509 *const turned[] = {f->intermediate, leaf, NULL};
    assert_null(load(f, turned, f->intermediate_key, &err));
    assert_why(&err, "certificate chain: certificate 1");
    X509 *const long_chain[] = {leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf,
                                leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf, NULL};
    assert_null(load(f, long_chain, f->key, &err));
    assert_why(&err, "a chain of at most");
    X509_free(leaf);
}

static void test_a_chain_that_is_cut_or_followed_by_something(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    X509 *leaf = leaf_of(f, f->root, f->root_key);
    X509 *const chain[] = {leaf, NULL};
    struct der_text der = der_of(chain);
    struct der_text key = pkcs8_of(f->key);
    for (size_t len = 0; len < der.len; len += len < 8 ? 1 : 37) {
        uint8_t *cut = malloc(len > 0 ? len : 1);
        CERT_MUST(cut != NULL);
        memcpy(cut, der.data, len);
        assert_null(x509_svid_from_der(f->crypto, cut, len, key.data, key.len, &err));
        assert_why(&err, "certificate chain: ");
        free(cut);
    }
    der.data = realloc(der.data, der.len + 2);
    CERT_MUST(der.data != NULL);
    memcpy(der.data + der.len, "\x30\x00", 2);
    assert_null(x509_svid_from_der(f->crypto, der.data, der.len + 1, key.data, key.len, &err));
    assert_why(&err, "certificate 2: no DER, or cut off");
    assert_null(x509_svid_from_der(f->crypto, der.data, der.len + 2, key.data, key.len, &err));
    assert_why(&err, "certificate 2: no X.509 certificate");
    free(der.data);
    free(key.data);
    X509_free(leaf);
}

static void test_a_key(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    EVP_PKEY *keys[] = {f->key, cert_rsa_key(f->crypto, 2048), cert_ed25519_key(f->crypto)};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct der_text der = pkcs8_of(keys[i]);
        struct signer *signer = signer_from_pkcs8(f->crypto, der.data, der.len, &err);
        assert_non_null(signer);
        assert_int_equal(EVP_PKEY_eq(signer_key(signer), keys[i]), 1);
        signer_unref(signer);
        for (size_t len = 0; len < der.len; len++) {
            uint8_t *cut = malloc(len > 0 ? len : 1);
            CERT_MUST(cut != NULL);
            memcpy(cut, der.data, len);
            assert_null(signer_from_pkcs8(f->crypto, cut, len, &err));
            assert_why(&err, "no unencrypted PKCS#8 key");
            free(cut);
        }
        der.data = realloc(der.data, der.len + 1);
        CERT_MUST(der.data != NULL);
        der.data[der.len] = 0;
        assert_null(signer_from_pkcs8(f->crypto, der.data, der.len + 1, &err));
        free(der.data);
    }
    EVP_PKEY *weak = cert_rsa_key(f->crypto, 1024);
    struct der_text der = pkcs8_of(weak);
    assert_null(signer_from_pkcs8(f->crypto, der.data, der.len, &err));
    assert_why(&err, "1024");
    free(der.data);
    EVP_PKEY_free(weak);
    EVP_PKEY_free(keys[1]);
    EVP_PKEY_free(keys[2]);
}

/* SEC 1, PEM, and an encrypted key are no PKCS#8. */
static void test_no_other_form_of_key(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    unsigned char *sec1 = NULL;
    int len = i2d_PrivateKey(f->key, &sec1);
    CERT_MUST(len > 0);
    assert_null(signer_from_pkcs8(f->crypto, sec1, (size_t)len, &err));
    OPENSSL_free(sec1);
    char *pem = cert_key_pem(f->key, NULL);
    assert_null(signer_from_pkcs8(f->crypto, pem, strlen(pem), &err));
    free(pem);
    BIO *bio = BIO_new(BIO_s_mem());
    CERT_MUST(i2d_PKCS8PrivateKey_bio(bio, f->key, EVP_aes_128_cbc(), "pass", 4, NULL, NULL) == 1);
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    assert_null(signer_from_pkcs8(f->crypto, data, (size_t)size, &err));
    BIO_free(bio);
    assert_int_equal(ERR_peek_error(), 0);
}

static struct trust_bundle *bundle_of(struct fixture *f, X509 *const *anchors, struct errbuf *err)
{
    struct der_text der = der_of(anchors);
    struct trust_bundle *bundle =
        trust_bundle_from_der(f->crypto, "prod.example", der.data, der.len, err);
    free(der.data);
    return bundle;
}

static void test_a_bundle(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    X509 *const two[] = {f->root, f->partner, NULL};
    X509 *const none[] = {NULL};
    struct trust_bundle *bundle = bundle_of(f, two, &err);
    assert_non_null(bundle);
    assert_int_equal(trust_bundle_count(bundle), 2);
    trust_bundle_unref(bundle);
    bundle = bundle_of(f, none, &err);
    assert_non_null(bundle);
    assert_int_equal(trust_bundle_count(bundle), 0);
    trust_bundle_unref(bundle);
    X509 *leaf = leaf_of(f, f->root, f->root_key);
    X509 *const with_leaf[] = {f->root, leaf, NULL};
    assert_null(bundle_of(f, with_leaf, &err));
    assert_why(&err, "certificate 2: \"CN=leaf\" is no CA certificate");
    assert_null(trust_bundle_from_der(f->crypto, "prod.example", "\x30", 1, &err));
    assert_why(&err, "certificate 1: no DER");
    assert_null(trust_bundle_from_der(f->crypto, "Prod.example", "", 0, &err));
    X509_free(leaf);
}

static void test_what_two_bundles_share(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    X509 *const first[] = {f->root, f->partner, NULL};
    X509 *const turned[] = {f->partner, f->root, NULL};
    X509 *const second[] = {f->root, NULL};
    X509 *const third[] = {f->partner, NULL};
    struct trust_bundle *a = bundle_of(f, first, &err);
    struct trust_bundle *b = bundle_of(f, turned, &err);
    struct trust_bundle *c = bundle_of(f, second, &err);
    struct trust_bundle *d = bundle_of(f, third, &err);
    assert_true(trust_bundle_same(a, b));
    assert_false(trust_bundle_same(a, c));
    assert_false(trust_bundle_same(c, d));
    struct trust_bundle *common = trust_bundle_common(a, c, &err);
    assert_non_null(common);
    assert_true(trust_bundle_same(common, c));
    trust_bundle_unref(common);
    common = trust_bundle_common(c, d, &err);
    assert_non_null(common);
    assert_int_equal(trust_bundle_count(common), 0);
    trust_bundle_unref(common);
    trust_bundle_unref(a);
    trust_bundle_unref(b);
    trust_bundle_unref(c);
    trust_bundle_unref(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_svid),
        cmocka_unit_test(test_a_chain_that_is_cut_or_followed_by_something),
        cmocka_unit_test(test_a_key),
        cmocka_unit_test(test_no_other_form_of_key),
        cmocka_unit_test(test_a_bundle),
        cmocka_unit_test(test_what_two_bundles_share),
    };
    return cmocka_run_group_tests(tests, verify_setup, verify_teardown);
}
