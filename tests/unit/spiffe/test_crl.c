/* Unit tests of crl: which files are CRLs that may be used, and that entries are found in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crl_builder.h"

#include <openssl/err.h>

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *key;
    X509 *root, *leaf, *other;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    f->root = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    spec = cert_leaf("spiffe://prod.example/web");
    f->leaf = cert_build(f->crypto, &spec, f->key, f->root, f->key);
    f->other = cert_build(f->crypto, &spec, f->key, f->root, f->key);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    X509_free(f->root);
    X509_free(f->leaf);
    X509_free(f->other);
    EVP_PKEY_free(f->key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

static struct crl_set *read_set(struct fixture *f, const char *data, size_t len, struct errbuf *err)
{
    err->text[0] = '\0';
    struct crl_set *set = crl_set_from_bytes(f->crypto, data, len, err);
    assert_int_equal(set == NULL, err->text[0] != '\0');
    assert_int_equal(ERR_peek_error(), 0);
    return set;
}

static void assert_bytes_refused(struct fixture *f, const char *data, size_t len,
                                 const char *message)
{
    struct errbuf err;
    assert_null(read_set(f, data, len, &err));
    if (strstr(err.text, message) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, message);
    }
}

static void assert_text_refused(struct fixture *f, const char *text, const char *message)
{
    assert_bytes_refused(f, text, strlen(text), message);
}

/* In both forms. */
static void assert_refused(struct fixture *f, const struct crl_spec *spec, const char *message)
{
    size_t len = 0;
    char *der = crl_der(spec, &len);
    assert_bytes_refused(f, der, len, message);
    free(der);
    char *pem = crl_pem(spec, 1);
    assert_text_refused(f, pem, message);
    assert_text_refused(f, pem, "line 1: the CRL: ");
    free(pem);
}

static void assert_accepted(struct fixture *f, const struct crl_spec *spec, size_t revoked)
{
    struct errbuf err;
    size_t len = 0;
    char *der = crl_der(spec, &len);
    struct crl_set *set = read_set(f, der, len, &err);
    if (set == NULL) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(crl_set_count(set), 1);
    assert_int_equal(crl_set_revoked_count(set), revoked);
    assert_true(crl_set_next_update(set) == spec->next_update);
    crl_set_unref(set);
    free(der);
}

static void test_reads_pem_and_der(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    struct crl_spec specs[2] = {crl_of(f->root, f->key), crl_of(f->root, f->key)};
    crl_revoke(&specs[0], f->leaf, CRL_NO_CODE);
    crl_revoke(&specs[0], f->other, 1);
    assert_accepted(f, &specs[0], 2);
    assert_accepted(f, &specs[1], 0);

    specs[1].this_update -= 5;
    specs[1].next_update -= 5;
    char *pem = crl_pem(specs, 2);
    char text[8192];
    int len = snprintf(text, sizeof(text), "the CRLs of prod\n%s\nand no more\n", pem);
    struct crl_set *set = read_set(f, text, (size_t)len, &err);
    assert_non_null(set);
    assert_int_equal(crl_set_count(set), 2);
    assert_int_equal(crl_set_revoked_count(set), 2);
    assert_true(crl_set_memory(set) > 400 && crl_set_memory(set) < 10000);
    /* The older one is replaced by the newer, so its date means nothing. */
    assert_true(crl_set_next_update(set) == specs[0].next_update);
    for (size_t i = 0; i < 2; i++) {
        struct crl_facts facts;
        crl_set_facts(set, i, &facts);
        assert_string_equal(facts.issuer, "CN=root");
        assert_true(facts.this_update == specs[i].this_update);
        assert_true(facts.next_update == specs[i].next_update);
        assert_int_equal(facts.revoked, i == 0 ? 2 : 0);
        assert_int_equal(facts.replaced, i == 1);
    }
    assert_ptr_equal(crl_set_ref(set), set);
    crl_set_unref(set);
    crl_set_unref(set);
    crl_set_unref(NULL);
    free(pem);
}

static void test_accepts_what_is_allowed(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->root, f->key);
    spec.private_extension = "plain";
    spec.revoked[0] = (struct crl_revoked){f->leaf, 4, "plain"};
    spec.revoked_count = 1;
    assert_accepted(f, &spec, 1);
    spec = crl_of(f->root, f->key);
    spec.version = 0;
    spec.no_extensions = true;
    assert_accepted(f, &spec, 0);
    static const char *const scopes[] = {"onlyuser:TRUE", "onlyCA:TRUE",
                                         "fullname:URI:http://prod.example/crl"};
    for (size_t i = 0; i < 3; i++) {
        spec = crl_of(f->root, f->key);
        spec.idp = scopes[i];
        assert_accepted(f, &spec, 0);
    }
    /* Time alone makes no file invalid. */
    spec = crl_of(f->root, f->key);
    spec.next_update = 5000;
    spec.this_update = 1000;
    assert_accepted(f, &spec, 0);
    /* 9999-12-31 does not overflow. */
    spec.next_update = 253402300799;
    assert_accepted(f, &spec, 0);
    EVP_PKEY *key = cert_ed25519_key(f->crypto);
    spec = crl_of(f->root, key);
    assert_accepted(f, &spec, 0);
    EVP_PKEY_free(key);
}

/* RFC 5280 5.3.1: taken back by the entry; but another entry of the same serial stands. */
static void test_remove_from_crl_is_no_revocation(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->root, f->key);
    crl_revoke(&spec, f->leaf, 8);
    assert_accepted(f, &spec, 0);
    crl_revoke(&spec, f->leaf, 6);
    crl_revoke(&spec, f->leaf, 1);
    assert_accepted(f, &spec, 1);
}

static void test_refuses_what_must_not_be_used(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->root, f->key);
    spec.next_update = 0;
    assert_refused(f, &spec, "no nextUpdate");
    spec = crl_of(f->root, f->key);
    spec.next_update = spec.this_update;
    assert_refused(f, &spec, "not after its thisUpdate");
    spec = crl_of(f->root, f->key);
    spec.delta = true;
    assert_refused(f, &spec, "a delta CRL");
    spec = crl_of(f->root, f->key);
    spec.private_extension = "critical";
    assert_refused(f, &spec, "1.3.6.1.4.1.99999.1, which is not known");
    spec.private_extension = "plain";
    spec.private_twice = true;
    assert_refused(f, &spec, "there twice");
    spec = crl_of(f->root, f->key);
    spec.version = 0;
    assert_refused(f, &spec, "of version 1");
    spec = crl_of(f->root, f->key);
    spec.version = 2;
    assert_refused(f, &spec, "unknown version");
    spec = crl_of(f->root, f->key);
    spec.digest = EVP_sha1();
    assert_refused(f, &spec, "a digest that is too weak");
    static const char *const scopes[][2] = {
        {"indirectCRL:TRUE", "an indirect CRL"},
        {"onlysomereasons:keyCompromise", "covers only some reasons"},
        {"onlyAA:TRUE", "attribute certificates"},
        {"onlyuser:TRUE,onlyCA:TRUE", "contradicts itself"},
    };
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
        spec = crl_of(f->root, f->key);
        spec.idp = scopes[i][0];
        assert_refused(f, &spec, scopes[i][1]);
    }
    spec = crl_of(f->root, f->key);
    crl_revoke(&spec, f->leaf, CRL_NO_CODE);
    spec.revoked[0].extension = "critical";
    assert_refused(f, &spec, "entry 0: an entry has a critical extension");
    spec.revoked[0].extension = "issuer";
    assert_refused(f, &spec, "entry 0: an indirect CRL");
    spec.revoked[0].extension = NULL;
    spec.revoked[0].reason = 11;
    assert_refused(f, &spec, "reason code");
}

static void test_refuses_other_files(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->root, f->key);
    char text[8192];
    assert_bytes_refused(f, "", 0, "no CRL in it");
    assert_text_refused(f, "\n# nothing\n", "no CRL in it");
    assert_text_refused(f, "0 is no DER either\n", "no CRL in it");
    char *root = cert_pem_one(f->root);
    char *crl = crl_pem(&spec, 1);
    char *key = cert_key_pem(f->key, NULL);
    assert_text_refused(f, root, "line 1: \"CERTIFICATE\" is no X509 CRL");
    (void)snprintf(text, sizeof(text), "%s%s", crl, root);
    assert_text_refused(f, text, "\"CERTIFICATE\" is no X509 CRL");
    (void)snprintf(text, sizeof(text), "%s%s", crl, key);
    assert_text_refused(f, text, "a private key has no place here");
    (void)snprintf(text, sizeof(text), "%s%.*s", crl, (int)strlen(crl) / 2, crl);
    assert_text_refused(f, text, "without its END");
    (void)snprintf(text, sizeof(text), "%s", crl);
    text[60] = '*';
    assert_text_refused(f, text, "base64");
    assert_text_refused(f, crl + 30, "without its BEGIN");
    assert_text_refused(f, "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", "the CRL: ");
    unsigned char *der = NULL;
    int len = i2d_X509(f->root, &der);
    CERT_MUST(len > 0);
    assert_bytes_refused(f, (const char *)der, (size_t)len, "the CRL: ");
    OPENSSL_free(der);
    free(root);
    free(crl);
    free(key);
}

/* Every prefix, and every byte damaged: never accepted by accident, never a crash. */
static void test_damage_is_refused_or_signed_wrongly(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    struct crl_spec spec = crl_of(f->root, f->key);
    crl_revoke(&spec, f->leaf, 1);
    spec.idp = "onlyuser:TRUE";
    size_t len = 0;
    char *der = crl_der(&spec, &len);
    for (size_t i = 0; i < len; i++) {
        assert_null(read_set(f, der, i, &err));
    }
    for (size_t i = 0; i < len; i++) {
        der[i] ^= 1;
        struct crl_set *set = read_set(f, der, len, &err);
        crl_set_unref(set); /* if it parses, its signature is wrong; crl_check's tests say more */
        der[i] ^= 1;
    }
    char *longer = malloc(len + 1);
    CERT_MUST(longer != NULL);
    memcpy(longer, der, len);
    longer[len] = 0;
    assert_bytes_refused(f, longer, len + 1, "bytes behind it");
    free(longer);
    free(der);
}

static void test_too_many_crls_are_refused(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->root, f->key);
    struct errbuf err;
    char *one = crl_pem(&spec, 1);
    size_t len = strlen(one);
    char *many = malloc(len * (CRL_COUNT_MAX + 1));
    CERT_MUST(many != NULL);
    for (size_t i = 0; i <= CRL_COUNT_MAX; i++) {
        memcpy(many + i * len, one, len);
    }
    assert_bytes_refused(f, many, len * (CRL_COUNT_MAX + 1), "more than 1000 CRLs");
    struct crl_set *set = read_set(f, many, len * CRL_COUNT_MAX, &err);
    assert_non_null(set);
    crl_set_unref(set);
    assert_bytes_refused(f, many, (size_t)CRL_BYTES_MAX + 1, "at most"); /* none of it is read */
    free(many);
    free(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_pem_and_der),
        cmocka_unit_test(test_accepts_what_is_allowed),
        cmocka_unit_test(test_remove_from_crl_is_no_revocation),
        cmocka_unit_test(test_refuses_what_must_not_be_used),
        cmocka_unit_test(test_refuses_other_files),
        cmocka_unit_test(test_damage_is_refused_or_signed_wrongly),
        cmocka_unit_test(test_too_many_crls_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
