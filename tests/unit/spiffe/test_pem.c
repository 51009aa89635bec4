/* Unit tests of pem: what is a block, what is a comment, what is damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../../src/spiffe/pem.h"
#include "cert_builder.h"

#define B(label) "-----BEGIN " label "-----\n"
#define E(label) "-----END " label "-----\n"

/* Blocks up to the end, or -1 with the message in err. */
static int count_blocks(const char *text, size_t len, struct errbuf *err)
{
    struct pem_reader reader = {.pem = {text, len}};
    struct pem_block block;
    int count = 0;
    int status;
    while ((status = pem_next(&reader, &block, err)) == 1) {
        assert_int_equal(memcmp(block.text.ptr, "-----BEGIN ", 11), 0);
        count++;
    }
    return status < 0 ? -1 : count;
}

static void test_counts_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int count;
        const char *message;
    } cases[] = {
        {"", 0, NULL},
        {"\n\n", 0, NULL},
        {"only words\n", 0, NULL},
        {B("CERTIFICATE") "AAAA\n" E("CERTIFICATE"), 1, NULL},
        {B("CERTIFICATE") "AAAA\n-----END CERTIFICATE-----", 1, NULL},
        {"# comment\nSubject: CN = a\r\n" B("A") "AA\r\n" E("A") "tail\n" B("B") E("B"), 2, NULL},
        {"-----------------\n" B("A") E("A"), 1, NULL},
        {"\xef\xbb\xbf# byte order mark and ä\n" B("A") E("A"), 1, NULL},
        {"-----BEGIN CERTIFICATE-----   \r\nAA\n-----END CERTIFICATE-----\t\n", 1, NULL},

        {B("CERTIFICATE") "AAAA\n", -1, "without its END"},
        {B("CERTIFICATE"), -1, "without its END"},
        {B("CERTIFICATE") "AAAA\n-----END CERTIF", -1, "without its END"},
        {B("CERTIFICATE") "AAAA\n-----END CERTIFICATE----", -1, "without its END"},
        {B("CERTIFICATE") "AA\n" E("PRIVATE KEY"), -1, "without its END"},
        {B("CERTIFICATE") "AA\n" B("CERTIFICATE") "AA\n" E("CERTIFICATE"), -1, "without its END"},
        {E("CERTIFICATE"), -1, "without its BEGIN"},
        {"AAAA\n" E("CERTIFICATE") B("CERTIFICATE") E("CERTIFICATE"), -1, "without its BEGIN"},
        {"-----BEGIN CERTIFICATE----\nAA\n" E("CERTIFICATE"), -1, "broken BEGIN"},
        {" -----BEGIN CERTIFICATE-----\nAA\n" E("CERTIFICATE"), -1, "broken BEGIN"},
        {B("A") E("A") "\x01\n", -1, "binary"},
        {"\x30\x82\x01\x02", -1, "binary"},
        {B("A") "A\x02\n" E("A"), -1, "binary"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct errbuf err = {""};
        int count = count_blocks(cases[i].text, strlen(cases[i].text), &err);
        if (count != cases[i].count ||
            (cases[i].message != NULL && strstr(err.text, cases[i].message) == NULL)) {
            fail_msg("case %zu: %d, \"%s\"", i, count, err.text);
        }
    }
}

static void test_nul_bytes_are_binary(void **state)
{
    (void)state;
    struct errbuf err;
    static const char page[4096];
    assert_int_equal(count_blocks(page, sizeof(page), &err), -1);
    assert_int_equal(count_blocks(B("A") "\0" E("A"), 28, &err), -1);
}

static void test_messages_name_the_line(void **state)
{
    (void)state;
    struct errbuf err;
    static const char text[] = "one\n" B("A") E("A") "\n" B("B") "x\n";
    assert_int_equal(count_blocks(text, sizeof(text) - 1, &err), -1);
    assert_non_null(strstr(err.text, "line 5:"));
}

static void test_every_prefix_is_whole_or_damaged(void **state)
{
    (void)state;
    static const char text[] = "note\n" B("A") "AAAA\n" E("A");
    size_t begin = 5;
    size_t end = sizeof(text) - 2; /* the last newline is not needed */
    for (size_t len = 0; len < sizeof(text); len++) {
        struct errbuf err;
        char *exact = malloc(len > 0 ? len : 1);
        memcpy(exact, text, len);
        int count = count_blocks(exact, len, &err);
        if (len >= end) {
            assert_int_equal(count, 1);
        } else if (len > begin + 16) {
            assert_int_equal(count, -1);
        } else {
            assert_int_not_equal(count, 1);
        }
        free(exact);
    }
}

static void test_knows_private_keys(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        int is_key;
    } cases[] = {{"PRIVATE KEY", 1},         {"RSA PRIVATE KEY", 1},
                 {"EC PRIVATE KEY", 1},      {"ENCRYPTED PRIVATE KEY", 1},
                 {"OPENSSH PRIVATE KEY", 1}, {"PUBLIC KEY", 0},
                 {"CERTIFICATE", 0},         {"", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pem_block block = {.label = strview_from(cases[i].label)};
        assert_int_equal(pem_is_private_key(&block), cases[i].is_key);
    }
}

static void test_certificates(void **state)
{
    (void)state;
    struct crypto *crypto = cert_crypto();
    EVP_PKEY *key = cert_ec_key(crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    X509 *root = cert_build(crypto, &spec, key, NULL, NULL);
    char *pem = cert_pem_one(root);
    struct errbuf err;
    struct pem_reader reader = {.pem = strview_from(pem)};
    struct pem_block block;
    assert_int_equal(pem_next(&reader, &block, &err), 1);
    X509 *read = pem_certificate(crypto, &block, &err);
    assert_non_null(read);
    assert_int_equal(X509_cmp(read, root), 0);
    X509_free(read);

    char *damage = pem + 200;
    *damage = '!';
    assert_null(pem_certificate(crypto, &block, &err));
    assert_non_null(strstr(err.text, "line 1:"));
    free(pem);

    static const char no_certificate[] = B("CERTIFICATE") "AAAA\n" E("CERTIFICATE");
    reader = (struct pem_reader){.pem = strview_from(no_certificate)};
    assert_int_equal(pem_next(&reader, &block, &err), 1);
    assert_null(pem_certificate(crypto, &block, &err));
    assert_non_null(strstr(err.text, "no X.509 certificate"));

    unsigned char *der = NULL;
    int len = i2d_X509(root, &der);
    assert_true(len > 0);
    der = OPENSSL_realloc(der, (size_t)len + 1);
    der[len] = 0;
    read = pem_parse_der(crypto, der, (size_t)len);
    assert_non_null(read);
    X509_free(read);
    assert_null(pem_parse_der(crypto, der, (size_t)len + 1)); /* a byte behind it */
    assert_null(pem_parse_der(crypto, der, (size_t)len - 1));
    assert_null(pem_parse_der(crypto, der, 0));
    OPENSSL_free(der);
    X509_free(root);
    EVP_PKEY_free(key);
    crypto_free(crypto);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_blocks),
        cmocka_unit_test(test_nul_bytes_are_binary),
        cmocka_unit_test(test_messages_name_the_line),
        cmocka_unit_test(test_every_prefix_is_whole_or_damaged),
        cmocka_unit_test(test_knows_private_keys),
        cmocka_unit_test(test_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
