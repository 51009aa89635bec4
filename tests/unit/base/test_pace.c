/* pace: the first line at once, then one per interval with the count of the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pace.h"

static void test_pace(void **state)
{
    (void)state;
    static const struct {
        uint64_t now_ms;
        bool allowed;
        uint64_t left_out;
    } rows[] = {
        {0, true, 0},    {0, false, 0},   {999, false, 0},  {1000, true, 2},  {1001, false, 0},
        {5000, true, 1}, {6000, true, 0}, {6999, false, 0}, {90000, true, 1}, {90999, false, 0},
    };
    struct pace pace = {.left_out = 0};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t left_out = UINT64_MAX;
        assert_int_equal(pace_allows(&pace, rows[i].now_ms, 1000, &left_out), rows[i].allowed);
        assert_true(left_out == (rows[i].allowed ? rows[i].left_out : UINT64_MAX));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
