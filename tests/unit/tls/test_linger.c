/*
 * What lingers is counted from its refusal until its descriptor is closed, whichever way it ends.
 */
#include "tls_test.h"

static bool nothing_lingers(void *arg)
{
    struct world *world = arg;
    return world->lingering == 0;
}

/* A conn that has been refused, with its peer still there. Returns the peer's socket. */
static int refuse_one(struct world *world)
{
    int fds[2];
    unix_pair(fds);
    struct ours ours = {0};
    ours_accept(world, &ours, world->server, fds[0]);
    assert_int_equal(send(fds[1], "hello", 5, MSG_NOSIGNAL), 5);
    run_until(world, ours_was_called, &ours);
    assert_int_equal(ours.failure.reason, REASON_TLS_NOT_TLS);
    return fds[1];
}

static void test_counts_each_until_its_peer_leaves(void **state)
{
    struct world *world = *state;
    int peers[5];
    for (size_t i = 0; i < 5; i++) {
        peers[i] = refuse_one(world);
        assert_int_equal(world->lingering, i + 1);
    }
    for (size_t i = 0; i < 5; i++) {
        (void)close(peers[i]);
    }
    uint64_t start = loop_now_ms(world->loop);
    run_until(world, nothing_lingers, world);
    assert_true(loop_now_ms(world->loop) - start < 900); /* by the ends, not by the second */
}

static void test_counts_until_time_is_up(void **state)
{
    struct world *world = *state;
    int peer = refuse_one(world);
    uint64_t start = loop_now_ms(world->loop);
    run_until(world, nothing_lingers, world);
    assert_true(loop_now_ms(world->loop) - start >= 900);
    (void)close(peer);
}

static void test_counts_until_too_much_was_sent(void **state)
{
    struct world *world = *state;
    static const char bytes[4096];
    int peer = refuse_one(world);
    uint64_t start = loop_now_ms(world->loop);
    while (world->lingering != 0) {
        (void)send(peer, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
        run_loop_ms(world->loop, 1);
        assert_true(loop_now_ms(world->loop) - start < 900);
    }
    (void)close(peer);
}

static void test_counts_no_conn_that_its_owner_closes(void **state)
{
    struct world *world = *state;
    int fds[2];
    unix_pair(fds);
    struct ours ours = {.keep = true};
    ours_accept(world, &ours, world->server, fds[0]);
    assert_int_equal(send(fds[1], "hello", 5, MSG_NOSIGNAL), 5);
    run_until(world, ours_was_called, &ours);
    assert_int_equal(world->lingering, 0);
    ours_fini(&ours);
    run_loop_ms(world->loop, 1);
    assert_int_equal(world->lingering, 0);
    (void)close(fds[1]);
}

static void test_a_peer_that_has_left_counts_no_longer_than_a_turn(void **state)
{
    struct world *world = *state;
    int fds[2];
    unix_pair(fds);
    struct ours ours = {0};
    ours_accept(world, &ours, world->server, fds[0]);
    assert_int_equal(send(fds[1], "\x16", 1, MSG_NOSIGNAL), 1);
    (void)close(fds[1]);
    run_until(world, ours_was_called, &ours);
    assert_int_equal(ours.failure.reason, REASON_HANDSHAKE_CLOSED);
    assert_int_equal(world->lingering, 0);
}

static void test_a_thread_that_goes_leaves_none_behind(void **state)
{
    struct world *world = *state;
    struct tls_thread *former = world->thread;
    int peers[] = {refuse_one(world), refuse_one(world), refuse_one(world)};
    world->thread = tls_thread_new(world->crypto, 4, &world->lingering);
    int other = refuse_one(world); /* of another thread with the same count */
    assert_int_equal(world->lingering, 4);
    tls_thread_free(former);
    assert_int_equal(world->lingering, 1);
    run_loop_ms(world->loop, 1);
    assert_int_equal(world->lingering, 1);
    for (size_t i = 0; i < 3; i++) {
        (void)close(peers[i]);
    }
    (void)close(other);
    run_until(world, nothing_lingers, world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_world, teardown_world)
        T(test_counts_each_until_its_peer_leaves),
        T(test_counts_until_time_is_up),
        T(test_counts_until_too_much_was_sent),
        T(test_counts_no_conn_that_its_owner_closes),
        T(test_a_peer_that_has_left_counts_no_longer_than_a_turn),
        T(test_a_thread_that_goes_leaves_none_behind),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
