/* backoff: at once, then longer and longer, with jitter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/backoff.h"

static void test_grows_to_its_most_and_starts_anew(void **state)
{
    (void)state;
    static const uint64_t full[] = {0, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
    struct backoff backoff;
    backoff_init(&backoff, 1000, 30000);
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof(full) / sizeof(full[0]); i++) {
            uint64_t wait = backoff_next(&backoff);
            assert_true(wait >= full[i] / 2 && wait <= full[i]);
        }
        backoff_reset(&backoff);
    }
}

static void test_two_are_not_alike(void **state)
{
    (void)state;
    struct backoff one;
    struct backoff other;
    backoff_init(&one, 1000, 30000);
    backoff_init(&other, 1000, 30000);
    size_t alike = 0;
    for (int i = 0; i < 20; i++) {
        alike += backoff_next(&one) == backoff_next(&other);
    }
    assert_true(alike < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_to_its_most_and_starts_anew),
        cmocka_unit_test(test_two_are_not_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
