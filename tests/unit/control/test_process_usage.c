/* process_usage: lines of /proc/PID/stat, true, odd and broken; and what the kernel says of us. */
#include "control/process_usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BEHIND \
    " S 1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 7 0 9000 123456 42 18446744073709551615 1\n"

static bool parse(const char *text, struct process_usage *usage)
{
    /* Exactly as many bytes as there are, for the sanitizer. */
    size_t len = strlen(text);
    char *copy = malloc(len + (len == 0));
    assert_non_null(copy);
    memcpy(copy, text, len);
    *usage = (struct process_usage){.threads = 0};
    bool parsed = process_usage_parse_stat(copy, len, 4096, usage);
    free(copy);
    return parsed;
}

static void test_lines_that_are_understood(void **state)
{
    (void)state;
    static const char *const rows[] = {"2 (bulkhead)" BEHIND, "2 (a b) c)) (d)" BEHIND,
                                       "2 ()" BEHIND};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct process_usage usage;
        assert_true(parse(rows[i], &usage));
        assert_int_equal(usage.threads, 7);
        assert_int_equal(usage.virtual_bytes, 123456);
        assert_int_equal(usage.resident_bytes, 42 * 4096);
    }
}

static void test_lines_that_are_not(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "2",
        "2 (bulkhead",
        "2 (bulkhead)",
        "2 (bulkhead) S 1 2",
        "2 (bulkhead) S 1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 7 0 9000 123456",
        "2 (bulkhead) S 1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 7 0 9000 123456 -1 0\n",
        "2 (bulkhead) S 1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 7 0 9000 x 42 0\n",
        "2 (bulkhead) S 1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 7 0 9000 1 18446744073709551615 "
        "0\n",
        "2 (bulkhead) S 1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 7 0 9000 18446744073709551616 1 "
        "0\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct process_usage usage;
        if (parse(rows[i], &usage)) {
            fail_msg("%s", rows[i]);
        }
    }
}

static void test_of_ourselves(void **state)
{
    (void)state;
    struct process_usage usage;
    process_usage_read(&usage);
    assert_true(usage.has_stat);
    assert_true(usage.threads >= 1); /* a sanitizer has one of its own */
    assert_true(usage.resident_bytes > 0 && usage.virtual_bytes >= usage.resident_bytes);
    assert_true(usage.max_descriptors > 0);
    uint64_t before = usage.cpu_us;
    do {
        process_usage_read(&usage);
    } while (usage.cpu_us == before);
    assert_true(usage.cpu_us > before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_that_are_understood),
        cmocka_unit_test(test_lines_that_are_not),
        cmocka_unit_test(test_of_ourselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
