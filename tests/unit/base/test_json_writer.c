/* json_writer: whatever goes in, what comes out is one line that another parser reads back. */
#include "base/json_writer.h"

#include "base/utf8.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text, size_t len)
{
    json_error_t error;
    json_t *root =
        json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        fail_msg("%s at %d in: %s", error.text, error.position, text);
    }
    return root;
}

/* {"s": text} as written. */
static size_t write_text(char *buf, size_t capacity, const char *text, size_t len)
{
    struct json_writer w;
    json_writer_init(&w, buf, capacity);
    json_object_begin(&w);
    json_field_strview(&w, "s", (struct strview){.ptr = text, .len = len});
    json_object_end(&w);
    return json_writer_finish(&w);
}

static void test_json_writer_places_commas(void **state)
{
    (void)state;
    char buf[512];
    struct json_writer w;
    json_writer_init(&w, buf, sizeof(buf));
    json_object_begin(&w);
    json_field_string(&w, "a", "x");
    json_field_string(&w, "n", NULL);
    json_key(&w, "list");
    json_array_begin(&w);
    json_u64(&w, 0);
    json_u64(&w, UINT64_MAX);
    json_i64(&w, INT64_MIN);
    json_i64(&w, -1);
    json_i64(&w, INT64_MAX);
    json_bool(&w, true);
    json_none(&w);
    json_text(&w, "");
    json_array_begin(&w);
    json_array_end(&w);
    json_object_begin(&w);
    json_object_end(&w);
    json_array_end(&w);
    json_key(&w, "o");
    json_object_begin(&w);
    json_field_u64(&w, "u", 7);
    json_object_end(&w);
    json_field_bool(&w, "b", false);
    json_object_end(&w);
    size_t len = json_writer_finish(&w);
    assert_string_equal(
        buf, "{\"a\":\"x\",\"n\":null,\"list\":[0,18446744073709551615,-9223372036854775808,-1,"
             "9223372036854775807,true,null,\"\",[],{}],\"o\":{\"u\":7},\"b\":false}");
    assert_int_equal(len, strlen(buf));
}

static void test_json_writer_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *written;
    } cases[] = {
        {"plain / text", "plain / text"},
        {"\"\\", "\\\"\\\\"},
        {"\n\t\r\b\f", "\\n\\t\\r\\b\\f"},
        {"\x01\x1f\x7f", "\\u0001\\u001f\\u007f"},
        {"\x1b[31m", "\\u001b[31m"},
        {"\xC2\x9B", "\\u009b"},     /* CSI in one character */
        {"\xE2\x80\xA8", "\\u2028"}, /* line separator */
        {"\xE2\x80\xAE", "\\u202e"}, /* right-to-left override */
        {"\xC3\xA9\xE2\x82\xAC", "\xC3\xA9\xE2\x82\xAC"},
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
        {"a\xFFz", "a\xEF\xBF\xBDz"},
        {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"end\xE2\x82", "end\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buf[128];
        char expected[128];
        size_t len = write_text(buf, sizeof(buf), cases[i].text, strlen(cases[i].text));
        (void)snprintf(expected, sizeof(expected), "{\"s\":\"%s\"}", cases[i].written);
        assert_string_equal(buf, expected);
        json_decref(parse(buf, len));
    }
}

static void test_json_writer_keeps_nul_bytes(void **state)
{
    (void)state;
    char buf[64];
    size_t len = write_text(buf, sizeof(buf), "a\0b", 3);
    assert_string_equal(buf, "{\"s\":\"a\\u0000b\"}");
    json_t *root = parse(buf, len);
    assert_int_equal(json_string_length(json_object_get(root, "s")), 3);
    json_decref(root);
}

static void test_json_writer_escapes_keys(void **state)
{
    (void)state;
    char buf[64];
    struct json_writer w;
    json_writer_init(&w, buf, sizeof(buf));
    json_object_begin(&w);
    json_field_u64(&w, "a\"\n", 1);
    json_object_end(&w);
    assert_true(json_writer_finish(&w) > 0);
    assert_string_equal(buf, "{\"a\\\"\\n\":1}");
}

static void test_json_writer_says_when_it_does_not_fit(void **state)
{
    (void)state;
    static const char text[] = "quote\" \x01 \xFF \xE2\x82\xAC";
    char whole[128];
    size_t needed = write_text(whole, sizeof(whole), text, sizeof(text) - 1);
    assert_true(needed > 0);
    for (size_t capacity = 0; capacity <= needed + 1; capacity++) {
        char buf[128];
        memset(buf, 'g', sizeof(buf));
        size_t len = write_text(buf, capacity, text, sizeof(text) - 1);
        assert_int_equal(len, capacity > needed ? needed : 0);
        for (size_t i = capacity; i < sizeof(buf); i++) {
            assert_int_equal(buf[i], 'g');
        }
    }
}

static void test_json_writer_numbers_stop_at_the_end_too(void **state)
{
    (void)state;
    char buf[8];
    struct json_writer w;
    json_writer_init(&w, buf, sizeof(buf));
    json_u64(&w, 12345678);
    assert_int_equal(json_writer_finish(&w), 0);
    json_writer_init(&w, buf, sizeof(buf));
    json_u64(&w, 1234567);
    assert_int_equal(json_writer_finish(&w), 7);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

/* What a reader should get back: invalid bytes replaced, all else as it was. */
static size_t expected_text(const char *text, size_t len, char *out)
{
    size_t used = 0;
    for (size_t at = 0; at < len;) {
        uint32_t code = 0;
        size_t step = utf8_decode(text + at, len - at, &code);
        const char *from = step > 0 ? text + at : "\xEF\xBF\xBD";
        size_t copied = step > 0 ? step : 3;
        memcpy(out + used, from, copied);
        used += copied;
        at += step > 0 ? step : 1;
    }
    return used;
}

/* Pieces that make near misses of UTF-8 far more frequent than bytes by chance. */
static size_t random_text(uint32_t *seed, char *text, size_t size)
{
    static const char *const pieces[] = {"\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xC3\xA9",
                                         "\xE2\x80\xAE", "\xED\xA0",         "\xF4\x90",
                                         "\xC0",         "\\u0022"};
    size_t len = 0;
    size_t wanted = next_random(seed) % (size - 8);
    while (len < wanted) {
        uint32_t pick = next_random(seed) % 16;
        if (pick < 8) {
            size_t piece = strlen(pieces[pick]);
            memcpy(text + len, pieces[pick], piece);
            len += piece;
        } else {
            text[len++] = (char)next_random(seed);
        }
    }
    return len;
}

static void test_json_writer_random_bytes_come_back(void **state)
{
    (void)state;
    uint32_t seed = 2;
    for (size_t round = 0; round < 5000; round++) {
        char text[80];
        size_t len = random_text(&seed, text, sizeof(text));
        char buf[6 * sizeof(text) + 16];
        size_t written = write_text(buf, sizeof(buf), text, len);
        assert_true(written > 0);
        for (size_t i = 0; i < written; i++) {
            assert_true((unsigned char)buf[i] >= 0x20 && buf[i] != 0x7F);
        }
        json_t *root = parse(buf, written);
        const json_t *value = json_object_get(root, "s");
        char expected[3 * sizeof(text)];
        assert_int_equal(json_string_length(value), expected_text(text, len, expected));
        assert_memory_equal(json_string_value(value), expected, json_string_length(value));
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_writer_places_commas),
        cmocka_unit_test(test_json_writer_escapes),
        cmocka_unit_test(test_json_writer_keeps_nul_bytes),
        cmocka_unit_test(test_json_writer_escapes_keys),
        cmocka_unit_test(test_json_writer_says_when_it_does_not_fit),
        cmocka_unit_test(test_json_writer_numbers_stop_at_the_end_too),
        cmocka_unit_test(test_json_writer_random_bytes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
