/* Unit tests of our own SVID from PEM: x509_svid_from_pem and signer_from_pem. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cert_builder.h"
#include "spiffe/signer.h"
#include "spiffe/x509_svid.h"

#define ID "spiffe://prod.example/ns/shop/sa/web"

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *root_key, *intermediate_key, *key, *other_key;
    X509 *root, *intermediate, *leaf;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->root_key = cert_ec_key(f->crypto, "P-256");
    f->intermediate_key = cert_ec_key(f->crypto, "P-256");
    f->key = cert_ec_key(f->crypto, "P-256");
    f->other_key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    f->root = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    spec = cert_ca("intermediate");
    spec.not_after = CERT_NOW + CERT_DAY / 2;
    f->intermediate = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    spec = cert_leaf(ID);
    f->leaf = cert_build(f->crypto, &spec, f->key, f->intermediate, f->intermediate_key);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    X509_free(f->root);
    X509_free(f->intermediate);
    X509_free(f->leaf);
    EVP_PKEY_free(f->root_key);
    EVP_PKEY_free(f->intermediate_key);
    EVP_PKEY_free(f->key);
    EVP_PKEY_free(f->other_key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

static struct x509_svid *load(struct fixture *f, X509 *const *chain, EVP_PKEY *key,
                              struct errbuf *err)
{
    char *chain_pem = cert_pem(chain);
    char *key_pem = cert_key_pem(key, NULL);
    struct x509_svid *svid =
        x509_svid_from_pem(f->crypto, chain_pem, strlen(chain_pem), key_pem, strlen(key_pem), err);
    free(chain_pem);
    free(key_pem);
    return svid;
}

static void assert_refused(struct fixture *f, X509 *const *chain, EVP_PKEY *key,
                           const char *message)
{
    struct errbuf err = {""};
    assert_null(load(f, chain, key, &err));
    if (strstr(err.text, message) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, message);
    }
}

static void test_loads_chain_and_key(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    X509 *const chain[] = {f->leaf, f->intermediate, f->root, NULL};
    struct x509_svid *svid = load(f, chain, f->key, &err);
    assert_non_null(svid);
    assert_true(strview_equal_text(x509_svid_id(svid)->text, ID));
    assert_int_equal(X509_cmp(x509_svid_leaf(svid), f->leaf), 0);
    /* The root is dropped: peers have it or don't trust us. */
    assert_int_equal(sk_X509_num(x509_svid_intermediates(svid)), 1);
    assert_int_equal(X509_cmp(sk_X509_value(x509_svid_intermediates(svid), 0), f->intermediate), 0);
    assert_int_equal(EVP_PKEY_eq(signer_key(x509_svid_signer(svid)), f->key), 1);
    /* The earliest end of the chain, here the intermediate's; the latest start, the leaf's. */
    assert_true(x509_svid_not_after(svid) == CERT_NOW + CERT_DAY / 2);
    assert_true(x509_svid_not_before(svid) == CERT_NOW - CERT_DAY);

    assert_string_equal(x509_svid_signature_algorithm(svid), "ecdsa-with-SHA256");
    assert_string_equal(x509_svid_key_algorithm(svid), "EC256");

    assert_ptr_equal(x509_svid_ref(svid), svid);
    x509_svid_unref(svid);
    assert_true(strview_equal_text(x509_svid_id(svid)->trust_domain, "prod.example"));
    x509_svid_unref(svid);
    x509_svid_unref(NULL);
}

/* Time alone never makes a valid file invalid. */
static void test_loads_expired(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    struct cert_spec spec = cert_leaf(ID);
    spec.not_before = 1000;
    spec.not_after = 2000;
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    X509 *const chain[] = {leaf, NULL};
    struct x509_svid *svid = load(f, chain, f->key, &err);
    assert_non_null(svid);
    assert_true(x509_svid_not_after(svid) == 2000);
    x509_svid_unref(svid);
    X509_free(leaf);
}

static void test_accepted_key_kinds(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *keys[] = {cert_ec_key(f->crypto, "P-384"), cert_rsa_key(f->crypto, 2048),
                        cert_ed25519_key(f->crypto)};
    static const char *const names[] = {"EC384", "RSA2048", "ED25519"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct errbuf err;
        struct cert_spec spec = cert_leaf(ID);
        X509 *leaf = cert_build(f->crypto, &spec, keys[i], f->root, f->root_key);
        X509 *const chain[] = {leaf, NULL};
        struct x509_svid *svid = load(f, chain, keys[i], &err);
        assert_non_null(svid);
        assert_string_equal(x509_svid_key_algorithm(svid), names[i]);
        x509_svid_unref(svid);
        X509_free(leaf);
        EVP_PKEY_free(keys[i]);
    }
}

static void test_refuses_bad_chains(void **state)
{
    struct fixture *f = *state;
    X509 *const nothing[] = {NULL};
    assert_refused(f, nothing, f->key, "no PEM certificate");
    X509 *const wrong_order[] = {f->intermediate, f->leaf, NULL};
    assert_refused(f, wrong_order, f->key, "certificate 1 (CN=intermediate)");
    X509 *const two_leaves[] = {f->leaf, f->leaf, NULL};
    assert_refused(f, two_leaves, f->key, "certificate 2 (CN=leaf)");
    X509 *const too_long[] = {f->leaf,         f->intermediate, f->intermediate, f->intermediate,
                              f->intermediate, f->intermediate, f->intermediate, NULL};
    assert_refused(f, too_long, f->key, "at most 6");

    struct cert_spec spec = cert_leaf(ID);
    spec.key_usage = "digitalSignature";
    X509 *loose = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    X509 *const rule[] = {loose, NULL};
    assert_refused(f, rule, f->key, "X509-SVID 4.3");
    X509_free(loose);

    spec = cert_ca("foreign");
    cert_add_name(&spec, GEN_URI, "spiffe://partner.example", 0);
    X509 *foreign = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    X509 *const other_domain[] = {f->leaf, foreign, NULL};
    assert_refused(f, other_domain, f->key, "partner.example");
    X509_free(foreign);
}

static void test_refuses_the_wrong_key(void **state)
{
    struct fixture *f = *state;
    X509 *const chain[] = {f->leaf, NULL};
    EVP_PKEY *rsa = cert_rsa_key(f->crypto, 2048);
    assert_refused(f, chain, f->other_key, "does not belong to the certificate");
    assert_refused(f, chain, rsa, "does not belong to the certificate");
    EVP_PKEY_free(rsa);
}

/* A private number with another key's public point: comparing public parts would accept it. */
static void test_refuses_a_spliced_key(void **state)
{
    struct fixture *f = *state;
    BIGNUM *secret = NULL;
    unsigned char point[133];
    size_t point_len = 0;
    CERT_MUST(EVP_PKEY_get_bn_param(f->other_key, OSSL_PKEY_PARAM_PRIV_KEY, &secret) == 1);
    CERT_MUST(EVP_PKEY_get_octet_string_param(f->key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                              &point_len) == 1);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    CERT_MUST(OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0));
    CERT_MUST(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, secret));
    CERT_MUST(OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, point_len));
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(cert_maker(f->crypto), "EC", NULL);
    EVP_PKEY *spliced = NULL;
    CERT_MUST(EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, &spliced, EVP_PKEY_KEYPAIR, params) == 1);
    assert_int_equal(EVP_PKEY_eq(spliced, f->key), 1);

    X509 *const chain[] = {f->leaf, NULL};
    assert_refused(f, chain, spliced, "does not belong to the certificate");
    EVP_PKEY_free(spliced);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_clear_free(secret);
}

static void assert_key_refused(struct fixture *f, const char *pem, const char *message)
{
    struct errbuf err = {""};
    assert_null(signer_from_pem(f->crypto, pem, strlen(pem), &err));
    if (strstr(err.text, message) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, message);
    }
}

static void test_signer_forms(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    /* SEC 1 behind its parameters, and a certificate beside it. */
    BIO *bio = BIO_new(BIO_s_mem());
    CERT_MUST(BIO_puts(bio, "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
                            "-----END EC PARAMETERS-----\n") > 0);
    CERT_MUST(PEM_write_bio_PrivateKey_traditional(bio, f->key, NULL, NULL, 0, NULL, NULL) == 1);
    CERT_MUST(PEM_write_bio_X509(bio, f->leaf) == 1);
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    struct signer *signer = signer_from_pem(f->crypto, data, (size_t)len, &err);
    assert_non_null(signer);
    assert_int_equal(EVP_PKEY_eq(signer_key(signer), f->key), 1);
    assert_ptr_equal(signer_ref(signer), signer);
    signer_unref(signer);
    signer_unref(signer);
    signer_unref(NULL);
    BIO_free(bio);
}

static void test_signer_refuses(void **state)
{
    struct fixture *f = *state;
    assert_key_refused(f, "", "no PEM private key");
    assert_key_refused(f, "words\n", "no PEM private key");
    assert_key_refused(f, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                       "can't be decoded");
    assert_key_refused(f, "-----BEGIN PRIVATE KEY-----\nAAAA\n", "without its END");
    assert_key_refused(f,
                       "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
                       "DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
                       "encrypted");
    char *pem = cert_key_pem(f->key, "secret");
    assert_key_refused(f, pem, "encrypted");
    free(pem);

    pem = cert_key_pem(f->key, NULL);
    char two[2048];
    (void)snprintf(two, sizeof(two), "%s%s", pem, pem);
    assert_key_refused(f, two, "more than one");
    free(pem);

    EVP_PKEY *weak = cert_ec_key(f->crypto, "secp224r1");
    pem = cert_key_pem(weak, NULL);
    assert_key_refused(f, pem, "secp224r1");
    free(pem);
    EVP_PKEY_free(weak);

    pem = cert_pem_one(f->leaf);
    assert_key_refused(f, pem, "no PEM private key in it but a certificate; are the two files");
    free(pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loads_chain_and_key),   cmocka_unit_test(test_loads_expired),
        cmocka_unit_test(test_accepted_key_kinds),    cmocka_unit_test(test_refuses_bad_chains),
        cmocka_unit_test(test_refuses_the_wrong_key), cmocka_unit_test(test_refuses_a_spliced_key),
        cmocka_unit_test(test_signer_forms),          cmocka_unit_test(test_signer_refuses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
