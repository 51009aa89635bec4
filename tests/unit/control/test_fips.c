/* Unit tests of fips: who asks, and what the log says of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/fips.h"

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        struct fips_request request;
        const char *asked_by; /* NULL: nobody */
        const char *answer;   /* how it begins */
        bool all;
    } ROWS[] = {
        {{CRYPTO_FILTERED, false, CRYPTO_FIPS_NONE, false}, NULL, NULL, false},
        {{CRYPTO_STOCK, false, CRYPTO_FIPS_NONE, false}, NULL, NULL, false},
        {{CRYPTO_SYSTEM, false, CRYPTO_FIPS_NONE, false}, NULL, NULL, false},
        {{CRYPTO_FILTERED, true, CRYPTO_FIPS_NONE, false}, "kernel", "nothing of it", false},
        {{CRYPTO_STOCK, false, CRYPTO_FIPS_PROVIDER, false}, "fips module", "nothing of it", false},
        {{CRYPTO_FILTERED, true, CRYPTO_FIPS_PROPERTIES, false},
         "default_properties",
         "nothing of it",
         false},
        {{CRYPTO_SYSTEM, true, CRYPTO_FIPS_NONE, false}, "kernel", "not honoured", false},
        {{CRYPTO_SYSTEM, true, CRYPTO_FIPS_PROVIDER, false},
         "fips module",
         "honoured in part",
         false},
        {{CRYPTO_SYSTEM, false, CRYPTO_FIPS_PROPERTIES, true},
         "default_properties",
         "honoured: every",
         true},
        {{CRYPTO_SYSTEM, true, CRYPTO_FIPS_PROPERTIES, true},
         "default_properties",
         "honoured: every",
         true},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        bool all = true;
        const char *by = fips_asked_by(&ROWS[i].request);
        const char *answer = fips_answer(&ROWS[i].request, &all);
        assert_true((by == NULL) == (ROWS[i].asked_by == NULL));
        assert_true((answer == NULL) == (ROWS[i].answer == NULL));
        assert_int_equal(all, ROWS[i].all);
        if (by != NULL && answer != NULL) {
            assert_string_equal(by, ROWS[i].asked_by);
            assert_memory_equal(answer, ROWS[i].answer, strlen(ROWS[i].answer));
        }
    }
}

static void test_kernel(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool asks;
    } ROWS[] = {{"1\n", true}, {"0\n", false}, {"", false}, {"\n1", false}};
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        char path[] = "/tmp/bulkhead-test-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        size_t len = strlen(ROWS[i].text);
        assert_int_equal(write(fd, ROWS[i].text, len), (ssize_t)len);
        close(fd);
        assert_int_equal(fips_kernel_asks(path), ROWS[i].asks);
        unlink(path);
    }
    assert_false(fips_kernel_asks("/nowhere/fips_enabled"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_kernel),
    };
    return cmocka_run_group_tests_name("fips", tests, NULL, NULL);
}
