/*
 * relay: a peer whose machine is gone, and one that is merely slow. The process has a network of
 * its own; with its loopback down nothing is answered, and nobody is told.
 */
#include "relay_test.h"

#include <net/if.h>
#include <sched.h>

enum { KEEPALIVE_MS = 400, PATIENCE_MS = 2000 /* no less, however short keepalive is */ };

static const struct relay_settings settings = {
    .idle_ms = 3600000,
    .half_close_ms = 3600000,
    .keepalive_ms = KEEPALIVE_MS,
};

static void network(bool up)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = up ? IFF_UP : 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

static bool own_network(void)
{
    static bool made = false;
    if (!made) {
        made = unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
    }
    return made;
}

/* The client over TCP, the server over a Unix socket, which needs no network. */
static int setup_network(void **state)
{
    if (own_network()) {
        network(true);
    }
    return setup_with(state, false, true);
}

static void begin(struct fixture *f)
{
    if (!own_network()) {
        skip(); /* neither root nor allowed to make a user namespace */
    }
    start(f, &settings);
    assert_int_equal(write(f->server, "1", 1), 1);
    char byte;
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (recv(f->client, &byte, 1, MSG_DONTWAIT) != 1) {
        assert_true(clock_mono_ms() < deadline);
        turn(f);
    }
    while (conn_outstanding(f->down) > 0) {
        assert_true(clock_mono_ms() < deadline);
        turn(f);
    }
}

static void run_for(struct fixture *f, uint64_t ms)
{
    uint64_t end = clock_mono_ms() + ms;
    while (clock_mono_ms() < end && f->done == REASON_NONE) {
        turn(f);
    }
}

static void test_relay_peer_that_vanished_with_bytes_on_the_way(void **state)
{
    struct fixture *f = *state;
    begin(f);
    network(false);
    uint64_t began = clock_mono_ms();
    assert_int_equal(write(f->server, "2", 1), 1);
    run_until_done(f);
    assert_int_equal(f->done, REASON_DOWNSTREAM_VANISHED);
    assert_true(clock_mono_ms() - began >= PATIENCE_MS);
}

/* Its window was shut: what is not answered is a window probe. */
static void test_relay_peer_that_vanished_with_its_window_shut(void **state)
{
    struct fixture *f = *state;
    begin(f);
    (void)fill_from(f, f->server);
    network(false);
    run_until_done(f);
    assert_int_equal(f->done, REASON_DOWNSTREAM_VANISHED);
}

/* A live peer answers window probes, for as long as it likes. */
static void test_relay_live_peer_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    uint8_t ignored = 0;
    begin(f);
    size_t total = fill_from(f, f->server);
    run_for(f, 2 * PATIENCE_MS);
    assert_int_equal(f->done, REASON_NONE);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    assert_int_equal(read_to_end(f, f->client, &ignored), (ssize_t)total);
}

/* Silence alone says nothing: the next byte has its own time. */
static void test_relay_silence_counts_from_what_is_unanswered(void **state)
{
    struct fixture *f = *state;
    begin(f);
    run_for(f, PATIENCE_MS + KEEPALIVE_MS);
    network(false);
    uint64_t began = clock_mono_ms();
    assert_int_equal(write(f->server, "2", 1), 1);
    run_for(f, KEEPALIVE_MS);
    if (clock_mono_ms() - began < PATIENCE_MS) {
        assert_int_equal(f->done, REASON_NONE);
    }
    network(true);
    char byte;
    uint64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (recv(f->client, &byte, 1, MSG_DONTWAIT) != 1 && f->done == REASON_NONE) {
        assert_true(clock_mono_ms() < deadline);
        turn(f);
    }
}

/* An idle peer is the kernel's matter (SO_KEEPALIVE). */
static void test_relay_idle_peer_is_not_judged(void **state)
{
    struct fixture *f = *state;
    begin(f);
    network(false);
    run_for(f, PATIENCE_MS + 2 * KEEPALIVE_MS);
    assert_int_equal(f->done, REASON_NONE);
}

static void test_relay_without_keepalive_judges_nobody(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->relay.settings.keepalive_ms = 0;
    f->relay.acks_due = false;
    network(false);
    assert_int_equal(write(f->server, "2", 1), 1);
    run_for(f, PATIENCE_MS + 2 * KEEPALIVE_MS);
    assert_int_equal(f->done, REASON_NONE);
}

/* A look is asked for by the first byte, not by each; and no more once all has been answered. */
static void test_relay_asks_for_one_look_in_a_while(void **state)
{
    struct fixture *f = *state;
    f->ticks_off = true;
    begin(f);
    assert_int_equal(f->looks, 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(write(f->server, "2", 1), 1);
        turns(f, 3);
    }
    assert_int_equal(f->looks, 1);
    assert_true(relay_tick(&f->relay, loop_now_ms(f->loop)) > KEEPALIVE_MS);
    assert_int_equal(write(f->server, "3", 1), 1);
    turns(f, 3);
    assert_int_equal(f->looks, 2);
    network(false);
    assert_int_equal(write(f->server, "4", 1), 1);
    turns(f, 3);
    assert_int_equal(relay_tick(&f->relay, loop_now_ms(f->loop)), KEEPALIVE_MS / 4);
}

int main(void)
{
#define RELAY_TEST(f) cmocka_unit_test_setup_teardown(f, setup_network, teardown)
    const struct CMUnitTest tests[] = {
        RELAY_TEST(test_relay_peer_that_vanished_with_bytes_on_the_way),
        RELAY_TEST(test_relay_peer_that_vanished_with_its_window_shut),
        RELAY_TEST(test_relay_live_peer_that_does_not_read),
        RELAY_TEST(test_relay_silence_counts_from_what_is_unanswered),
        RELAY_TEST(test_relay_idle_peer_is_not_judged),
        RELAY_TEST(test_relay_without_keepalive_judges_nobody),
        RELAY_TEST(test_relay_asks_for_one_look_in_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
