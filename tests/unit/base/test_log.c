/* log: one event is one line that reads back, whatever the values hold and however long they are.
 */
#include "base/log.h"

#include "base/clock.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct sink {
    size_t lines;
    size_t len;
    char line[LOG_LINE_SIZE + 1];
};

static void keep(void *arg, const char *line, size_t len)
{
    struct sink *sink = arg;
    assert_in_range(len, 1, LOG_LINE_SIZE);
    memcpy(sink->line, line, len);
    sink->line[len] = '\0';
    sink->len = len;
    sink->lines++;
}

/* The line is one, ends in a newline, and has nothing in it that a terminal would obey. */
static void check_line(const struct sink *sink)
{
    assert_int_equal(sink->line[sink->len - 1], '\n');
    for (size_t i = 0; i + 1 < sink->len; i++) {
        assert_true((unsigned char)sink->line[i] >= 0x20 && sink->line[i] != 0x7F);
    }
}

static void one_pair(enum log_format format, struct sink *sink, const char *value, size_t len)
{
    struct log log;
    *sink = (struct sink){0};
    log_init(&log, LOG_INFO, format, keep, sink);
    log_begin(&log, LOG_WARN, "tried");
    log_strview(&log, "v", (struct strview){.ptr = value, .len = len});
    log_end(&log);
    assert_int_equal(sink->lines, 1);
    check_line(sink);
}

static void test_log_text_line(void **state)
{
    (void)state;
    struct sink sink = {0};
    struct log log;
    log_init(&log, LOG_INFO, LOG_FORMAT_TEXT, keep, &sink);
    uint64_t before = clock_wall_ms();
    log_begin(&log, LOG_WARN, "accept_paused");
    log_str(&log, "listener", "orders");
    log_u64(&log, "sessions", UINT64_MAX);
    log_str(&log, "none", NULL);
    log_fmt(&log, "ratio", "%d of %d", 3, 4);
    log_end(&log);
    assert_int_equal(sink.lines, 1);
    assert_memory_equal(sink.line, "time=", 5);
    char first[CLOCK_TEXT_SIZE];
    clock_format_ms(before, first);
    assert_true(memcmp(sink.line + 5, first, 24) >= 0);
    assert_string_equal(sink.line + 5 + 24,
                        " level=warn event=accept_paused listener=orders "
                        "sessions=18446744073709551615 none=- ratio=\"3 of 4\"\n");
}

static void test_log_json_line(void **state)
{
    (void)state;
    struct sink sink = {0};
    struct log log;
    log_init(&log, LOG_INFO, LOG_FORMAT_JSON, keep, &sink);
    log_begin(&log, LOG_ERROR, "accept_paused");
    log_str(&log, "listener", "orders");
    log_u64(&log, "sessions", 7);
    log_str(&log, "none", NULL);
    log_fmt(&log, "ratio", "%d of %d", 3, 4);
    log_end(&log);
    assert_memory_equal(sink.line, "{\"time\":\"", 9);
    assert_string_equal(
        sink.line + 9 + 24,
        "\",\"level\":\"error\",\"event\":\"accept_paused\",\"listener\":\"orders\","
        "\"sessions\":7,\"none\":null,\"ratio\":\"3 of 4\"}\n");
}

static void test_log_text_values(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *written;
    } cases[] = {
        {"spiffe://example.org/a-b_c", "spiffe://example.org/a-b_c"},
        {"[::1%lo]:80", "[::1%lo]:80"},
        {"a,b*", "a,b*"},
        {"a@b+c", "a@b+c"},
        {"", "\"\""},
        {"-", "\"-\""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"q\"q", "\"q\\\"q\""},
        {"b\\n", "\"b\\\\n\""},
        {"x\nlevel=error event=forged", "\"x\\nlevel=error event=forged\""},
        {"t\tt", "\"t\\tt\""},
        {"\r", "\"\\x0d\""},
        {"\x1b[2J", "\"\\x1b[2J\""},
        {"\x7f", "\"\\x7f\""},
        {"\xff", "\"\\xff\""},
        {"caf\xC3\xA9", "\"caf\xC3\xA9\""},
        {"\xC2\x9B", "\"\\xc2\\x9b\""},
        {"\xE2\x80\xAE", "\"\\xe2\\x80\\xae\""},
        {"\xC0\xAE", "\"\\xc0\\xae\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sink sink;
        one_pair(LOG_FORMAT_TEXT, &sink, cases[i].value, strlen(cases[i].value));
        const char *value = strstr(sink.line, " v=");
        assert_non_null(value);
        value += 3;
        size_t len = strlen(cases[i].written);
        assert_int_equal(strlen(value), len + 1);
        assert_memory_equal(value, cases[i].written, len);
    }
    struct sink sink;
    one_pair(LOG_FORMAT_TEXT, &sink, "a\0b", 3);
    assert_non_null(strstr(sink.line, " v=\"a\\x00b\"\n"));
}

static void test_log_below_the_level_writes_nothing(void **state)
{
    (void)state;
    struct sink sink = {0};
    struct log log;
    log_init(&log, LOG_WARN, LOG_FORMAT_TEXT, keep, &sink);
    log_begin(&log, LOG_INFO, "quiet");
    log_str(&log, "a", "b");
    log_u64(&log, "n", 1);
    log_fmt(&log, "f", "%d", 1);
    log_end(&log);
    log_begin(&log, LOG_DEBUG, "quiet");
    log_end(&log);
    log_end(&log);
    assert_int_equal(sink.lines, 0);
    log_begin(&log, LOG_WARN, "loud");
    log_end(&log);
    assert_int_equal(sink.lines, 1);
}

/* The pair that does not fit is left out; those around it and the mark are there. */
static void test_log_long_values_hide_nothing(void **state)
{
    (void)state;
    static char value[LOG_LINE_SIZE + 100];
    memset(value, 'a', sizeof(value));
    for (size_t len = LOG_LINE_SIZE - 200; len < sizeof(value); len++) {
        for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
            struct sink sink = {0};
            struct log log;
            log_init(&log, LOG_INFO, (enum log_format)format, keep, &sink);
            log_begin(&log, LOG_INFO, "long");
            log_strview(&log, "v", (struct strview){.ptr = value, .len = len});
            log_u64(&log, "n", 42);
            log_end(&log);
            check_line(&sink);
            bool whole = strstr(sink.line, "aaa") != NULL;
            bool number =
                strstr(sink.line, format == LOG_FORMAT_JSON ? "\"n\":42" : " n=42") != NULL;
            bool marked = strstr(sink.line, "truncated") != NULL;
            assert_int_equal(marked, !whole || !number);
            assert_true(whole || number);
            if (format == LOG_FORMAT_JSON) {
                json_t *root = json_loadb(sink.line, sink.len, JSON_REJECT_DUPLICATES, NULL);
                assert_non_null(root);
                assert_int_equal(json_is_true(json_object_get(root, "truncated")), marked);
                assert_string_equal(json_string_value(json_object_get(root, "event")), "long");
                json_decref(root);
            } else if (marked) {
                assert_string_equal(sink.line + sink.len - 16, " truncated=true\n");
            }
        }
    }
}

static void test_log_fmt_that_is_too_long_is_marked(void **state)
{
    (void)state;
    struct sink sink = {0};
    struct log log;
    log_init(&log, LOG_INFO, LOG_FORMAT_TEXT, keep, &sink);
    log_begin(&log, LOG_INFO, "long");
    log_fmt(&log, "v", "%*d", LOG_LINE_SIZE, 1);
    log_end(&log);
    assert_non_null(strstr(sink.line, " event=long truncated=true\n"));
}

static void test_log_many_pairs_overflow_well(void **state)
{
    (void)state;
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        struct sink sink = {0};
        struct log log;
        log_init(&log, LOG_INFO, (enum log_format)format, keep, &sink);
        log_begin(&log, LOG_INFO, "many");
        for (unsigned i = 0; i < 1000; i++) {
            log_u64(&log, "key", i);
        }
        log_end(&log);
        check_line(&sink);
        assert_non_null(strstr(sink.line, "truncated"));
        if (format == LOG_FORMAT_JSON) {
            json_t *root = json_loadb(sink.line, sink.len, 0, NULL);
            assert_non_null(root);
            json_decref(root);
        }
        log_begin(&log, LOG_INFO, "next");
        log_end(&log);
        assert_null(strstr(sink.line, "truncated"));
    }
}

/* A reader of the text format: undoes the quoting; returns the value's length, or fails. */
static size_t read_back(const char *text, char *out)
{
    size_t len = 0;
    if (*text != '"') {
        for (; *text != '\n' && *text != ' '; text++) {
            out[len++] = *text;
        }
        return len;
    }
    for (text++; *text != '"'; text++) {
        assert_true(*text != '\n' && *text != '\0');
        if (*text != '\\') {
            out[len++] = *text;
            continue;
        }
        text++;
        if (*text == 'x') {
            char hex[3] = {text[1], text[2], '\0'};
            out[len++] = (char)strtoul(hex, NULL, 16);
            text += 2;
        } else {
            out[len++] = *text == 'n' ? '\n' : *text == 't' ? '\t' : *text;
        }
    }
    return len;
}

static void test_log_random_values_come_back(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (size_t round = 0; round < 5000; round++) {
        char value[64];
        size_t len = round % sizeof(value);
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525U + 1013904223U;
            value[i] = (char)(seed >> 13);
        }
        struct sink sink;
        one_pair(LOG_FORMAT_TEXT, &sink, value, len);
        char back[sizeof(value)];
        assert_int_equal(read_back(strstr(sink.line, " v=") + 3, back), len);
        assert_memory_equal(back, value, len);
        one_pair(LOG_FORMAT_JSON, &sink, value, len);
        json_t *root = json_loadb(sink.line, sink.len, JSON_ALLOW_NUL, NULL);
        assert_non_null(root);
        json_decref(root);
    }
}

static void test_log_sink_fd_writes_and_gives_up(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    log_sink_fd(&ends[1], "line\n", 5);
    char got[16];
    assert_int_equal(read(ends[0], got, sizeof(got)), 5);
    assert_memory_equal(got, "line\n", 5);
    /* Full, and nobody reads: the line is lost after a moment, nothing hangs. */
    static const char block[4096];
    while (write(ends[1], block, sizeof(block)) > 0) {
    }
    uint64_t before = clock_mono_ms();
    log_sink_fd(&ends[1], "line\n", 5);
    assert_true(clock_mono_ms() - before < 5000);
    (void)close(ends[0]);
    (void)close(ends[1]);
    int closed = -1;
    log_sink_fd(&closed, "line\n", 5);
}

static void test_log_level_names(void **state)
{
    (void)state;
    assert_string_equal(log_level_name(LOG_ERROR), "error");
    assert_string_equal(log_level_name(LOG_WARN), "warn");
    assert_string_equal(log_level_name(LOG_INFO), "info");
    assert_string_equal(log_level_name(LOG_DEBUG), "debug");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_text_line),
        cmocka_unit_test(test_log_json_line),
        cmocka_unit_test(test_log_text_values),
        cmocka_unit_test(test_log_below_the_level_writes_nothing),
        cmocka_unit_test(test_log_long_values_hide_nothing),
        cmocka_unit_test(test_log_fmt_that_is_too_long_is_marked),
        cmocka_unit_test(test_log_many_pairs_overflow_well),
        cmocka_unit_test(test_log_random_values_come_back),
        cmocka_unit_test(test_log_sink_fd_writes_and_gives_up),
        cmocka_unit_test(test_log_level_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
