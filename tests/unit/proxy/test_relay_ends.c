/*
 * relay: a source that ended, closed or broke off while its reader was slow, so that nobody read or
 * watched it. What it sent arrives whole, and the end that follows is the one that it made.
 */
#include "relay_test.h"

static int setup_unix_server(void **state)
{
    return setup_with(state, false, true);
}

static int setup_unix_client(void **state)
{
    return setup_with(state, true, false);
}

static bool is_paused(const struct fixture *f, enum relay_side source)
{
    return f->relay.directions[source].paused;
}

/* The client ends first and reads late; the server answers more than all buffers take, and ends. */
static void test_relay_half_closed_answer_is_whole_for_a_slow_reader(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    assert_int_equal(read_to_end(f, f->server, &ignored), 0);
    size_t total = fill_from(f, f->server);
    assert_true(is_paused(f, RELAY_UPSTREAM));
    close_far(&f->server); /* with all that it sent still on the way */
    turns(f, 20);
    assert_int_equal(f->done, REASON_NONE);
    assert_int_equal(read_to_end(f, f->client, &ignored), (ssize_t)total);
    run_until_done(f);
    assert_int_equal(f->done, REASON_CLOSED);
}

static void test_relay_unix_server_may_close_after_its_answer(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    size_t total = fill_from(f, f->server);
    assert_true(is_paused(f, RELAY_UPSTREAM));
    close_far(&f->server);
    turns(f, 20);
    assert_int_equal(f->done, REASON_NONE);
    assert_int_equal(read_to_end(f, f->client, &ignored), (ssize_t)total);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    run_until_done(f);
}

static void test_relay_unix_client_may_send_and_close(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    size_t total = fill(f);
    assert_true(is_paused(f, RELAY_DOWNSTREAM));
    close_far(&f->client);
    turns(f, 20);
    assert_int_equal(f->done, REASON_NONE);
    assert_int_equal(read_to_end(f, f->server, &ignored), (ssize_t)total);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    run_until_done(f);
    assert_int_equal(f->done, REASON_CLOSED);
}

/* A Unix server that closes on a request it has not read: the kernel calls that a reset, but all of
   the answer is there. */
static void test_relay_unix_server_that_ignored_the_request_is_a_late_reset(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    size_t total = fill_from(f, f->server);
    assert_int_equal(write(f->client, "unread", 6), 6);
    turns(f, 20);
    close_far(&f->server);
    turns(f, 20);
    assert_int_equal(f->done, REASON_NONE);
    uint8_t *answer = malloc(total);
    size_t got = 0;
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (got < total) {
        assert_true(clock_mono_ms() < deadline);
        ssize_t n = recv(f->client, answer, total, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        turn(f);
    }
    free(answer);
    assert_int_equal(read_to_end(f, f->client, &ignored), -ECONNRESET);
    assert_int_equal(f->done, REASON_UPSTREAM_RESET);
}

/* What came before a reset is delivered too; nothing more is to be read: then it ends at once. */
static void test_relay_reset_while_paused_keeps_what_came_before(void **state)
{
    static uint8_t buf[65536];
    struct fixture *f = *state;
    start(f, NULL);
    size_t total = fill(f);
    assert_true(is_paused(f, RELAY_DOWNSTREAM));
    assert_true(conn_has_input(f->down));
    int unsent = 0;
    assert_int_equal(ioctl(f->client, TIOCOUTQ, &unsent), 0);
    reset(f->client);
    f->client = -1;
    turns(f, 20);
    size_t got = 0;
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    ssize_t n;
    while ((n = recv(f->server, buf, sizeof(buf), MSG_DONTWAIT)) > 0 || errno == EAGAIN) {
        assert_true(clock_mono_ms() < deadline);
        got += n > 0 ? (size_t)n : 0;
        turn(f);
    }
    assert_int_equal(f->done, REASON_DOWNSTREAM_RESET);
    assert_true(got >= total - (size_t)unsent);
}

/* A peer that left with bytes that nobody takes is held no longer than a half-closed one. */
static void leaves_for_a_reader_that_stalls(struct fixture *f, enum reason expected)
{
    const struct relay_settings settings = {.idle_ms = 3600000, .half_close_ms = 100};
    start(f, &settings);
    (void)fill(f);
    assert_true(is_paused(f, RELAY_DOWNSTREAM));
    reset(f->client);
    f->client = -1;
    run_until_done(f);
    assert_int_equal(f->done, expected);
}

static void test_relay_reset_for_a_reader_that_stalls(void **state)
{
    leaves_for_a_reader_that_stalls(*state, REASON_DOWNSTREAM_RESET);
}

static void test_relay_unix_close_for_a_reader_that_stalls(void **state)
{
    leaves_for_a_reader_that_stalls(*state, REASON_HALF_CLOSE_TIMEOUT);
}

int main(void)
{
#define RELAY_TEST(f, setup) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        RELAY_TEST(test_relay_half_closed_answer_is_whole_for_a_slow_reader, setup),
        RELAY_TEST(test_relay_unix_server_may_close_after_its_answer, setup_unix_server),
        RELAY_TEST(test_relay_unix_client_may_send_and_close, setup_unix_client),
        RELAY_TEST(test_relay_unix_server_that_ignored_the_request_is_a_late_reset,
                   setup_unix_server),
        RELAY_TEST(test_relay_reset_while_paused_keeps_what_came_before, setup),
        RELAY_TEST(test_relay_reset_for_a_reader_that_stalls, setup),
        RELAY_TEST(test_relay_unix_close_for_a_reader_that_stalls, setup_unix_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
