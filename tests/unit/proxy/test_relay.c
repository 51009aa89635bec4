/*
 * relay: copying, back-pressure, half-close, ends and time, over real sockets and plain conns.
 *
 * The far ends of two TCP connections are blocking sockets of the test; the loop runs in the same
 * thread until a condition holds or a deadline passes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/netaddr.h"
#include "net/plain_conn.h"
#include "proxy/relay.h"

enum { DEADLINE_MS = 20000 };

struct fixture {
    struct loop *loop;
    struct plain_thread *plain;
    struct timer *turn;
    struct conn *down;
    struct conn *up;
    int client; /* the far end of down */
    int server; /* the far end of up */
    struct relay relay;
    enum reason done;
    size_t buffered;
    size_t most_buffered;
    size_t bound;
    bool tight;
    bool closed;
};

static void tcp_pair(int fds[2])
{
    struct netaddr addr;
    assert_true(netaddr_from_ip(&addr, "127.0.0.1", 0));
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, &addr.u.sa, addr.len), 0);
    assert_int_equal(listen(listening, 1), 0);
    addr.len = sizeof(addr.u.storage);
    assert_int_equal(getsockname(listening, &addr.u.sa, &addr.len), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fds[0], &addr.u.sa, addr.len), 0);
    fds[1] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fds[1] >= 0);
    close(listening);
}

static void on_turn(void *arg)
{
    struct fixture *f = arg;
    if (f->done == REASON_NONE && f->relay.running) {
        (void)relay_tick(&f->relay, loop_now_ms(f->loop));
    }
    loop_stop(f->loop);
}

/* One short run of the loop. */
static void turn(struct fixture *f)
{
    timer_set(f->turn, 2);
    loop_run(f->loop);
}

static void on_done(void *arg, enum reason reason)
{
    struct fixture *f = arg;
    assert_int_equal(f->done, REASON_NONE);
    f->done = reason;
    if (relay_ended_in_order(&f->relay)) {
        conn_close(f->down);
        conn_close(f->up);
    } else {
        conn_abort(f->down);
        conn_abort(f->up);
    }
    f->closed = true;
}

static bool on_buffer(void *arg, size_t bytes)
{
    struct fixture *f = arg;
    if (f->bound != 0 && f->buffered + bytes > f->bound) {
        return false;
    }
    f->buffered += bytes;
    f->most_buffered = f->buffered > f->most_buffered ? f->buffered : f->most_buffered;
    return true;
}

static void on_unbuffer(void *arg, size_t bytes)
{
    struct fixture *f = arg;
    assert_true(f->buffered >= bytes);
    f->buffered -= bytes;
}

static bool on_tight(void *arg)
{
    return ((struct fixture *)arg)->tight;
}

static void on_look_soon(void *arg, uint64_t delay_ms)
{
    (void)arg;
    (void)delay_ms; /* the test looks at every turn */
}

static const struct relay_owner owner = {
    .on_done = on_done,
    .buffer = on_buffer,
    .unbuffer = on_unbuffer,
    .buffer_is_tight = on_tight,
    .look_soon = on_look_soon,
};

static void start(struct fixture *f, const struct relay_settings *settings)
{
    static const struct relay_settings usual = {.idle_ms = 60000, .half_close_ms = 60000};
    relay_start(&f->relay, f->down, f->up, settings == NULL ? &usual : settings, &owner, f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct errbuf err;
    int down[2];
    int up[2];
    assert_non_null(f);
    f->loop = loop_new(&err);
    assert_non_null(f->loop);
    f->plain = plain_thread_new();
    f->turn = timer_new(f->loop, on_turn, f);
    tcp_pair(down);
    tcp_pair(up);
    f->client = down[0];
    f->server = up[0];
    f->down = plain_conn_new(f->plain, f->loop, down[1], false);
    f->up = plain_conn_new(f->plain, f->loop, up[1], false);
    assert_non_null(f->down);
    assert_non_null(f->up);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    relay_stop(&f->relay);
    assert_int_equal(f->buffered, 0);
    if (!f->closed) {
        conn_abort(f->down);
        conn_abort(f->up);
    }
    turn(f);
    close(f->client);
    close(f->server);
    timer_free(f->turn);
    loop_free(f->loop);
    plain_thread_free(f->plain);
    free(f);
    return 0;
}

static void run_until_done(struct fixture *f)
{
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (f->done == REASON_NONE) {
        assert_true(clock_mono_ms() < deadline);
        turn(f);
    }
}

/* Reads until the end or an error, the loop running meanwhile: the count, or -errno. */
static ssize_t read_to_end(struct fixture *f, int fd, uint8_t *sum)
{
    static uint8_t buf[65536];
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    ssize_t total = 0;
    for (;;) {
        assert_true(clock_mono_ms() < deadline);
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n == 0) {
            return total;
        }
        if (n < 0 && errno != EAGAIN) {
            return -errno;
        }
        for (ssize_t i = 0; i < n; i++) {
            *sum = (uint8_t)(*sum * 31 + buf[i]);
        }
        total += n > 0 ? n : 0;
        turn(f);
    }
}

/* Sends `total` bytes into one end while reading what comes out of the other. */
static void pump(struct fixture *f, int from, int to, size_t total, uint8_t *sent_sum,
                 uint8_t *got_sum)
{
    static uint8_t out[50000];
    static uint8_t in[65536];
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    size_t sent = 0;
    size_t got = 0;
    while (got < total) {
        assert_true(clock_mono_ms() < deadline);
        size_t want = total - sent < sizeof(out) ? total - sent : sizeof(out);
        for (size_t i = 0; i < want; i++) {
            out[i] = (uint8_t)((sent + i) * 7 + (sent + i) / 251);
        }
        ssize_t n = want > 0 ? send(from, out, want, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        for (ssize_t i = 0; i < n; i++) {
            *sent_sum = (uint8_t)(*sent_sum * 31 + out[i]);
        }
        sent += n > 0 ? (size_t)n : 0;
        n = recv(to, in, sizeof(in), MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++) {
            *got_sum = (uint8_t)(*got_sum * 31 + in[i]);
        }
        got += n > 0 ? (size_t)n : 0;
        turn(f);
    }
}

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

/* Fills everything between the client and a server that does not read. */
static size_t fill(struct fixture *f)
{
    static uint8_t buf[65536];
    size_t total = 0;
    for (int stuck = 0; stuck < 20;) {
        ssize_t n = send(f->client, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
        total += n > 0 ? (size_t)n : 0;
        stuck = n > 0 ? 0 : stuck + 1;
        turn(f);
        if (f->done != REASON_NONE) {
            break;
        }
    }
    return total;
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

static void reset(int fd)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(fd);
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
