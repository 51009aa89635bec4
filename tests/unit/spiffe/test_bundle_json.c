/* Unit tests of the JSON form of trust_bundle: what anchors, what is skipped, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cert_builder.h"
#include "credentials_of.h"
#include "spiffe/credentials.h"
#include "spiffe/svid_verify.h"
#include "spiffe/trust_bundle.h"

#define DOMAIN "prod.example"

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *key, *other_key;
    X509 *root, *other, *leaf, *intermediate;
    char *root64, *other64, *leaf64, *intermediate64; /* base64 of their DER */
};

static char *base64_of(X509 *certificate)
{
    unsigned char *der = NULL;
    int len = i2d_X509(certificate, &der);
    CERT_MUST(len > 0);
    char *text = malloc((size_t)len * 2 + 8);
    CERT_MUST(text != NULL && EVP_EncodeBlock((unsigned char *)text, der, len) > 0);
    OPENSSL_free(der);
    return text;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->key = cert_ec_key(f->crypto, "P-256");
    f->other_key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    f->root = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    spec = cert_ca("other");
    f->other = cert_build(f->crypto, &spec, f->other_key, NULL, NULL);
    spec = cert_ca("intermediate");
    f->intermediate = cert_build(f->crypto, &spec, f->other_key, f->root, f->key);
    spec = cert_leaf("spiffe://prod.example/web");
    f->leaf = cert_build(f->crypto, &spec, f->key, f->root, f->key);
    f->root64 = base64_of(f->root);
    f->other64 = base64_of(f->other);
    f->leaf64 = base64_of(f->leaf);
    f->intermediate64 = base64_of(f->intermediate);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    X509_free(f->root);
    X509_free(f->other);
    X509_free(f->leaf);
    X509_free(f->intermediate);
    EVP_PKEY_free(f->key);
    EVP_PKEY_free(f->other_key);
    free(f->root64);
    free(f->other64);
    free(f->leaf64);
    free(f->intermediate64);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

/* Each '@' of the pattern becomes the next text. free() it. */
static char *fill(const char *pattern, const char *const *texts)
{
    size_t size = strlen(pattern) + 1;
    for (size_t i = 0; texts[i] != NULL; i++) {
        size += strlen(texts[i]);
    }
    char *out = calloc(1, size);
    CERT_MUST(out != NULL);
    size_t used = 0;
    for (const char *c = pattern; *c != '\0'; c++) {
        if (*c == '@') {
            CERT_MUST(*texts != NULL);
            used += strlen(strcpy(out + used, *texts++));
        } else {
            out[used++] = *c;
        }
    }
    return out;
}

#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define ENTRY      "{\"use\":\"x509-svid\",\"kty\":\"EC\",\"x5c\":[\"@\"]}"

static struct trust_bundle *parse(struct fixture *f, const char *text, size_t len,
                                  struct errbuf *err)
{
    err->text[0] = '\0';
    struct trust_bundle *bundle = trust_bundle_from_bytes(f->crypto, DOMAIN, text, len, err);
    if ((bundle == NULL) != (err->text[0] != '\0')) {
        fail_msg("%.*s: \"%s\"", (int)len, text, err->text);
    }
    return bundle;
}

static struct trust_bundle *accept(struct fixture *f, const char *pattern, const char *const *texts)
{
    struct errbuf err;
    char *text = fill(pattern, texts);
    struct trust_bundle *bundle = parse(f, text, strlen(text), &err);
    if (bundle == NULL) {
        fail_msg("%s: %s", pattern, err.text);
    }
    free(text);
    return bundle;
}

static void assert_count(struct fixture *f, size_t count, const char *pattern,
                         const char *const *texts)
{
    struct trust_bundle *bundle = accept(f, pattern, texts);
    if (trust_bundle_count(bundle) != count) {
        fail_msg("%s: %zu anchors, not %zu", pattern, trust_bundle_count(bundle), count);
    }
    trust_bundle_unref(bundle);
}

static void assert_refused(struct fixture *f, const char *message, const char *pattern,
                           const char *const *texts)
{
    struct errbuf err;
    char *text = fill(pattern, texts);
    struct trust_bundle *bundle = parse(f, text, strlen(text), &err);
    if (bundle != NULL || strstr(err.text, message) == NULL) {
        fail_msg("%s: \"%s\" lacks \"%s\"", pattern, err.text, message);
    }
    free(text);
}

static void test_reads_anchors_and_numbers(void **state)
{
    struct fixture *f = *state;
    uint8_t sha256[32];
    uint64_t number = 0;
    struct trust_bundle *bundle =
        accept(f,
               " \r\n\t{\"spiffe_sequence\": 9007199254740993, \"spiffe_refresh_hint\": 300, "
               "\"keys\": [" ENTRY ", " ENTRY ", " ENTRY "]}\n",
               TEXTS(f->root64, f->other64, f->root64));
    assert_int_equal(trust_bundle_count(bundle), 2);
    assert_true(strview_equal_text(trust_bundle_domain(bundle), DOMAIN));
    CERT_MUST(X509_digest(f->other, EVP_sha256(), sha256, NULL) == 1);
    assert_true(trust_bundle_has_anchor(bundle, sha256));
    assert_int_equal(X509_cmp(trust_bundle_find_anchor(bundle, sha256), f->other), 0);
    assert_true(trust_bundle_sequence(bundle, &number));
    assert_true(number == 9007199254740993u); /* more than a double holds */
    assert_true(trust_bundle_refresh_hint_s(bundle, &number));
    assert_true(number == 300);
    assert_non_null(trust_bundle_anchor(bundle, 1));
    assert_null(trust_bundle_anchor(bundle, 2));
    trust_bundle_unref(bundle);
}

static void test_pem_has_no_numbers(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    uint64_t number;
    char *pem = cert_pem_one(f->root);
    struct trust_bundle *bundle = parse(f, pem, strlen(pem), &err);
    assert_non_null(bundle);
    assert_false(trust_bundle_sequence(bundle, &number));
    assert_false(trust_bundle_refresh_hint_s(bundle, &number));
    trust_bundle_unref(bundle);
    free(pem);
}

/* SPIFFE bundle 4.1.3: nothing usable means that every SVID of the domain is revoked. */
static void test_an_empty_bundle_admits_nobody(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    struct svid_verified verified;
    struct svid_failure failure;
    uint8_t sha256[32] = {0};
    struct trust_bundle *bundle = accept(f, "{\"keys\": []}", TEXTS(NULL));
    assert_int_equal(trust_bundle_count(bundle), 0);
    assert_false(trust_bundle_has_anchor(bundle, sha256));
    assert_null(trust_bundle_anchor(bundle, 0));
    struct credentials *credentials = credentials_of(NULL, &bundle, 1, 1, &err);
    assert_non_null(credentials);
    assert_int_equal(svid_verify(f->crypto, credentials, f->leaf, NULL, SVID_ROLE_CLIENT, CERT_NOW,
                                 &verified, &failure),
                     REASON_SVID_UNTRUSTED);
    credentials_unref(credentials);
    trust_bundle_unref(bundle);
}

/* SPIFFE bundle 4.2: what is not understood is no anchor, and no fault either. */
static void test_skips_what_is_no_anchor(void **state)
{
    struct fixture *f = *state;
    static const char *const entries[] = {
        "{\"use\":\"jwt-svid\",\"kty\":\"EC\",\"kid\":\"a\",\"x5c\":[\"@\"]}",
        "{\"use\":\"X509-SVID\",\"kty\":\"EC\",\"x5c\":[\"@\"]}",
        "{\"use\":\"x509-svid \",\"kty\":\"EC\",\"x5c\":[\"@\"]}",
        "{\"use\":\"sig\",\"kty\":\"EC\",\"x5c\":[\"@\"]}",
        "{\"use\":[\"x509-svid\"],\"kty\":\"EC\",\"x5c\":[\"@\"]}",
        "{\"kty\":\"EC\",\"x5c\":[\"@\"]}",
        "{\"use\":\"x509-svid\",\"x5c\":[\"@\"]}",
        "{\"use\":\"x509-svid\",\"kty\":\"ec\",\"x5c\":[\"@\"]}",
        "{\"use\":\"x509-svid\",\"kty\":\"oct\",\"x5c\":[\"@\"]}",
        "{\"use\":\"x509-svid\",\"kty\":7,\"x5c\":[\"@\"]}",
    };
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        char pattern[400];
        (void)snprintf(pattern, sizeof(pattern), "{\"keys\":[%s]}", entries[i]);
        assert_count(f, 0, pattern, TEXTS(f->root64));
        (void)snprintf(pattern, sizeof(pattern), "{\"keys\":[%s," ENTRY "]}", entries[i]);
        assert_count(f, 1, pattern, TEXTS(f->other64, f->root64));
    }
    assert_count(f, 0, "{\"keys\":[{},{\"use\":\"x509-svid\",\"kty\":\"EC\"}]}", TEXTS(NULL));
    assert_count(f, 0, "{\"keys\":[{\"use\":\"x509-svid\",\"kty\":\"EC\",\"x5c\":[]}]}",
                 TEXTS(NULL));
    assert_count(f, 1, "{\"future\":{\"a\":[1.5,null,true]},\"keys\":[" ENTRY "]}",
                 TEXTS(f->root64));
}

/* X509-SVID 6.2: the first value only. */
static void test_only_the_first_certificate_of_x5c_counts(void **state)
{
    struct fixture *f = *state;
    uint8_t sha256[32];
    static const char pattern[] =
        "{\"keys\":[{\"use\":\"x509-svid\",\"kty\":\"RSA\",\"x5c\":[\"@\",\"@\"]}]}";
    struct trust_bundle *bundle = accept(f, pattern, TEXTS(f->root64, f->other64));
    assert_int_equal(trust_bundle_count(bundle), 1);
    CERT_MUST(X509_digest(f->root, EVP_sha256(), sha256, NULL) == 1);
    assert_true(trust_bundle_has_anchor(bundle, sha256));
    trust_bundle_unref(bundle);
    assert_refused(f, "keys[0]", pattern, TEXTS(f->leaf64, f->root64));
}

static void test_refuses_broken_documents(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{}", "no `keys`"},
        {"{\"Keys\":[]}", "no `keys`"},
        {"{\"keys\":{}}", "`keys` must be a list"},
        {"{\"keys\":null}", "`keys` must be a list"},
        {"{\"keys\":[]", "line 1"},
        {"{\"keys\":[]}x", "end of file expected"},
        {"{\"keys\":[]}{\"keys\":[]}", "end of file expected"},
        {"{\"keys\":[],\"keys\":[]}", "duplicate"},
        {"{\"keys\":[{\"use\":\"x509-svid\",\"use\":\"jwt-svid\"}]}", "duplicate"},
        {"{\"keys\":[],\"a\":\"b\\u0000c\"}", "\\u0000"},
        {"{\"keys\":[],\"a\\u0000\":1}", "\\u0000"},
        {"{\"keys\":[],\"a\":\"\xff\"}", "unable to decode byte 0xff"},
        {"{'keys':[]}", "line 1"},
        {"{\"keys\":[],}", "line 1"},
        {"{\"keys\":[1]}", "keys[0]: must be an object"},
        {"{\"keys\":[{},[]]}", "keys[1]: must be an object"},
        {"{\"keys\":[],\"spiffe_sequence\":\"1\"}", "`spiffe_sequence` must be"},
        {"{\"keys\":[],\"spiffe_sequence\":1.0}", "`spiffe_sequence` must be"},
        {"{\"keys\":[],\"spiffe_sequence\":-1}", "`spiffe_sequence` must be"},
        {"{\"keys\":[],\"spiffe_sequence\":99999999999999999999}", "too big"},
        {"{\"keys\":[],\"spiffe_refresh_hint\":null}", "`spiffe_refresh_hint` must be"},
        {"{\"keys\":[],\"spiffe_refresh_hint\":-300}", "`spiffe_refresh_hint` must be"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_refused(f, cases[i].message, cases[i].text, TEXTS(NULL));
    }
    struct errbuf err;
    static const char with_nul[] = "{\"keys\":[]}\0";
    assert_null(parse(f, with_nul, sizeof(with_nul), &err));
    static const char nul_in_string[] = "{\"keys\":[],\"a\":\"b\0c\"}";
    assert_null(parse(f, nul_in_string, sizeof(nul_in_string) - 1, &err));
}

/* What says that it is an anchor and can't be read is never left out in silence. */
static void test_refuses_anchors_that_cant_be_read(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *x5c, *message;
    } cases[] = {
        {"\"@\"", "keys[1]: x5c: must be a list of strings"},
        {"{\"0\":\"@\"}", "keys[1]: x5c: must be a list of strings"},
        {"[[\"@\"]]", "keys[1]: x5c[0]: must be a list of strings"},
        {"[null,\"@\"]", "keys[1]: x5c[0]: must be a list of strings"},
        {"[\"\",\"@\"]", "keys[1]: x5c[0]: is no base64"},
        {"[\"@=\"]", "keys[1]: x5c[0]: is no base64"},
        {"[\" @\"]", "keys[1]: x5c[0]: is no base64"},
        {"[\"@\\n\"]", "keys[1]: x5c[0]: is no base64"},
        {"[\"____@\"]", "keys[1]: x5c[0]: is base64url"},
        {"[\"AAAA@\"]", "keys[1]: x5c[0]: holds no X.509 certificate"},
        {"[\"@AAAA\"]", "keys[1]: x5c[0]: "},
        {"[\"MAA=\",\"@\"]", "keys[1]: x5c[0]: holds no X.509 certificate"},
        {"[\"====\",\"@\"]", "keys[1]: x5c[0]: is no base64"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char pattern[400];
        (void)snprintf(pattern, sizeof(pattern),
                       "{\"keys\":[" ENTRY ",{\"use\":\"x509-svid\",\"kty\":\"EC\",\"x5c\":%s}]}",
                       cases[i].x5c);
        assert_refused(f, cases[i].message, pattern, TEXTS(f->root64, f->other64));
    }
    static const char pattern[] = "{\"keys\":[" ENTRY "," ENTRY "]}";
    assert_refused(f, "keys[1]: \"CN=leaf\" is no CA", pattern, TEXTS(f->root64, f->leaf64));
    assert_refused(f, "no self-signed", "{\"keys\":[" ENTRY "]}", TEXTS(f->intermediate64));
}

/* The file that a helper merged from several domains: the message says what to do. */
static void test_another_domains_anchor_is_explained(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("partner");
    cert_add_name(&spec, GEN_URI, "spiffe://partner.example", 0);
    X509 *partner = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    char *partner64 = base64_of(partner);
    static const char pattern[] = "{\"keys\":[" ENTRY "," ENTRY "]}";
    assert_refused(f, "names \"partner.example\", not \"prod.example\"", pattern,
                   TEXTS(f->root64, partner64));
    assert_refused(f, "keys[1]", pattern, TEXTS(f->root64, partner64));
    assert_refused(f, "a bundle file of its own", pattern, TEXTS(f->root64, partner64));
    assert_refused(f, "include_federated_domains", pattern, TEXTS(f->root64, partner64));
    free(partner64);
    X509_free(partner);
}

static void test_size_and_depth_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    size_t size = TRUST_BUNDLE_JSON_MAX + 1;
    char *text = malloc(size);
    CERT_MUST(text != NULL);
    memset(text, ' ', size);
    memcpy(text, "{\"keys\":[]}", 11);
    assert_null(parse(f, text, size, &err));
    assert_non_null(strstr(err.text, "bytes of JSON"));
    struct trust_bundle *bundle = parse(f, text, size - 1, &err);
    assert_non_null(bundle);
    trust_bundle_unref(bundle);

    /* As many brackets as fit: the parser would recurse for each. */
    memset(text, '[', size);
    memcpy(text, "{\"a\":", 5);
    assert_null(parse(f, text, size - 1, &err));
    assert_non_null(strstr(err.text, "within each other"));
    free(text);
    assert_count(f, 0, "{\"keys\":[],\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}", TEXTS(NULL));
    assert_refused(f, "within each other", "{\"keys\":[],\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}",
                   TEXTS(NULL));
    assert_count(f, 0, "{\"keys\":[],\"a\":\"\\\"[[[[[[[[[[[[[[[[[[\"}", TEXTS(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_anchors_and_numbers),
        cmocka_unit_test(test_pem_has_no_numbers),
        cmocka_unit_test(test_an_empty_bundle_admits_nobody),
        cmocka_unit_test(test_skips_what_is_no_anchor),
        cmocka_unit_test(test_only_the_first_certificate_of_x5c_counts),
        cmocka_unit_test(test_refuses_broken_documents),
        cmocka_unit_test(test_refuses_anchors_that_cant_be_read),
        cmocka_unit_test(test_another_domains_anchor_is_explained),
        cmocka_unit_test(test_size_and_depth_are_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
