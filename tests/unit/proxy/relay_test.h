/*
 * relay_test: what the tests of relay share: two conns with blocking sockets of the test at their
 * far ends; the loop runs in the same thread until a condition holds or a deadline passes.
 */
#ifndef BULKHEAD_TESTS_UNIT_PROXY_RELAY_TEST_H
#define BULKHEAD_TESTS_UNIT_PROXY_RELAY_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/netaddr.h"
#include "net/plain_conn.h"
#include "proxy/relay.h"

enum { DEADLINE_MS = 20000, LONGEST_TURN_MS = 10 };

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
    unsigned looks;  /* times that a look was asked for */
    size_t moved[2]; /* bytes by source */
    bool closed;
    bool ticks_off; /* the test calls relay_tick itself */
    uint64_t turned_ms;
};

static inline void tcp_pair(int fds[2])
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

/* While a busy machine did not run this process, its far ends did not run either: that is no time
   without progress. */
static inline void forgive_standstill(struct fixture *f, uint64_t now_ms)
{
    uint64_t passed = f->turned_ms == 0 ? 0 : now_ms - f->turned_ms;
    if (passed > LONGEST_TURN_MS) {
        uint64_t since = f->relay.last_progress_ms + passed - LONGEST_TURN_MS;
        f->relay.last_progress_ms = since < now_ms ? since : now_ms;
    }
    f->turned_ms = now_ms;
}

static inline void on_turn(void *arg)
{
    struct fixture *f = arg;
    if (f->done == REASON_NONE && f->relay.running && !f->ticks_off) {
        uint64_t now_ms = loop_now_ms(f->loop);
        forgive_standstill(f, now_ms);
        (void)relay_tick(&f->relay, now_ms);
    }
    loop_stop(f->loop);
}

/* One short run of the loop. */
static inline void turn(struct fixture *f)
{
    timer_set(f->turn, 2);
    loop_run(f->loop);
}

static inline void on_done(void *arg, enum reason reason)
{
    struct fixture *f = arg;
    assert_int_equal(f->done, REASON_NONE);
    f->done = reason;
    for (int side = 0; side < 2; side++) {
        assert_int_equal(f->moved[side], relay_bytes(&f->relay, (enum relay_side)side));
    }
    if (relay_ended_in_order(&f->relay)) {
        conn_close(f->down);
        conn_close(f->up);
    } else {
        conn_abort(f->down);
        conn_abort(f->up);
    }
    f->closed = true;
}

static inline bool on_buffer(void *arg, size_t bytes)
{
    struct fixture *f = arg;
    if (f->bound != 0 && f->buffered + bytes > f->bound) {
        return false;
    }
    f->buffered += bytes;
    f->most_buffered = f->buffered > f->most_buffered ? f->buffered : f->most_buffered;
    return true;
}

static inline void on_unbuffer(void *arg, size_t bytes)
{
    struct fixture *f = arg;
    assert_true(f->buffered >= bytes);
    f->buffered -= bytes;
}

static inline bool on_tight(void *arg)
{
    return ((struct fixture *)arg)->tight;
}

static inline void on_look_soon(void *arg, uint64_t delay_ms)
{
    ((struct fixture *)arg)->looks++;
    (void)delay_ms; /* the test looks at every turn */
}

static inline void on_moved(void *arg, enum relay_side source, size_t bytes)
{
    ((struct fixture *)arg)->moved[source] += bytes;
}

static const struct relay_owner owner = {
    .on_done = on_done,
    .buffer = on_buffer,
    .unbuffer = on_unbuffer,
    .buffer_is_tight = on_tight,
    .look_soon = on_look_soon,
    .moved = on_moved,
};

static inline void start(struct fixture *f, const struct relay_settings *settings)
{
    static const struct relay_settings usual = {.idle_ms = 60000, .half_close_ms = 60000};
    relay_start(&f->relay, f->down, f->up, settings == NULL ? &usual : settings, &owner, f);
}

static inline void pair(bool is_unix, int fds[2])
{
    if (!is_unix) {
        tcp_pair(fds);
        return;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
}

static inline int setup_with(void **state, bool down_is_unix, bool up_is_unix)
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
    pair(down_is_unix, down);
    pair(up_is_unix, up);
    f->client = down[0];
    f->server = up[0];
    f->down = plain_conn_new(f->plain, f->loop, down[1], down_is_unix);
    f->up = plain_conn_new(f->plain, f->loop, up[1], up_is_unix);
    assert_non_null(f->down);
    assert_non_null(f->up);
    *state = f;
    return 0;
}

static inline int setup(void **state)
{
    return setup_with(state, false, false);
}

static inline int teardown(void **state)
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

static inline void run_until_done(struct fixture *f)
{
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (f->done == REASON_NONE) {
        assert_true(clock_mono_ms() < deadline);
        turn(f);
    }
}

/* Reads until the end or an error, the loop running meanwhile: the count, or -errno. */
static inline ssize_t read_to_end(struct fixture *f, int fd, uint8_t *sum)
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
static inline void pump(struct fixture *f, int from, int to, size_t total, uint8_t *sent_sum,
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

/* Sends from one far end until nothing more is taken, while the other reads nothing. */
static inline size_t fill_from(struct fixture *f, int fd)
{
    static const uint8_t buf[65536];
    size_t total = 0;
    for (int stuck = 0; stuck < 20 && f->done == REASON_NONE;) {
        ssize_t n = send(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
        total += n > 0 ? (size_t)n : 0;
        stuck = n > 0 ? 0 : stuck + 1;
        turn(f);
    }
    return total;
}

/* The server does not read. */
static inline size_t fill(struct fixture *f)
{
    return fill_from(f, f->client);
}

static inline void turns(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++) {
        turn(f);
    }
}

static inline void close_far(int *fd)
{
    close(*fd);
    *fd = -1;
}

static inline void reset(int fd)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(fd);
}

#endif
