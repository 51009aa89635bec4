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

/* A server that answers early and closes on the rest of the request: sending fails before its
   answer has been read. */
static void test_relay_answer_is_read_after_sending_failed(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, NULL);
    assert_int_equal(write(f->client, "request", 7), 7);
    while (relay_bytes(&f->relay, RELAY_DOWNSTREAM) < 7 || conn_outstanding(f->up) > 0) {
        turn(f);
    }
    assert_int_equal(write(f->server, "too large", 9), 9);
    close_far(&f->server);
    while (!conn_is_gone(f->up)) { /* the loop does not run: nobody has read */
    }
    assert_int_equal(write(f->client, "more", 4), 4);
    f->down->handler->on_readable(f->down->handler_arg);
    assert_int_equal(f->done, REASON_NONE);
    char answer[9];
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (recv(f->client, answer, sizeof(answer), MSG_DONTWAIT) != sizeof(answer)) {
        assert_true(clock_mono_ms() < deadline);
        turn(f);
    }
    assert_memory_equal(answer, "too large", 9);
    assert_int_equal(read_to_end(f, f->client, &ignored), -ECONNRESET);
    assert_int_equal(f->done, REASON_UPSTREAM_RESET);
}

/* The same with an answer that waits for a slow reader, on both sides of us. */
static void test_relay_answer_is_whole_after_sending_failed(void **state)
{
    static uint8_t buf[65536];
    struct fixture *f = *state;
    start(f, NULL);
    size_t total = fill_from(f, f->server);
    assert_true(is_paused(f, RELAY_UPSTREAM));
    int unsent = 0;
    assert_int_equal(ioctl(f->server, TIOCOUTQ, &unsent), 0);
    reset(f->server);
    f->server = -1;
    f->ticks_off = true; /* no look finds it first */
    assert_int_equal(write(f->client, "more", 4), 4);
    turns(f, 20);
    assert_int_equal(f->relay.directions[RELAY_DOWNSTREAM].flow, RELAY_CUT);
    f->ticks_off = false;
    turns(f, 20);
    assert_int_equal(f->done, REASON_NONE);
    size_t got = 0;
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    ssize_t n;
    while ((n = recv(f->client, buf, sizeof(buf), MSG_DONTWAIT)) > 0 || errno == EAGAIN) {
        assert_true(clock_mono_ms() < deadline);
        got += n > 0 ? (size_t)n : 0;
        turn(f);
    }
    assert_int_equal(errno, ECONNRESET);
    assert_true(got >= total - (size_t)unsent);
    assert_int_equal(f->done, REASON_UPSTREAM_RESET);
}

static void test_relay_cut_for_a_reader_that_stalls(void **state)
{
    struct fixture *f = *state;
    const struct relay_settings settings = {.idle_ms = 3600000, .half_close_ms = 100};
    start(f, &settings);
    (void)fill_from(f, f->server);
    reset(f->server);
    f->server = -1;
    assert_int_equal(write(f->client, "more", 4), 4);
    run_until_done(f);
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
    assert_int_equal(conn_peek_failure(f->down), CONN_END_NONE);
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

/* Reads one piece now and then, more than a second long; then all there is, as fast as it comes.
   Until the end: 0, or -errno. */
static int read_slowly(struct fixture *f, size_t *got)
{
    enum { PIECE = 64 * 1024, SLOW_BYTES = 20 * PIECE, PAUSE_MS = 60 };
    static uint8_t buf[PIECE];
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    uint64_t next = 0;
    *got = 0;
    for (;;) {
        uint64_t now = clock_mono_ms();
        assert_true(now < deadline);
        if (now >= next) {
            ssize_t n = recv(f->client, buf, sizeof(buf), MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN)) {
                return n == 0 ? 0 : -errno;
            }
            *got += n > 0 ? (size_t)n : 0;
            next = *got < SLOW_BYTES ? now + PAUSE_MS : now;
        }
        turn(f);
    }
}

static const struct relay_settings impatient = {.idle_ms = 500, .half_close_ms = 500};

/* The kernel tells that it takes more only when a third of its buffer is free. */
static void test_relay_bytes_that_trickle_out_are_progress(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    size_t got;
    /* A large buffer at the far end opens its window in steps that take as long as the bound. */
    int room = 64 * 1024;
    assert_int_equal(setsockopt(f->client, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
    start(f, &impatient);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    assert_int_equal(read_to_end(f, f->server, &ignored), 0);
    size_t total = fill_from(f, f->server);
    assert_true(is_paused(f, RELAY_UPSTREAM));
    close_far(&f->server);
    assert_int_equal(read_slowly(f, &got), 0);
    assert_int_equal(got, total);
    run_until_done(f);
    assert_int_equal(f->done, REASON_CLOSED);
}

/* Nothing is left with us; the kernel has the rest. */
static void tail_in_the_kernel(struct fixture *f)
{
    static const uint8_t bytes[1500000];
    size_t got;
    start(f, &impatient);
    for (size_t sent = 0; sent < sizeof(bytes);) {
        ssize_t n = send(f->server, bytes, sizeof(bytes) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        turn(f);
        assert_int_equal(f->done, REASON_NONE);
    }
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    assert_int_equal(read_slowly(f, &got), 0);
    assert_int_equal(got, sizeof(bytes));
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    run_until_done(f);
    assert_int_equal(f->done, REASON_CLOSED);
}

static void test_relay_bytes_that_leave_the_kernel_are_progress(void **state)
{
    tail_in_the_kernel(*state);
}

static void test_relay_unix_bytes_that_leave_the_kernel_are_progress(void **state)
{
    struct fixture *f = *state;
    int room = 2000000;
    if (setsockopt(conn_fd(f->down), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) != 0) {
        skip(); /* more than net.core.wmem_max: for root only */
    }
    tail_in_the_kernel(f);
}

/* The flush before a reset is bounded by time without progress as well. */
static void test_relay_flush_lasts_while_bytes_move(void **state)
{
    struct fixture *f = *state;
    size_t got;
    start(f, &impatient);
    size_t total = fill_from(f, f->server);
    int unsent = 0;
    assert_int_equal(ioctl(f->server, TIOCOUTQ, &unsent), 0);
    reset(f->server);
    f->server = -1;
    assert_int_equal(read_slowly(f, &got), -ECONNRESET);
    assert_true(got >= total - (size_t)unsent);
    assert_int_equal(f->done, REASON_UPSTREAM_RESET);
}

/* Progress that has stopped: the time runs from there, not for ever. */
static void test_relay_half_closed_reader_that_stops_is_cut(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    start(f, &impatient);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    assert_int_equal(read_to_end(f, f->server, &ignored), 0);
    (void)fill_from(f, f->server);
    run_until_done(f);
    assert_int_equal(f->done, REASON_HALF_CLOSE_TIMEOUT);
}

static void test_relay_looks_at_a_flush_ever_more_rarely(void **state)
{
    static const uint64_t delays[] = {5, 10, 20, 40, 80, 160, 250, 250};
    struct fixture *f = *state;
    start(f, NULL);
    (void)fill_from(f, f->server);
    reset(f->server);
    f->server = -1;
    f->ticks_off = true;
    f->relay.directions[RELAY_UPSTREAM].paused = false; /* as if the client had read */
    uint64_t now = loop_now_ms(f->loop);
    f->up->handler->on_write_failed(f->up->handler_arg, CONN_END_NO_MEMORY);
    assert_int_equal(f->relay.abort_reason, REASON_OUT_OF_MEMORY);
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        assert_int_equal(relay_tick(&f->relay, now), delays[i]);
    }
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
        RELAY_TEST(test_relay_answer_is_read_after_sending_failed, setup),
        RELAY_TEST(test_relay_answer_is_whole_after_sending_failed, setup),
        RELAY_TEST(test_relay_cut_for_a_reader_that_stalls, setup),
        RELAY_TEST(test_relay_reset_while_paused_keeps_what_came_before, setup),
        RELAY_TEST(test_relay_reset_for_a_reader_that_stalls, setup),
        RELAY_TEST(test_relay_unix_close_for_a_reader_that_stalls, setup_unix_client),
        RELAY_TEST(test_relay_bytes_that_trickle_out_are_progress, setup),
        RELAY_TEST(test_relay_bytes_that_leave_the_kernel_are_progress, setup),
        RELAY_TEST(test_relay_unix_bytes_that_leave_the_kernel_are_progress, setup_unix_client),
        RELAY_TEST(test_relay_flush_lasts_while_bytes_move, setup),
        RELAY_TEST(test_relay_half_closed_reader_that_stops_is_cut, setup),
        RELAY_TEST(test_relay_looks_at_a_flush_ever_more_rarely, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
