/*
 * relay: copying, back-pressure, half-close, ends and time, over real sockets and plain conns.
 */
#include "relay_test.h"

static void test_relay_copies_both_ways_and_ends_in_order(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    assert_int_equal(write(f->client, "question", 8), 8);
    assert_int_equal(write(f->server, "answer", 6), 6);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    run_until_done(f);
    assert_int_equal(f->done, REASON_CLOSED);
    assert_int_equal(relay_bytes(&f->relay, RELAY_DOWNSTREAM), 8);
    assert_int_equal(relay_bytes(&f->relay, RELAY_UPSTREAM), 6);
    assert_int_equal(read_to_end(f, f->server, &ignored), 8);
    assert_int_equal(read_to_end(f, f->client, &ignored), 6);
}

static void test_relay_half_close_lets_the_answer_follow(void **state)
{
    struct fixture *f = *state;
    uint8_t sent = 0;
    uint8_t got = 0;
    uint8_t ignored = 0;
    start(f, NULL);
    assert_int_equal(write(f->client, "q", 1), 1);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    assert_int_equal(read_to_end(f, f->server, &ignored), 1); /* the FIN has come through */
    assert_int_equal(f->done, REASON_NONE);
    enum { ANSWER = 300000 };
    pump(f, f->server, f->client, ANSWER, &sent, &got);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    assert_int_equal(read_to_end(f, f->client, &ignored), 0);
    assert_int_equal(got, sent);
    run_until_done(f);
    assert_int_equal(f->done, REASON_CLOSED);
}

static void test_relay_stalled_reader_bounds_memory(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    size_t total = fill(f);
    assert_true(f->relay.directions[RELAY_DOWNSTREAM].paused);
    assert_true(f->most_buffered > 0);
    assert_true(f->most_buffered <= RELAY_READ_MAX);
    assert_true(conn_pending(f->up) <= RELAY_READ_MAX);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    assert_int_equal(read_to_end(f, f->server, &ignored), (ssize_t)total);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    run_until_done(f);
    assert_int_equal(f->done, REASON_CLOSED);
}

static void test_relay_ends_a_session_over_the_bound(void **state)
{
    struct fixture *f = *state;
    f->bound = 1;
    start(f, NULL);
    (void)fill(f);
    assert_int_equal(f->done, REASON_LIMIT_BUFFERED);
}

static void test_relay_tight_memory_makes_reads_small(void **state)
{
    struct fixture *f = *state;
    f->tight = true;
    start(f, NULL);
    (void)fill(f);
    assert_true(f->most_buffered > 0);
    assert_true(f->most_buffered <= RELAY_READ_TIGHT);
}

static void test_relay_reset_is_passed_on_as_a_reset(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    turn(f);
    reset(f->client);
    f->client = -1;
    assert_int_equal(read_to_end(f, f->server, &ignored), -ECONNRESET);
    assert_int_equal(f->done, REASON_DOWNSTREAM_RESET);
}

static void test_relay_upstream_reset_has_its_own_reason(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    turn(f);
    reset(f->server);
    f->server = -1;
    assert_int_equal(read_to_end(f, f->client, &ignored), -ECONNRESET);
    assert_int_equal(f->done, REASON_UPSTREAM_RESET);
}

static void test_relay_notices_a_reset_while_paused(void **state)
{
    struct fixture *f = *state;
    start(f, NULL);
    (void)fill(f);
    assert_true(f->relay.directions[RELAY_DOWNSTREAM].paused);
    reset(f->client); /* nobody watches its conn now */
    f->client = -1;
    static uint8_t buf[65536];
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (f->done == REASON_NONE) {
        assert_true(clock_mono_ms() < deadline);
        (void)recv(f->server, buf, sizeof(buf), MSG_DONTWAIT);
        turn(f);
    }
    assert_int_equal(f->done, REASON_DOWNSTREAM_RESET);
}

static void test_relay_idle_timeout(void **state)
{
    struct fixture *f = *state;
    const struct relay_settings settings = {.idle_ms = 30, .half_close_ms = 60000};
    start(f, &settings);
    run_until_done(f);
    assert_int_equal(f->done, REASON_IDLE_TIMEOUT);
}

static void test_relay_half_close_timeout(void **state)
{
    struct fixture *f = *state;
    const struct relay_settings settings = {.idle_ms = 60000, .half_close_ms = 30};
    start(f, &settings);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    run_until_done(f);
    assert_int_equal(f->done, REASON_HALF_CLOSE_TIMEOUT);
}

static void test_relay_tick_tells_when_to_look_again(void **state)
{
    struct fixture *f = *state;
    start(f, NULL);
    uint64_t started = f->relay.last_progress_ms;
    assert_int_equal(relay_tick(&f->relay, started + 1000), 59000);
    assert_int_equal(f->done, REASON_NONE);
    assert_int_equal(relay_tick(&f->relay, started + 60000), 0);
    assert_int_equal(f->done, REASON_IDLE_TIMEOUT);
}

static void test_relay_stop_calls_nobody(void **state)
{
    struct fixture *f = *state;
    start(f, NULL);
    assert_int_equal(write(f->client, "x", 1), 1);
    relay_stop(&f->relay);
    turn(f);
    assert_int_equal(f->done, REASON_NONE);
    assert_int_equal(relay_bytes(&f->relay, RELAY_DOWNSTREAM), 0);
}

int main(void)
{
#define RELAY_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        RELAY_TEST(test_relay_copies_both_ways_and_ends_in_order),
        RELAY_TEST(test_relay_half_close_lets_the_answer_follow),
        RELAY_TEST(test_relay_stalled_reader_bounds_memory),
        RELAY_TEST(test_relay_ends_a_session_over_the_bound),
        RELAY_TEST(test_relay_tight_memory_makes_reads_small),
        RELAY_TEST(test_relay_reset_is_passed_on_as_a_reset),
        RELAY_TEST(test_relay_upstream_reset_has_its_own_reason),
        RELAY_TEST(test_relay_notices_a_reset_while_paused),
        RELAY_TEST(test_relay_idle_timeout),
        RELAY_TEST(test_relay_half_close_timeout),
        RELAY_TEST(test_relay_tick_tells_when_to_look_again),
        RELAY_TEST(test_relay_stop_calls_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
