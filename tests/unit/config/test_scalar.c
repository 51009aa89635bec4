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
    {"0", "must have a unit"},
    {"10", "must have a unit"},
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

static void test_scalar_reads_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"1970-01-01", 0},
        {"1970-01-02", 86400},
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:01Z", 1},
        {"1970-01-01T00:00+01:00", -3600},
        {"1972-02-29", 68169600},
        {"1999-12-31T23:59:59Z", 946684799},
        {"2000-02-29", 951782400},
        {"2000-03-01", 951868800},
        {"2024-02-29T12:00Z", 1709208000},
        {"2027-01-31", 1801353600},
        {"2027-01-31T18:00:00Z", 1801418400},
        {"2027-01-31T18:00Z", 1801418400},
        {"2027-01-31t18:00:00z", 1801418400},
        {"2027-01-31 18:00:00Z", 1801418400},
        {"2027-01-31 18:00:00 Z", 1801418400},
        {"2027-01-31 18:00:00 +00:00", 1801418400},
        {"2027-01-31T20:00:00+02:00", 1801418400},
        {"2027-01-31T12:30:00-05:30", 1801418400},
        {"2027-02-01T17:59:00+23:59", 1801418400},
        {"2027-01-31T18:00:00-00:00", 1801418400},
        {"2027-01-31T18:00:00.0Z", 1801418400},
        {"2027-01-31T18:00:00.999999999Z", 1801418400},
        {"2027-01-31 18:00:00.000000000 Z", 1801418400},
        {"2038-01-19T03:14:08Z", INT64_C(2147483648)},
        {"2100-02-28", 4107456000},
        {"2100-03-01", 4107542400},
        {"2400-02-29", INT64_C(13574563200)},
        {"9999-12-31", INT64_C(253402214400)},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799)},
        {"9999-12-31T23:59:59-23:59", INT64_C(253402387139)},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t seconds = 77;
        const char *why = NULL;
        print_message("%s\n", rows[i].text);
        assert_true(scalar_parse_time(rows[i].text, &seconds, &why));
        assert_int_equal(seconds, rows[i].seconds);
    }
}

static void test_scalar_refuses_other_times(void **state)
{
    (void)state;
#define FORM "must be a date such as 2027-01-31, or a time with its zone"
#define ZONE "lacks its time zone: write Z for UTC, or an offset such as +02:00"
    static const struct bad rows[] = {
        {"", FORM},
        {"2027", FORM},
        {"2027-01", FORM},
        {"2027-1-31", FORM},
        {"2027-01-1", FORM},
        {"27-01-31", FORM},
        {"20270131", FORM},
        {"2027/01/31", FORM},
        {"31.01.2027", FORM},
        {"01-31-2027", FORM},
        {"+2027-01-31", FORM},
        {" 2027-01-31", FORM},
        {"2027-01-31 ", FORM},
        {"12027-01-31", FORM},
        {"1969-12-31", FORM},
        {"0000-01-01", FORM},
        {"2027-00-31", FORM},
        {"2027-13-01", FORM},
        {"2027-01-00", FORM},
        {"2027-01-32", FORM},
        {"2027-04-31", FORM},
        {"2027-02-29", FORM},
        {"2100-02-29", FORM},
        {"1900-02-29", FORM},
        {"2024-02-30", FORM},
        {"2027-01-31T", FORM},
        {"2027-01-31T18", FORM},
        {"2027-01-31T18Z", FORM},
        {"2027-01-31T1:00Z", FORM},
        {"2027-01-31T24:00:00Z", FORM},
        {"2027-01-31T24:00Z", FORM},
        {"2027-01-31T18:60Z", FORM},
        {"2027-01-31T18:00:60Z", FORM},
        {"2027-01-31T23:59:60Z", FORM},
        {"2027-01-31T18:00:0Z", FORM},
        {"2027-01-31T18:00:00.Z", FORM},
        {"2027-01-31T18:00.5Z", FORM},
        {"2027-01-31T18:00:00,5Z", FORM},
        {"2027-01-31_18:00:00Z", FORM},
        {"2027-01-31  18:00:00Z", FORM},
        {"2027-01-31T18:00:00", ZONE},
        {"2027-01-31T18:00", ZONE},
        {"2027-01-31 00:00:00", ZONE},
        {"2027-01-31T18:00:00.5", ZONE},
        {"2027-01-31T18:00:00 ", FORM},
        {"2027-01-31T18:00:00  Z", FORM},
        {"2027-01-31T18:00:00UTC", FORM},
        {"2027-01-31T18:00:00CET", FORM},
        {"2027-01-31T18:00:00+02", FORM},
        {"2027-01-31T18:00:00+0200", FORM},
        {"2027-01-31T18:00:00+2:00", FORM},
        {"2027-01-31T18:00:00+24:00", FORM},
        {"2027-01-31T18:00:00+02:60", FORM},
        {"2027-01-31T18:00:00Z+02:00", FORM},
        {"2027-01-31T18:00:00Z ", FORM},
        {"2027-01-31Z", FORM},
        {"2027-01-31+02:00", FORM},
        {"tomorrow", FORM},
        {"never", FORM},
        {"30d", FORM},
        {"1801353600", FORM},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t seconds = 77;
        const char *why = NULL;
        print_message("\"%s\"\n", rows[i].text);
        assert_false(scalar_parse_time(rows[i].text, &seconds, &why));
        assert_int_equal(seconds, 77);
        assert_memory_equal(why, rows[i].why, strlen(rows[i].why));
    }
#undef FORM
#undef ZONE
}

static void test_scalar_knows_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "0", "a.b_c-d", "a.", "10.0.0.1"};
    static const char *const bad[] = {"",    ".a",  "_a",        "-a",      "A",
                                      "a b", "a/b", "aaaaaaaaa", "\xc3\xa4"};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(scalar_is_name(good[i], 8));
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(scalar_is_name(bad[i], 8));
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
        cmocka_unit_test(test_scalar_reads_times),
        cmocka_unit_test(test_scalar_refuses_other_times),
        cmocka_unit_test(test_scalar_knows_names),
        cmocka_unit_test(test_scalar_writes_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
