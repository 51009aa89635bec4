/* clock: dates against known ones and against gmtime. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static void test_clock_format_known_dates(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59Z"},
        {-86400, "1969-12-31T00:00:00Z"},
        {951782400, "2000-02-29T00:00:00Z"},
        {4107542399, "2100-02-28T23:59:59Z"},
        {4107542400, "2100-03-01T00:00:00Z"},
        {1795429230, "2026-11-23T10:20:30Z"},
        {2147483648, "2038-01-19T03:14:08Z"},
        {-2208988800, "1900-01-01T00:00:00Z"},
        {-62135596800, "0001-01-01T00:00:00Z"},
        {-62167219200, "0000-01-01T00:00:00Z"},
        {253402300799, "9999-12-31T23:59:59Z"},
        /* Out of range: the nearest. */
        {253402300800, "9999-12-31T23:59:59Z"},
        {INT64_MAX, "9999-12-31T23:59:59Z"},
        {-62167219201, "0000-01-01T00:00:00Z"},
        {INT64_MIN, "0000-01-01T00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[CLOCK_TEXT_SIZE];
        assert_ptr_equal(clock_format_s(cases[i].seconds, text), text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_clock_format_agrees_with_gmtime(void **state)
{
    (void)state;
    /* A step that is no multiple of a day walks through all days and times of day. */
    for (int64_t at = -62167219200; at <= 253402300799; at += 3 * 86400 + 3661) {
        time_t seconds = at;
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        char expected[64];
        (void)snprintf(expected, sizeof(expected), "%04d-%02d-%02dT%02d:%02d:%02dZ",
                       tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                       tm.tm_sec);
        char text[CLOCK_TEXT_SIZE];
        assert_string_equal(clock_format_s(at, text), expected);
    }
}

static void test_clock_format_ms(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_SIZE];
    assert_string_equal(clock_format_ms(0, text), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_format_ms(1795429230123, text), "2026-11-23T10:20:30.123Z");
    assert_string_equal(clock_format_ms(1795429230007, text), "2026-11-23T10:20:30.007Z");
    assert_string_equal(clock_format_ms(UINT64_MAX, text), "9999-12-31T23:59:59.999Z");
}

static void test_clock_runs_forward_and_agrees_with_the_system(void **state)
{
    (void)state;
    uint64_t us = clock_mono_us();
    uint64_t ms = clock_mono_ms();
    assert_true(ms >= us / 1000);
    assert_true(clock_mono_us() >= us);
    int64_t before = (int64_t)time(NULL);
    int64_t wall = clock_wall_s();
    assert_in_range((uintmax_t)(wall - before + 1), 0, 10);
    assert_true(clock_wall_ms() / 1000 >= (uint64_t)wall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_format_known_dates),
        cmocka_unit_test(test_clock_format_agrees_with_gmtime),
        cmocka_unit_test(test_clock_format_ms),
        cmocka_unit_test(test_clock_runs_forward_and_agrees_with_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
