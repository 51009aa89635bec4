/* strview and utf8: lengths count, NUL bytes don't end anything. */
#include "base/strview.h"

#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct strview view(const char *text, size_t len)
{
    return (struct strview){.ptr = text, .len = len};
}

static void test_strview_nul_byte_does_not_end_a_name(void **state)
{
    (void)state;
    struct strview evil = view("good\0.evil", 10);
    assert_false(strview_equal_text(evil, "good"));
    assert_false(strview_equal(evil, strview_from("good")));
    assert_false(strview_equal(evil, view("good\0.evik", 10)));
    assert_true(strview_equal(evil, view("good\0.evil", 10)));
}

static void test_strview_empty_views_are_equal(void **state)
{
    (void)state;
    assert_int_equal(strview_from(NULL).len, 0);
    assert_true(strview_equal(strview_from(NULL), strview_from("")));
    assert_true(strview_equal_text(view(NULL, 0), ""));
    assert_false(strview_equal_text(view(NULL, 0), "a"));
    assert_false(strview_equal_text(strview_from("a"), ""));
}

static void test_strview_starts_with(void **state)
{
    (void)state;
    assert_true(strview_starts_with(strview_from("spiffe://a"), "spiffe://"));
    assert_true(strview_starts_with(strview_from("a"), ""));
    assert_true(strview_starts_with(view(NULL, 0), ""));
    assert_false(strview_starts_with(view(NULL, 0), "a"));
    assert_false(strview_starts_with(strview_from("spiffe:/"), "spiffe://"));
    assert_false(strview_starts_with(strview_from("Spiffe://a"), "spiffe://"));
}

static void test_strview_equal_no_case(void **state)
{
    (void)state;
    assert_true(strview_equal_no_case(strview_from("SEC-fetch-Site"), "Sec-Fetch-Site"));
    assert_true(strview_equal_no_case(view(NULL, 0), ""));
    assert_false(strview_equal_no_case(view(NULL, 0), "a"));
    assert_false(strview_equal_no_case(strview_from("origi"), "Origin"));
    assert_false(strview_equal_no_case(strview_from("origin"), "Origi"));
    assert_false(strview_equal_no_case(view("Origin\0x", 8), "Origin"));
    assert_false(strview_equal_no_case(strview_from("orig@n"), "ORIG`N"));
}

static void test_strview_is_one_of(void **state)
{
    (void)state;
    static const char words[] = "identity rule session";
    assert_true(strview_is_one_of(strview_from("identity"), words));
    assert_true(strview_is_one_of(strview_from("rule"), words));
    assert_true(strview_is_one_of(strview_from("session"), words));
    assert_false(strview_is_one_of(strview_from("rul"), words));
    assert_false(strview_is_one_of(strview_from("rules"), words));
    assert_false(strview_is_one_of(strview_from("identity rule"), words));
    assert_false(strview_is_one_of(strview_from(""), words));
    assert_false(strview_is_one_of(strview_from("x"), ""));
    assert_false(strview_is_one_of(view("rule\0", 5), words));
}

static void test_utf8_decodes_the_edges(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t code;
    } cases[] = {
        {"\x01", 1},
        {"\x7F", 0x7F},
        {"\xC2\x80", 0x80},
        {"\xDF\xBF", 0x7FF},
        {"\xE0\xA0\x80", 0x800},
        {"\xED\x9F\xBF", 0xD7FF},
        {"\xEE\x80\x80", 0xE000},
        {"\xEF\xBF\xBF", 0xFFFF},
        {"\xF0\x90\x80\x80", 0x10000},
        {"\xF3\xBF\xBF\xBF", 0xFFFFF},
        {"\xF4\x8F\xBF\xBF", 0x10FFFF},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t code = 0;
        size_t len = strlen(cases[i].text);
        assert_int_equal(utf8_decode(cases[i].text, len, &code), len);
        assert_int_equal(code, cases[i].code);
    }
    uint32_t code = 1;
    assert_int_equal(utf8_decode("\0", 1, &code), 1);
    assert_int_equal(code, 0);
}

static void test_utf8_rejects(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "\x80",             /* a continuation alone */
        "\xBF",             /* the last of them */
        "\xC0\x80",         /* overlong NUL */
        "\xC1\xBF",         /* overlong DEL */
        "\xC2",             /* cut */
        "\xC2\x41",         /* second is no continuation */
        "\xC2\xC0",         /* second begins another */
        "\xE0\x9F\xBF",     /* overlong */
        "\xE1\x80",         /* cut */
        "\xE1\x80\x41",     /* third is no continuation */
        "\xED\xA0\x80",     /* first surrogate */
        "\xED\xBF\xBF",     /* last surrogate */
        "\xF0\x8F\xBF\xBF", /* overlong */
        "\xF1\x80\x80",     /* cut */
        "\xF1\x80\x80\xFF", /* fourth is no continuation */
        "\xF4\x90\x80\x80", /* U+110000 */
        "\xF5\x80\x80\x80", /* above all */
        "\xFE",
        "\xFF",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t code = 0;
        assert_int_equal(utf8_decode(cases[i], strlen(cases[i]), &code), 0);
    }
}

static void test_utf8_deceptive(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0,      0x1F,   0x7F,   0x80,   0x9B,  0x9F,
                                   0x200B, 0x2028, 0x202E, 0x2066, 0xFEFF};
    static const uint32_t good[] = {' ', '~', 0xA0, 0xE9, 0x2014, 0xFFFD, 0x1F600};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(utf8_is_deceptive(bad[i]));
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_false(utf8_is_deceptive(good[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strview_nul_byte_does_not_end_a_name),
        cmocka_unit_test(test_strview_empty_views_are_equal),
        cmocka_unit_test(test_strview_starts_with),
        cmocka_unit_test(test_strview_equal_no_case),
        cmocka_unit_test(test_strview_is_one_of),
        cmocka_unit_test(test_utf8_decodes_the_edges),
        cmocka_unit_test(test_utf8_rejects),
        cmocka_unit_test(test_utf8_deceptive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
