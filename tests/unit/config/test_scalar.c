/* What the text of one value means, and what it doesn't. */
#include "config/scalar.h"

#include "unit/config/config_test.h"

typedef bool parse_fn(const char *text, uint64_t *value, const char **why);

struct good {
    const char *text;
    uint64_t value;
};

struct bad {
    const char *text;
    const char *why;
};

static void assert_good(parse_fn *parse, const struct good *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 77;
        const char *why = NULL;
        print_message("%s\n", rows[i].text);
        assert_true(parse(rows[i].text, &value, &why));
        assert_int_equal(value, rows[i].value);
    }
}

static void assert_bad(parse_fn *parse, const struct bad *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        const char *why = NULL;
        print_message("\"%s\"\n", rows[i].text);
        assert_false(parse(rows[i].text, &value, &why));
        assert_non_null(why);
        assert_non_null(strstr(why, rows[i].why));
    }
}

static const struct good counts[] = {
    {"0", 0},
    {"1", 1},
    {"42", 42},
    {"18446744073709551615", UINT64_MAX},
};

static const struct bad no_counts[] = {
    {"", "start with a decimal digit"},
    {"-1", "start with a decimal digit"},
    {"+1", "start with a decimal digit"},
    {" 1", "start with a decimal digit"},
    {"x", "start with a decimal digit"},
    {".5", "start with a decimal digit"},
    {"\xd9\xa1", "start with a decimal digit"},
    {"00", "without a leading 0"},
    {"010", "without a leading 0"},
    {"0x10", "digits only"},
    {"0o17", "digits only"},
    {"0b1", "digits only"},
    {"1_000", "digits only"},
    {"1,000", "digits only"},
    {"1e3", "digits only"},
    {"1.0", "digits only"},
    {"1 ", "digits only"},
    {"1k", "digits only"},
    {"12:30", "digits only"},
    {"18446744073709551616", "too large"},
    {"99999999999999999999999", "too large"},
};

static const struct good durations[] = {
    {"0s", 0},
    {"0ms", 0},
    {"1ms", 1},
    {"250ms", 250},
    {"10s", 10000},
    {"2m", 120000},
    {"1h", 3600000},
    {"1d", 86400000},
    {"3650d", UINT64_C(315360000000)},
    {"1000000ms", 1000000},
};

static const struct bad no_durations[] = {
    {"", "start with a decimal digit"},
    {"s", "start with a decimal digit"},
    {"-1s", "start with a decimal digit"},
    {"010s", "without a leading 0"},
    {"0", "write a unit"},
    {"10", "write a unit"},
    {"10 s", "one unit of"},
    {"10S", "one unit of"},
    {"10sec", "one unit of"},
    {"1.5s", "one unit of"},
    {"1h30m", "one unit of"},
    {"1:30", "one unit of"},
    {"1us", "one unit of"},
    {"1w", "one unit of"},
    {"10s ", "one unit of"},
    {"18446744073709551615s", "too large"},
    {"213503982335d", "too large"},
};

static const struct good sizes[] = {
    {"0", 0},
    {"4096", 4096},
    {"16KiB", 16384},
    {"64MiB", UINT64_C(64) << 20},
    {"1GiB", UINT64_C(1) << 30},
    {"17179869183GiB", UINT64_C(17179869183) << 30},
};

static const struct bad no_sizes[] = {
    {"", "start with a decimal digit"},
    {"KiB", "start with a decimal digit"},
    {"-1KiB", "start with a decimal digit"},
    {"016KiB", "without a leading 0"},
    {"16kb", "KiB, MiB or GiB"},
    {"16KB", "KiB, MiB or GiB"},
    {"16K", "KiB, MiB or GiB"},
    {"16kib", "KiB, MiB or GiB"},
    {"16 KiB", "KiB, MiB or GiB"},
    {"1.5GiB", "KiB, MiB or GiB"},
    {"1TiB", "KiB, MiB or GiB"},
    {"16B", "KiB, MiB or GiB"},
    {"17179869184GiB", "too large"},
};

static void test_scalar_reads_counts(void **state)
{
    (void)state;
    assert_good(scalar_parse_count, counts, COUNT_OF(counts));
    assert_bad(scalar_parse_count, no_counts, COUNT_OF(no_counts));
}

static void test_scalar_reads_durations(void **state)
{
    (void)state;
    assert_good(scalar_parse_duration, durations, COUNT_OF(durations));
    assert_bad(scalar_parse_duration, no_durations, COUNT_OF(no_durations));
}

static void test_scalar_reads_sizes(void **state)
{
    (void)state;
    assert_good(scalar_parse_size, sizes, COUNT_OF(sizes));
    assert_bad(scalar_parse_size, no_sizes, COUNT_OF(no_sizes));
}

static void test_scalar_reads_modes(void **state)
{
    (void)state;
    static const struct good modes[] = {{"0660", 0660}, {"660", 0660}, {"0000", 0}, {"777", 0777}};
    static const char *const no_modes[] = {"",      "6",     "66",   "6600", "00660",
                                           "0o660", "0668",  "rw-",  "-660", "0 660",
                                           "1777",  "0x1b0", "660 ", "u=rw"};
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        uint32_t mode = 1;
        const char *why = NULL;
        assert_true(scalar_parse_mode(modes[i].text, &mode, &why));
        assert_int_equal(mode, modes[i].value);
    }
    for (size_t i = 0; i < COUNT_OF(no_modes); i++) {
        uint32_t mode = 0;
        const char *why = NULL;
        print_message("\"%s\"\n", no_modes[i]);
        assert_false(scalar_parse_mode(no_modes[i], &mode, &why));
        assert_non_null(strstr(why, "octal"));
    }
}

/* What is written for people reads back as the same value. */
static void test_scalar_writes_what_it_reads(void **state)
{
    (void)state;
    static const struct good written[] = {
        {"0s", 0},     {"1ms", 1},       {"1500ms", 1500},  {"90s", 90000},
        {"1m", 60000}, {"1d", 86400000}, {"25h", 90000000},
    };
    char text[SCALAR_TEXT_SIZE];
    uint64_t value = 0;
    const char *why = NULL;
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        assert_string_equal(scalar_format_duration(written[i].value, text), written[i].text);
        assert_true(scalar_parse_duration(text, &value, &why));
        assert_int_equal(value, written[i].value);
    }
    static const uint64_t bytes[] = {0, 1, 1023, 1024, 1536, UINT64_C(1) << 40, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(bytes); i++) {
        assert_true(scalar_parse_size(scalar_format_size(bytes[i], text), &value, &why));
        assert_int_equal(value, bytes[i]);
    }
    assert_string_equal(scalar_format_size(1536, text), "1536");
    assert_string_equal(scalar_format_size(UINT64_C(1) << 40, text), "1024GiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar_reads_counts),
        cmocka_unit_test(test_scalar_reads_durations),
        cmocka_unit_test(test_scalar_reads_sizes),
        cmocka_unit_test(test_scalar_reads_modes),
        cmocka_unit_test(test_scalar_writes_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
