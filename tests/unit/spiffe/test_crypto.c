/* Unit tests of crypto: the host's OpenSSL configuration must change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include "spiffe/crypto.h"

/* With this configuration read, no algorithm at all would be found. */
static const char POISON[] = "openssl_conf = init\n"
                             "[init]\n"
                             "providers = providers\n"
                             "alg_section = algorithms\n"
                             "[providers]\n"
                             "null = null_section\n"
                             "[null_section]\n"
                             "activate = 1\n"
                             "[algorithms]\n"
                             "default_properties = fips=yes\n";

static void assert_fetches(OSSL_LIB_CTX *libctx)
{
    EVP_MD *digest = EVP_MD_fetch(libctx, "SHA256", NULL);
    assert_non_null(digest);
    EVP_MD_free(digest);
}

static void test_openssl_conf_changes_nothing(void **state)
{
    (void)state;
    char path[] = "/tmp/bulkhead-test-XXXXXX";
    struct errbuf err;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, POISON, sizeof(POISON) - 1), sizeof(POISON) - 1);
    close(fd);
    assert_int_equal(setenv("OPENSSL_CONF", path, 1), 0);

    struct crypto *crypto = crypto_new(CRYPTO_STOCK, &err);
    assert_non_null(crypto);
    assert_fetches(crypto_libctx(crypto));
    assert_fetches(NULL); /* the default context, which libraries below us may use */
    assert_int_equal(OSSL_PROVIDER_available(NULL, "null"), 0);
    unlink(path);
    crypto_free(crypto);
}

static void test_random_numbers(void **state)
{
    (void)state;
    struct errbuf err;
    unsigned char a[32] = {0};
    unsigned char b[32] = {0};
    struct crypto *crypto = crypto_new(CRYPTO_STOCK, &err);
    assert_non_null(crypto);
    assert_int_equal(RAND_bytes_ex(crypto_libctx(crypto), a, sizeof(a), 0), 1);
    assert_int_equal(RAND_bytes_ex(crypto_libctx(crypto), b, sizeof(b), 0), 1);
    assert_memory_not_equal(a, b, sizeof(a));
    crypto_free(crypto);
}

static void test_contexts_are_apart(void **state)
{
    (void)state;
    struct errbuf err;
    struct crypto *one = crypto_new(CRYPTO_STOCK, &err);
    struct crypto *two = crypto_new(CRYPTO_STOCK, &err);
    assert_non_null(one);
    assert_non_null(two);
    assert_ptr_not_equal(crypto_libctx(one), crypto_libctx(two));
    crypto_free(one);
    assert_fetches(crypto_libctx(two));
    crypto_free(two);
    crypto_free(NULL);
}

static void test_versions(void **state)
{
    (void)state;
    assert_non_null(strstr(crypto_build_version(), "OpenSSL"));
    assert_non_null(strstr(crypto_run_version(), "OpenSSL"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: libcrypto reads its configuration at most once per process. */
        cmocka_unit_test(test_openssl_conf_changes_nothing),
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_contexts_are_apart),
        cmocka_unit_test(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
