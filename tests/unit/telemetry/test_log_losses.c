/* log_losses: a loss is said at once, more of it every ten seconds, and its end. */
#include "telemetry/log_losses.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct said {
    struct log_losses losses;
    char text[4096];
    size_t lines;
};

static void on_line(void *arg, const char *line, size_t len)
{
    struct said *said = arg;
    const char *event = memmem(line, len, "event=", 6);
    assert_non_null(event);
    size_t rest = len - (size_t)(event - line);
    size_t held = strlen(said->text);
    assert_true(held + rest < sizeof(said->text));
    memcpy(said->text + held, event, rest);
    said->text[held + rest] = '\0';
    said->lines++;
}

static int setup(void **state)
{
    static struct said said;
    said = (struct said){.lines = 0};
    log_losses_init(&said.losses, on_line, &said);
    *state = &said;
    return 0;
}

/* What one look says, and when it wants the next. */
static void expect(struct said *said, uint64_t dropped, uint64_t now_ms, const char *text,
                   uint64_t next)
{
    said->text[0] = '\0';
    uint64_t wanted = log_losses_report(&said->losses, dropped, now_ms);
    assert_string_equal(said->text, text);
    assert_int_equal(wanted, next);
}

static void test_nothing_lost_says_nothing(void **state)
{
    struct said *said = *state;
    expect(said, 0, 5, "", LOG_LOSSES_NEVER);
    log_losses_written(&said->losses);
    expect(said, 0, 6, "", LOG_LOSSES_NEVER);
}

static void test_the_first_failure_is_said_at_once(void **state)
{
    struct said *said = *state;
    log_losses_failed(&said->losses, ENOSPC, 3);
    expect(said, 0, 5, "event=access_log_failed error=\"No space left on device\" lines_lost=3\n",
           LOG_LOSSES_NEVER);
    expect(said, 0, 6, "", LOG_LOSSES_NEVER);
}

static void test_what_follows_comes_every_ten_seconds(void **state)
{
    struct said *said = *state;
    log_losses_failed(&said->losses, EPIPE, 1);
    expect(said, 0, 0, "event=access_log_failed error=\"Broken pipe\" lines_lost=1\n",
           LOG_LOSSES_NEVER);
    log_losses_failed(&said->losses, EPIPE, 2);
    expect(said, 0, 1, "", 10000);
    log_losses_failed(&said->losses, EPIPE, 2);
    expect(said, 0, 9999, "", 10000);
    expect(said, 0, 10000, "event=access_log_failed error=\"Broken pipe\" lines_lost=4\n",
           LOG_LOSSES_NEVER);
}

static void test_the_end_is_said_with_the_whole_loss(void **state)
{
    struct said *said = *state;
    log_losses_failed(&said->losses, ENOSPC, 1);
    expect(said, 0, 0, "event=access_log_failed error=\"No space left on device\" lines_lost=1\n",
           LOG_LOSSES_NEVER);
    log_losses_failed(&said->losses, ENOSPC, 6);
    log_losses_written(&said->losses);
    expect(said, 0, 1, "event=access_log_recovered lines_lost=7\n", LOG_LOSSES_NEVER);
    expect(said, 0, 2, "", LOG_LOSSES_NEVER);
}

static void test_an_outage_between_two_lines_is_told_late(void **state)
{
    struct said *said = *state;
    log_losses_failed(&said->losses, ENOSPC, 1);
    (void)log_losses_report(&said->losses, 0, 0);
    log_losses_written(&said->losses);
    (void)log_losses_report(&said->losses, 0, 1);
    log_losses_failed(&said->losses, ENOSPC, 5);
    expect(said, 0, 2, "", 10000);
    log_losses_written(&said->losses);
    expect(said, 0, 3, "", 10000);
    expect(said, 0, 10000,
           "event=access_log_failed error=\"No space left on device\" lines_lost=5\n"
           "event=access_log_recovered lines_lost=5\n",
           LOG_LOSSES_NEVER);
}

static void test_drops_are_counted_and_said_by_the_same_measure(void **state)
{
    struct said *said = *state;
    static const char why[] = "error=\"they came faster than they could be written\"\n";
    char line[160];
    (void)snprintf(line, sizeof(line), "event=log_lines_dropped count=4 %s", why);
    expect(said, 4, 100, line, LOG_LOSSES_NEVER);
    expect(said, 9, 200, "", 10100);
    (void)snprintf(line, sizeof(line), "event=log_lines_dropped count=6 %s", why);
    expect(said, 10, 10100, line, LOG_LOSSES_NEVER);
}

static void test_the_sooner_of_two_is_waited_for(void **state)
{
    struct said *said = *state;
    log_losses_failed(&said->losses, EPIPE, 1);
    (void)log_losses_report(&said->losses, 0, 0);
    (void)log_losses_report(&said->losses, 1, 500);
    log_losses_failed(&said->losses, EPIPE, 1);
    expect(said, 2, 600, "", 10000);
}

static void test_the_end_says_all(void **state)
{
    struct said *said = *state;
    log_losses_failed(&said->losses, EPIPE, 1);
    (void)log_losses_report(&said->losses, 1, 7);
    log_losses_failed(&said->losses, EPIPE, 1);
    said->lines = 0;
    log_losses_report_all(&said->losses, 2);
    assert_int_equal(said->lines, 2);
    log_losses_report_all(&said->losses, 2);
    assert_int_equal(said->lines, 2);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_lost_says_nothing),
        TEST(test_the_first_failure_is_said_at_once),
        TEST(test_what_follows_comes_every_ten_seconds),
        TEST(test_the_end_is_said_with_the_whole_loss),
        TEST(test_an_outage_between_two_lines_is_told_late),
        TEST(test_drops_are_counted_and_said_by_the_same_measure),
        TEST(test_the_sooner_of_two_is_waited_for),
        TEST(test_the_end_says_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
