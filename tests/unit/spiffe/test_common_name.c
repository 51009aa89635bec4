/* common_name: which CN is told, and the many that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cert_builder.h"
#include "spiffe/common_name.h"

#define ID "spiffe://prod.example/ns/shop/sa/web"

struct entry {
    const char *field; /* "CN", "O" */
    int type;
    const char *bytes;
    int len;
    int set; /* 0: an RDN of its own, -1: in the last one (X509_NAME_add_entry) */
};

static struct crypto *crypto;
static EVP_PKEY *key;

static int setup(void **state)
{
    (void)state;
    crypto = cert_crypto();
    key = cert_ec_key(crypto, "P-256");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    crypto_free(crypto);
    return 0;
}

enum { BYTES_MAX = 80 };

/* libcrypto makes no name of broken text: entries are made of a letter each, and put in later. */
static int letters(size_t index, const struct entry *entry, char text[BYTES_MAX])
{
    CERT_MUST(entry->len < BYTES_MAX);
    memset(text, 'Q' + (int)index, (size_t)entry->len);
    return entry->len;
}

static void put_in(unsigned char *der, size_t len, size_t index, const struct entry *entry)
{
    unsigned char wanted[2 + BYTES_MAX] = {V_ASN1_UTF8STRING, (unsigned char)entry->len};
    size_t size = 2 + (size_t)letters(index, entry, (char *)wanted + 2);
    unsigned char *found = memmem(der, len, wanted, size);
    CERT_MUST(found != NULL);
    found[0] = (unsigned char)entry->type;
    memcpy(found + 2, entry->bytes, (size_t)entry->len);
}

/* The DER of a certificate with that subject. */
static unsigned char *certificate(const struct entry *entries, size_t count, size_t *len)
{
    struct cert_spec spec = cert_leaf(ID);
    spec.cn = NULL;
    X509 *made = cert_build(crypto, &spec, key, NULL, NULL);
    X509_NAME *name = X509_NAME_new();
    for (size_t i = 0; i < count; i++) {
        char text[BYTES_MAX];
        int size = letters(i, &entries[i], text);
        X509_NAME_ENTRY *added =
            X509_NAME_ENTRY_create_by_NID(NULL, OBJ_txt2nid(entries[i].field), V_ASN1_UTF8STRING,
                                          (const unsigned char *)text, size);
        CERT_MUST(added != NULL && X509_NAME_add_entry(name, added, -1, entries[i].set) == 1);
        X509_NAME_ENTRY_free(added);
    }
    CERT_MUST(X509_set_subject_name(made, name) == 1 && X509_sign(made, key, EVP_sha256()) > 0);
    X509_NAME_free(name);
    unsigned char *der = NULL;
    int size = i2d_X509(made, &der);
    CERT_MUST(size > 0);
    X509_free(made);
    *len = (size_t)size;
    for (size_t i = 0; i < count; i++) {
        put_in(der, *len, i, &entries[i]);
    }
    return der;
}

static void assert_reads(const struct entry *entries, size_t count, const char *wanted, int line)
{
    size_t len;
    unsigned char *der = certificate(entries, count, &len);
    struct strview got = common_name_read((struct strview){(const char *)der, len});
    if (!strview_equal_text(got, wanted)) {
        fail_msg("line %d: got \"%.*s\", not \"%s\"", line, (int)got.len,
                 got.len == 0 ? "" : got.ptr, wanted);
    }
    OPENSSL_free(der);
}

#define READS(wanted, ...)                                                               \
    do {                                                                                 \
        const struct entry entries[] = {__VA_ARGS__};                                    \
        assert_reads(entries, sizeof(entries) / sizeof(entries[0]), (wanted), __LINE__); \
    } while (0)

#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void test_common_name_is_read(void **state)
{
    (void)state;
    READS("web", {"CN", V_ASN1_UTF8STRING, "web", 3, 0});
    READS("web", {"O", V_ASN1_UTF8STRING, "shop", 4, 0},
          {"CN", V_ASN1_PRINTABLESTRING, "web", 3, 0});
    READS("web", {"CN", V_ASN1_IA5STRING, "web", 3, 0}, {"O", V_ASN1_UTF8STRING, "shop", 4, -1});
    READS("w\xc3\xa9"
          "b",
          {"CN", V_ASN1_UTF8STRING,
           "w\xc3\xa9"
           "b",
           4, 0});
    READS(X64, {"CN", V_ASN1_UTF8STRING, X64, 64, 0});
}

static void test_common_name_is_left_out(void **state)
{
    (void)state;
    assert_reads(NULL, 0, "", __LINE__);
    READS("", {"O", V_ASN1_UTF8STRING, "web", 3, 0});
    READS("", {"CN", V_ASN1_UTF8STRING, "", 0, 0});
    /* which one would it be? */
    READS("", {"CN", V_ASN1_UTF8STRING, "web", 3, 0}, {"CN", V_ASN1_UTF8STRING, "admin", 5, 0});
    READS("", {"CN", V_ASN1_UTF8STRING, "web", 3, 0}, {"CN", V_ASN1_UTF8STRING, "admin", 5, -1});
    /* CVE-2009-2408 */
    READS("", {"CN", V_ASN1_UTF8STRING, "admin\0.evil", 11, 0});
    READS("", {"CN", V_ASN1_UTF8STRING, "web\r\nadmin", 10, 0});
    READS("", {"CN", V_ASN1_UTF8STRING, "web\x7f", 4, 0});
    READS("", {"CN", V_ASN1_UTF8STRING,
               "\xe2\x80\xae"
               "nimda",
               8, 0}); /* right-to-left */
    READS("", {"CN", V_ASN1_UTF8STRING, "w\xc3", 2, 0});
    READS("", {"CN", V_ASN1_UTF8STRING, "\xc0\xaf", 2, 0});
    READS("", {"CN", V_ASN1_UTF8STRING, "\xff\xff", 2, 0});
    READS("", {"CN", V_ASN1_PRINTABLESTRING, "w\xc3\xa9", 3, 0});
    READS("", {"CN", V_ASN1_IA5STRING, "\xe9", 1, 0});
    READS("", {"CN", V_ASN1_T61STRING, "web", 3, 0});
    READS("", {"CN", V_ASN1_BMPSTRING, "\0w\0e", 4, 0});
    READS("", {"CN", V_ASN1_UNIVERSALSTRING, "\0\0\0w", 4, 0});
    READS("", {"CN", V_ASN1_UTF8STRING, X64 "x", 65, 0});
}

/* Whatever the bytes are, only they are read. ASan watches. */
static void test_common_name_of_damaged_certificates(void **state)
{
    (void)state;
    static const struct entry entry = {"CN", V_ASN1_UTF8STRING, "web", 3, 0};
    size_t len;
    unsigned char *der = certificate(&entry, 1, &len);
    for (size_t cut = 0; cut < len; cut++) {
        char *copy = malloc(cut + 1);
        CERT_MUST(copy != NULL);
        memcpy(copy, der, cut);
        assert_int_equal(common_name_read((struct strview){copy, cut}).len, 0);
        free(copy);
    }
    for (size_t at = 0; at < len; at++) {
        unsigned char kept = der[at];
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            der[at] = (unsigned char)(kept ^ flip);
            struct strview got = common_name_read((struct strview){(const char *)der, len});
            assert_true(got.len <= COMMON_NAME_MAX);
        }
        der[at] = kept;
    }
    OPENSSL_free(der);
    assert_int_equal(common_name_read((struct strview){NULL, 0}).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_common_name_is_read),
        cmocka_unit_test(test_common_name_is_left_out),
        cmocka_unit_test(test_common_name_of_damaged_certificates),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
