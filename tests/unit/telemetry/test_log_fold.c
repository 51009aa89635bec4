/* log_fold: what passes, what is counted, when the count is said; and what is never folded. */
#include "telemetry/log_fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

struct fixture {
    struct log_fold *fold;
    struct log log;
    struct log maker;         /* makes lines as any thread does */
    char made[LOG_LINE_SIZE]; /* the last of them */
    char said[16 * 1024];     /* what log_fold has said */
    uint64_t now_ms;
};

static void keep_said(void *arg, const char *line, size_t len)
{
    struct fixture *f = arg;
    size_t have = strlen(f->said);
    assert_true(have + len < sizeof(f->said));
    memcpy(f->said + have, line, len);
    f->said[have + len] = '\0';
}

static void keep_made(void *arg, const char *line, size_t len)
{
    struct fixture *f = arg;
    assert_true(len < sizeof(f->made));
    memcpy(f->made, line, len);
    f->made[len] = '\0';
}

static struct fixture *new_fixture(enum log_format format)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->fold = calloc(1, sizeof(*f->fold));
    assert_non_null(f->fold);
    log_init(&f->log, LOG_DEBUG, format, keep_said, f);
    log_init(&f->maker, LOG_DEBUG, format, keep_made, f);
    f->now_ms = 1000000;
    return f;
}

static void end(struct fixture *f)
{
    free(f->fold);
    free(f);
}

static bool takes(struct fixture *f, const char *event, uint64_t value)
{
    log_begin(&f->maker, LOG_WARN, event);
    log_str(&f->maker, "error", "so it is");
    log_u64(&f->maker, "value", value);
    log_end(&f->maker);
    return log_fold_takes(f->fold, f->made, strlen(f->made), f->now_ms, &f->log);
}

static void burst(struct fixture *f, const char *event)
{
    for (int i = 0; i < LOG_FOLD_BURST; i++) {
        assert_false(takes(f, event, 1));
    }
}

static void test_ten_pass_and_the_rest_is_counted(void **state)
{
    (void)state;
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        struct fixture *f = new_fixture((enum log_format)format);
        burst(f, "source_failed");
        for (int i = 0; i < 312; i++) {
            f->now_ms += 10;
            assert_true(takes(f, "source_failed", 1));
        }
        assert_false(takes(f, "source_failed", 2)); /* another line */
        assert_false(takes(f, "source_faile", 1));
        assert_true(log_fold_report(f->fold, f->now_ms, &f->log) == 1000000 + LOG_FOLD_PERIOD_MS);
        assert_string_equal(f->said, "");
        f->now_ms = 1000000 + LOG_FOLD_PERIOD_MS;
        assert_true(log_fold_report(f->fold, f->now_ms, &f->log) == LOG_FOLD_NEVER);
        assert_non_null(strstr(f->said, "312"));
        assert_null(strchr(strchr(f->said, '\n') + 1, '\n')); /* one line */
        end(f);
    }
}

static void test_the_count_says_what_it_counts(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(LOG_FORMAT_JSON);
    burst(f, "accept_failed");
    assert_true(takes(f, "accept_failed", 1));
    log_fold_report_all(f->fold, &f->log);
    json_t *line = json_loads(f->said, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "event")), "repeated");
    assert_string_equal(json_string_value(json_object_get(line, "of")), "accept_failed");
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warn");
    assert_int_equal(json_integer_value(json_object_get(line, "count")), 1);
    assert_int_equal(json_integer_value(json_object_get(line, "within_ms")), 10000);
    assert_non_null(strstr(json_string_value(json_object_get(line, "line")), "so it is"));
    json_decref(line);
    f->said[0] = '\0';
    log_fold_report_all(f->fold, &f->log);
    assert_string_equal(f->said, ""); /* once */
    end(f);
}

/* They were to be written when they came: a level that says less since then hides none of them. */
static void test_the_count_is_said_whatever_the_level_is_by_then(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(LOG_FORMAT_TEXT);
    burst(f, "log_level");
    assert_true(takes(f, "log_level", 1));
    log_set_level(&f->log, LOG_ERROR);
    f->now_ms += LOG_FOLD_PERIOD_MS;
    (void)log_fold_report(f->fold, f->now_ms, &f->log);
    assert_non_null(strstr(f->said, " level=warn event=repeated of=log_level count=1 "));
    f->said[0] = '\0';
    log_begin(&f->log, LOG_WARN, "other"); /* which stays as it is */
    log_end(&f->log);
    assert_string_equal(f->said, "");
    end(f);
}

static void test_a_new_period_begins_with_the_next_line(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(LOG_FORMAT_TEXT);
    burst(f, "a");
    assert_true(takes(f, "a", 1));
    f->now_ms += LOG_FOLD_PERIOD_MS;
    assert_false(takes(f, "a", 1)); /* the former is said before */
    assert_non_null(strstr(f->said, " level=warn event=repeated of=a count=1 within_ms=10000 "));
    for (int i = 1; i < LOG_FOLD_BURST; i++) {
        assert_false(takes(f, "a", 1));
    }
    assert_true(takes(f, "a", 1));
    end(f);
}

/* Ten in ten seconds for ever is no flood. */
static void test_a_slow_repetition_is_written(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(LOG_FORMAT_TEXT);
    for (int i = 0; i < 100; i++) {
        assert_false(takes(f, "a", 1));
        f->now_ms += LOG_FOLD_PERIOD_MS / LOG_FOLD_BURST;
        (void)log_fold_report(f->fold, f->now_ms, &f->log);
    }
    assert_string_equal(f->said, "");
    end(f);
}

static void test_many_different_lines_are_written(void **state)
{
    (void)state;
    struct fixture *f = new_fixture(LOG_FORMAT_TEXT);
    burst(f, "first");
    assert_true(takes(f, "first", 1));
    f->now_ms++;
    for (uint64_t i = 0; i < 5 * LOG_FOLD_SLOTS; i++) {
        assert_false(takes(f, "other", i));
    }
    /* What was counted of the line that had to give way is not lost. */
    assert_non_null(strstr(f->said, "of=first count=1 "));
    end(f);
}

static void test_what_is_no_line_of_the_log_passes(void **state)
{
    (void)state;
    static const char *const rows[] = {"", "\n", "level", "no newline level=warn", "plain text\n"};
    struct fixture *f = new_fixture(LOG_FORMAT_TEXT);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int times = 0; times < 2 * LOG_FOLD_BURST; times++) {
            assert_false(log_fold_takes(f->fold, rows[i], strlen(rows[i]), f->now_ms, &f->log));
        }
    }
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_pass_and_the_rest_is_counted),
        cmocka_unit_test(test_the_count_says_what_it_counts),
        cmocka_unit_test(test_the_count_is_said_whatever_the_level_is_by_then),
        cmocka_unit_test(test_a_new_period_begins_with_the_next_line),
        cmocka_unit_test(test_a_slow_repetition_is_written),
        cmocka_unit_test(test_many_different_lines_are_written),
        cmocka_unit_test(test_what_is_no_line_of_the_log_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
