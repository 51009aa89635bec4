/* crypto_memory: what libcrypto frees while it reads a private key holds nothing of it any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spiffe/crypto_memory.h"
#include "spiffe/signer.h"
#include "unit/spiffe/cert_builder.h"

/* What is looked for in blocks that are wiped, and in how many it was found. */
static unsigned char secret[512];
static size_t secret_len;
static size_t found;
static size_t wiped;

/* Not inlined: the compiler takes what explicit_bzero is given for memory that nobody reads. */
__attribute__((noinline)) static void look_and_wipe(unsigned char *block, size_t len)
{
    wiped++;
    if (secret_len > 0 && len >= secret_len && memmem(block, len, secret, secret_len) != NULL) {
        found++;
    }
    volatile unsigned char *bytes = block;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = 0;
    }
}

/* In place of the C library's, under the name that it has with _FORTIFY_SOURCE, and without. */
void __explicit_bzero_chk(void *block, size_t len, size_t object_len);
void __explicit_bzero_chk(void *block, size_t len, size_t object_len)
{
    (void)object_len;
    look_and_wipe(block, len);
}

#if !defined(_FORTIFY_SOURCE) || _FORTIFY_SOURCE == 0
void explicit_bzero(void *block, size_t len)
{
    look_and_wipe(block, len);
}
#endif

static int make_crypto(void **state)
{
    struct errbuf err;
    *state = test_crypto_new(&err);
    return *state == NULL;
}

static int free_crypto(void **state)
{
    crypto_free(*state);
    return 0;
}

/* The number in the order that DER has. */
static void look_for(const EVP_PKEY *key, const char *number)
{
    BIGNUM *bn = NULL;
    CERT_MUST(EVP_PKEY_get_bn_param(key, number, &bn) == 1);
    secret_len = (size_t)BN_bn2bin(bn, secret);
    BN_clear_free(bn);
    found = 0;
    wiped = 0;
}

static void read_key(const struct crypto *crypto, const char *pem, size_t len)
{
    struct errbuf err;
    struct signer *signer = signer_from_pem(crypto, pem, len, &err);
    assert_non_null(signer);
    signer_unref(signer);
}

static void read_both_forms(const struct crypto *crypto, EVP_PKEY *key, const char *number)
{
    char *pem = cert_key_pem(key, NULL);
    look_for(key, number);
    read_key(crypto, pem, strlen(pem));
    assert_true(found > 0);
    free(pem);

    char *data = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    CERT_MUST(PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    long len = BIO_get_mem_data(bio, &data);
    look_for(key, number);
    read_key(crypto, data, (size_t)len);
    assert_true(found > 0);
    BIO_free(bio);
    EVP_PKEY_free(key);
}

static void test_the_der_of_an_ec_key_is_wiped(void **state)
{
    read_both_forms(*state, cert_ec_key(*state, "P-256"), OSSL_PKEY_PARAM_PRIV_KEY);
}

static void test_the_der_of_an_rsa_key_is_wiped(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(cert_maker(*state), NULL, "RSA", (size_t)2048);
    CERT_MUST(key != NULL);
    read_both_forms(*state, key, OSSL_PKEY_PARAM_RSA_D);
}

static void test_a_key_that_is_refused_is_wiped_too(void **state)
{
    struct errbuf err;
    EVP_PKEY *weak = cert_ec_key(*state, "secp224r1");
    char *pem = cert_key_pem(weak, NULL);
    look_for(weak, OSSL_PKEY_PARAM_PRIV_KEY);
    assert_null(signer_from_pem(*state, pem, strlen(pem), &err));
    assert_true(found > 0);
    free(pem);
    EVP_PKEY_free(weak);
}

static void test_only_between_begin_and_end(void **state)
{
    (void)state;
    wiped = 0;
    OPENSSL_free(OPENSSL_malloc(100));
    assert_int_equal(wiped, 0);
    crypto_memory_wipe_begin();
    OPENSSL_free(OPENSSL_malloc(100));
    OPENSSL_free(NULL);
    assert_int_equal(wiped, 1);
    crypto_memory_wipe_end();
    OPENSSL_free(OPENSSL_malloc(100));
    assert_int_equal(wiped, 1);
}

static void test_a_block_that_grows_leaves_nothing_behind(void **state)
{
    (void)state;
    static const char text[] = "0123456789abcdef0123456789abcdef";
    secret_len = sizeof(text) - 1;
    memcpy(secret, text, secret_len);
    found = 0;
    crypto_memory_wipe_begin();
    char *block = OPENSSL_malloc(secret_len);
    memcpy(block, text, secret_len);
    block = OPENSSL_realloc(block, 100000);
    assert_int_equal(found, 1);
    assert_memory_equal(block, text, secret_len);
    block = OPENSSL_realloc(block, 8);
    assert_int_equal(found, 2);
    assert_memory_equal(block, text, 8);
    OPENSSL_free(block);
    OPENSSL_free(OPENSSL_realloc(NULL, 10));
    crypto_memory_wipe_end();
}

static void test_installing_again_is_fine(void **state)
{
    (void)state;
    assert_true(crypto_memory_install());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_der_of_an_ec_key_is_wiped),
        cmocka_unit_test(test_the_der_of_an_rsa_key_is_wiped),
        cmocka_unit_test(test_a_key_that_is_refused_is_wiped_too),
        cmocka_unit_test(test_only_between_begin_and_end),
        cmocka_unit_test(test_a_block_that_grows_leaves_nothing_behind),
        cmocka_unit_test(test_installing_again_is_fine),
    };
    return cmocka_run_group_tests(tests, make_crypto, free_crypto);
}
