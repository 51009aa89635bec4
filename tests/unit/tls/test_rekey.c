/*
 * A long stream renews its keys, in time and without losing a byte.
 */
#include "tls_test.h"

#include "../../../src/tls/tls_conn_private.h"
#include "../../../src/tls/tls_thread.h"

enum { PIECE = 40 * 1024, PIECES = 400 };

/* A byte of the stream by its place. */
static uint8_t byte_at(size_t place)
{
    return (uint8_t)(place * 31 + (place >> 8) * 7 + (place >> 16));
}

static size_t key_updates;

static void on_message(int write, int version, int type, const void *data, size_t len, SSL *ssl,
                       void *arg)
{
    (void)version;
    (void)ssl;
    (void)arg;
    const uint8_t *message = data;
    if (write == 0 && type == SSL3_RT_HANDSHAKE && len == 5 && message[0] == SSL3_MT_KEY_UPDATE) {
        assert_int_equal(message[4], SSL_KEY_UPDATE_NOT_REQUESTED);
        key_updates++;
    }
}

struct checked {
    size_t place;
};

/* What has come so far is right; then it is forgotten. */
static void check(struct bytebuf *received, struct checked *checked)
{
    const uint8_t *data = (const uint8_t *)bytebuf_data(received);
    size_t len = bytebuf_len(received);
    for (size_t i = 0; i < len; i++) {
        if (data[i] != byte_at(checked->place + i)) {
            fail_msg("byte %zu is wrong", checked->place + i);
        }
    }
    checked->place += len;
    bytebuf_consume(received, len);
}

static void fill(uint8_t *piece, size_t from)
{
    for (size_t i = 0; i < PIECE; i++) {
        piece[i] = byte_at(from + i);
    }
}

/* To a peer by hand; records per key, as the peer has to see them. */
static size_t stream_to_peer(struct world *world, int version, bool we_serve, uint32_t bound)
{
    static uint8_t piece[PIECE];
    struct duel duel = {0};
    const struct peer_options options = {
        .server = !we_serve, .version = version, .show = &world->peer};
    world->thread->rekey_records = bound;
    duel_run(world, &duel, we_serve ? world->server : world->client, &options);
    assert_true(duel.ours.open);
    key_updates = 0;
    SSL_set_msg_callback(duel.peer.ssl, on_message);
    struct checked checked = {0};
    for (size_t i = 0; i < PIECES; i++) {
        fill(piece, i * PIECE);
        assert_int_equal(conn_write(duel.ours.conn, piece, PIECE), CONN_END_NONE);
        while (checked.place < (i + 1) * PIECE && !duel.peer.failed) {
            run_loop_ms(world->loop, 0);
            check(&duel.peer.received, &checked);
        }
        assert_false(duel.peer.failed);
    }
    assert_int_equal(conn_end_stream(duel.ours.conn), CONN_END_NONE);
    run_until(world, peer_has_ended, &duel.peer);
    assert_true(duel.peer.clean);
    duel_fini(&duel);
    return key_updates;
}

static void test_renews_before_the_bound(void **state)
{
    struct world *world = *state;
    /* 40 KiB are 3 records: 10 records take 3 writes. */
    assert_int_equal(stream_to_peer(world, TLS1_3_VERSION, true, 10), (PIECES - 1) / 3);
    assert_int_equal(stream_to_peer(world, TLS1_3_VERSION, false, 10), (PIECES - 1) / 3);
    /* Less than a write: each one but the first has a key of its own. */
    assert_int_equal(stream_to_peer(world, TLS1_3_VERSION, true, 3), PIECES - 1);
}

static void test_does_not_renew_for_nothing(void **state)
{
    struct world *world = *state;
    assert_int_equal(stream_to_peer(world, TLS1_3_VERSION, true, 3 * PIECES), 0);
    assert_int_equal(stream_to_peer(world, TLS1_3_VERSION, true, 3 * PIECES - 1), 1);
    assert_int_equal(stream_to_peer(world, TLS1_2_VERSION, true, 10), 0);
}

static void test_the_bound_is_below_that_of_the_standard(void **state)
{
    const struct world *world = *state;
    /* 2^24.5 = 23,726,566 records. */
    assert_true(world->thread->rekey_records <= 23726566 / 2);
}

static void test_small_writes_count_too(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    const struct peer_options options = {.version = TLS1_3_VERSION, .show = &world->peer};
    world->thread->rekey_records = 5;
    duel_run(world, &duel, world->server, &options);
    key_updates = 0;
    SSL_set_msg_callback(duel.peer.ssl, on_message);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(conn_write(duel.ours.conn, (const uint8_t *)"z", 1), CONN_END_NONE);
        while (bytebuf_len(&duel.peer.received) <= i) {
            run_loop_ms(world->loop, 0);
        }
    }
    assert_int_equal(key_updates, 9);
    duel_fini(&duel);
}

/* Between two of ours, both directions at once: what we send is what we take. */
static void test_two_of_ours_renew_towards_each_other(void **state)
{
    enum { UPDATES = 100 }; /* all in one second, on a fast machine: below what we take in one */
    static uint8_t piece[PIECE];
    struct world *world = *state;
    world->thread->rekey_records = 4;
    int fds[2];
    unix_pair(fds);
    struct ours ends[2] = {{0}};
    ours_accept(world, &ends[0], world->server, fds[0]);
    ours_connect(world, &ends[1], world->client, fds[1], NULL, NULL);
    run_until(world, ours_was_called, &ends[0]);
    run_until(world, ours_was_called, &ends[1]);
    struct checked checked[2] = {{0}};
    for (size_t i = 0; i < UPDATES; i++) {
        fill(piece, i * PIECE);
        for (size_t e = 0; e < 2; e++) {
            assert_int_equal(conn_write(ends[e].conn, piece, PIECE), CONN_END_NONE);
        }
        while (checked[0].place < (i + 1) * PIECE || checked[1].place < (i + 1) * PIECE) {
            run_loop_ms(world->loop, 0);
            for (size_t e = 0; e < 2; e++) {
                assert_int_equal(ends[e].end, CONN_END_NONE);
                check(&ends[e].received, &checked[e]);
            }
        }
    }
    ours_fini(&ends[0]);
    ours_fini(&ends[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_world, teardown_world)
    const struct CMUnitTest tests[] = {
        TEST(test_renews_before_the_bound),
        TEST(test_does_not_renew_for_nothing),
        TEST(test_the_bound_is_below_that_of_the_standard),
        TEST(test_small_writes_count_too),
        TEST(test_two_of_ours_renew_towards_each_other),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
