/*
 * After the handshake: how a stream ends, sizes, stalls, and peers that keep us busy for nothing.
 */
#include "tls_test.h"

#include "../../../src/tls/tls_thread.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void open_duel(struct world *world, struct duel *duel, int version)
{
    const struct peer_options options = {.version = version, .show = &world->peer};
    duel_run(world, duel, world->server, &options);
    assert_true(duel->ours.open);
}

static void test_close_notify_is_a_clean_end(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        open_duel(world, &duel, versions[i]);
        duel.peer.options.hold = true;
        peer_write(&duel.peer, "last", 4);
        assert_int_equal(SSL_shutdown(duel.peer.ssl), 0);
        peer_flush(&duel.peer); /* data and its end in one piece */
        run_until(world, ours_has_ended, &duel.ours);
        assert_int_equal(duel.ours.end, CONN_END_CLEAN);
        assert_int_equal(bytebuf_len(&duel.ours.received), 4);
        assert_memory_equal(bytebuf_data(&duel.ours.received), "last", 4);

        /* The other direction goes on, and ends in order too. */
        assert_int_equal(conn_write(duel.ours.conn, (const uint8_t *)"answer", 6), CONN_END_NONE);
        assert_int_equal(conn_end_stream(duel.ours.conn), CONN_END_NONE);
        run_until(world, peer_has_ended, &duel.peer);
        assert_true(duel.peer.clean);
        assert_int_equal(bytebuf_len(&duel.peer.received), 6);

        /* What was an end stays one. */
        struct conn_input input;
        conn_read(duel.ours.conn, 100, &input);
        assert_int_equal(input.end, CONN_END_CLEAN);
        assert_int_equal(input.len, 0);
        duel_fini(&duel);
    }
}

static void test_we_read_on_after_our_own_end(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        open_duel(world, &duel, versions[i]);
        assert_int_equal(conn_end_stream(duel.ours.conn), CONN_END_NONE);
        run_until(world, peer_has_ended, &duel.peer);
        assert_true(duel.peer.clean);
        peer_write(&duel.peer, "more", 4);
        assert_int_equal(SSL_shutdown(duel.peer.ssl), 1);
        peer_flush(&duel.peer);
        run_until(world, ours_has_ended, &duel.ours);
        assert_int_equal(duel.ours.end, CONN_END_CLEAN);
        assert_int_equal(bytebuf_len(&duel.ours.received), 4);
        duel_fini(&duel);
    }
}

static void test_fin_without_close_notify_is_truncation(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 4; i++) {
        struct duel duel = {0};
        open_duel(world, &duel, versions[i % 2]);
        duel.peer.options.hold = true;
        peer_write(&duel.peer, "half of it", 10);
        if (i < 2) {
            peer_flush(&duel.peer);
        } else {
            /* In the middle of a record. */
            char *data = NULL;
            assert_true(BIO_get_mem_data(SSL_get_wbio(duel.peer.ssl), &data) > 8);
            assert_int_equal(send(duel.peer.fd, data, 8, MSG_NOSIGNAL), 8);
        }
        assert_return_code(shutdown(duel.peer.fd, SHUT_WR), errno);
        run_until(world, ours_has_ended, &duel.ours);
        assert_int_equal(duel.ours.end, CONN_END_TRUNCATED);
        assert_int_equal(bytebuf_len(&duel.ours.received), i < 2 ? 10 : 0);
        duel_fini(&duel);
    }
}

static void test_our_close_reads_as_truncation(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    open_duel(world, &duel, TLS1_3_VERSION);
    conn_close(duel.ours.conn);
    duel.ours.conn = NULL;
    run_until(world, peer_has_ended, &duel.peer);
    assert_true(duel.peer.eof);
    assert_false(duel.peer.clean);
    duel_fini(&duel);
}

static void test_garbage_is_a_protocol_error(void **state)
{
    struct world *world = *state;
    static const unsigned char record[] = {
        0x17, 0x03, 0x03, 0x00, 0x20, 1,  2, 3,  4,  5,  6,  7,  8,  9,  10, 1,  12, 13, 14,
        15,   16,   17,   18,   19,   20, 2, 22, 23, 24, 25, 26, 27, 28, 29, 30, 3,  32};
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        open_duel(world, &duel, versions[i]);
        duel.peer.options.hold = true;
        peer_write(&duel.peer, "good", 4);
        peer_flush(&duel.peer);
        assert_int_equal(send(duel.peer.fd, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
        run_until(world, ours_has_ended, &duel.ours);
        assert_int_equal(duel.ours.end, CONN_END_PROTOCOL);
        assert_int_equal(bytebuf_len(&duel.ours.received), 4);
        run_until(world, peer_has_ended, &duel.peer);
        assert_int_equal(duel.peer.alert, SSL_AD_BAD_RECORD_MAC);
        /* Nothing can be written behind a fatal alert, and ending is still in order. */
        assert_int_not_equal(conn_write(duel.ours.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
        assert_int_equal(conn_end_stream(duel.ours.conn), CONN_END_NONE);
        duel_fini(&duel);
    }
}

static void test_an_alert_is_told_by_name(void **state)
{
    struct world *world = *state;
    /* A TLS 1.3 server that wants a certificate by hand gets ours and then says no. */
    struct duel duel = {0};
    const struct peer_options options = {.server = true, .show = &world->peer, .hold = true};
    int fds[2];
    unix_pair(fds);
    ours_connect(world, &duel.ours, world->client, fds[0], NULL, NULL);
    peer_init(world, &duel.peer, &options, fds[1]);
    while (!duel_is_over(&duel)) {
        peer_flush(&duel.peer);
        run_loop_ms(world->loop, 1);
    }
    peer_write(&duel.peer, "data", 4);
    peer_flush(&duel.peer);
    /* A record for the peer that it cannot read makes libssl send bad_record_mac. */
    static const unsigned char junk[] = {0x17, 0x03, 0x03, 0x00, 0x12, 1,  2,  3,  4,  5,  6, 7,
                                         8,    9,    10,   11,   12,   13, 14, 15, 16, 17, 18};
    assert_int_equal(BIO_write(SSL_get_rbio(duel.peer.ssl), junk, sizeof(junk)), sizeof(junk));
    peer_step(&duel.peer);
    assert_true(duel.peer.failed);
    peer_flush(&duel.peer);
    run_until(world, ours_has_ended, &duel.ours);
    assert_int_equal(duel.ours.end, CONN_END_ALERT);
    assert_string_equal(tls_conn_alert_name(duel.ours.conn), "bad_record_mac");
    assert_int_equal(bytebuf_len(&duel.ours.received), 4);
    duel_fini(&duel);
}

/* ---- sizes ---- */

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 131 + (at >> 8) * 17 + (at >> 16));
}

static uint8_t *make_pattern(size_t len)
{
    uint8_t *data = mem_alloc(len);
    for (size_t i = 0; i < len; i++) {
        data[i] = pattern(i);
    }
    return data;
}

struct expect {
    struct bytebuf *received;
    size_t len;
};

static bool has_all(void *arg)
{
    const struct expect *expect = arg;
    return bytebuf_len(expect->received) >= expect->len;
}

static void assert_pattern(const struct bytebuf *received, size_t len)
{
    assert_int_equal(bytebuf_len(received), len);
    const uint8_t *data = bytebuf_data(received);
    for (size_t i = 0; i < len; i++) {
        if (data[i] != pattern(i)) {
            fail_msg("byte %zu of %zu is wrong", i, len);
        }
    }
}

static const size_t sizes[] = {1,     2,     16383,     16384,      16385,      65535,
                               65536, 65537, 64 * 1170, 200 * 1000, 1024 * 1024};

static void test_writes_of_all_sizes_arrive(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t len = sizes[i / 2];
        struct duel duel = {0};
        open_duel(world, &duel, versions[i % 2]);
        uint8_t *data = make_pattern(len);
        duel.peer.stalled = true; /* let it back up first */
        assert_int_equal(conn_write(duel.ours.conn, data, len), CONN_END_NONE);
        run_loop_ms(world->loop, 1);
        assert_int_equal(conn_is_blocked(duel.ours.conn), len > 500 * 1000);
        duel.peer.stalled = false;
        struct expect expect = {&duel.peer.received, len};
        run_until(world, has_all, &expect);
        assert_pattern(&duel.peer.received, len);
        assert_false(duel.ours.write_failed);
        mem_free(data);
        duel_fini(&duel);
    }
}

static bool all_came(void *arg)
{
    struct duel *duel = arg;
    peer_send(&duel->peer);
    return bytebuf_len(&duel->peer.unsent) == 0 && bytebuf_len(&duel->ours.received) >= 1024 * 1024;
}

static void test_reads_in_pieces_of_all_sizes(void **state)
{
    struct world *world = *state;
    static const size_t pieces[] = {1000, 16384, 65536, 1 << 20};
    enum { TOTAL = 1024 * 1024 };
    for (size_t i = 0; i < 2 * sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct duel duel = {.ours = {.paused = true, .read_max = pieces[i / 2]}};
        open_duel(world, &duel, versions[i % 2]);
        uint8_t *data = make_pattern(TOTAL);
        /* Odd writes, so that records and reads never fall together. */
        for (size_t at = 0; at < TOTAL;) {
            size_t len = TOTAL - at < 33331 ? TOTAL - at : 33331;
            peer_write(&duel.peer, data + at, len);
            at += len;
        }
        run_loop_ms(world->loop, 1);
        assert_int_equal(bytebuf_len(&duel.ours.received), 0);
        ours_resume(&duel.ours);
        run_until(world, all_came, &duel);
        assert_int_equal(duel.ours.end, CONN_END_NONE);
        assert_pattern(&duel.ours.received, TOTAL);
        mem_free(data);
        duel_fini(&duel);
    }
}

static void test_single_bytes_both_ways(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    open_duel(world, &duel, TLS1_3_VERSION);
    for (size_t i = 0; i < 200; i++) {
        uint8_t byte = pattern(i);
        assert_int_equal(conn_write(duel.ours.conn, &byte, 1), CONN_END_NONE);
        peer_write(&duel.peer, &byte, 1);
    }
    struct expect ours = {&duel.ours.received, 200};
    struct expect peer = {&duel.peer.received, 200};
    run_until(world, has_all, &ours);
    run_until(world, has_all, &peer);
    assert_pattern(&duel.ours.received, 200);
    assert_pattern(&duel.peer.received, 200);
    duel_fini(&duel);
}

static void test_our_client_and_our_server(void **state)
{
    struct world *world = *state;
    int fds[2];
    tcp_pair(fds);
    struct ours client = {0};
    struct ours server = {0};
    ours_accept(world, &server, world->server, fds[0]);
    ours_connect(world, &client, world->client, fds[1], NULL, NULL);
    run_until(world, ours_was_called, &server);
    run_until(world, ours_was_called, &client);
    assert_true(server.open && client.open);
    const size_t len = 3 * 1000 * 1000;
    uint8_t *data = make_pattern(len);
    assert_int_equal(conn_write(client.conn, data, len), CONN_END_NONE);
    assert_int_equal(conn_write(server.conn, data, len), CONN_END_NONE);
    assert_int_equal(conn_end_stream(client.conn), CONN_END_NONE);
    assert_int_equal(conn_end_stream(server.conn), CONN_END_NONE);
    run_until(world, ours_has_ended, &server);
    run_until(world, ours_has_ended, &client);
    assert_int_equal(server.end, CONN_END_CLEAN);
    assert_int_equal(client.end, CONN_END_CLEAN);
    assert_pattern(&server.received, len);
    assert_pattern(&client.received, len);
    mem_free(data);
    ours_fini(&server);
    ours_fini(&client);
}

/* ---- hostile peers ---- */

static void test_key_updates_work(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    open_duel(world, &duel, TLS1_3_VERSION);
    for (size_t i = 0; i < 100; i++) {
        uint8_t byte = pattern(i);
        assert_int_equal(SSL_key_update(duel.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        peer_write(&duel.peer, &byte, 1);
        assert_int_equal(conn_write(duel.ours.conn, &byte, 1), CONN_END_NONE);
        struct expect ours = {&duel.ours.received, i + 1};
        struct expect peer = {&duel.peer.received, i + 1};
        run_until(world, has_all, &ours);
        run_until(world, has_all, &peer);
    }
    assert_pattern(&duel.ours.received, 100);
    assert_pattern(&duel.peer.received, 100);
    duel_fini(&duel);
}

/* The bytes of data and new keys in two pieces, wherever they are cut, while we write: nothing is
   left inside of libssl that no readiness would bring out. */
static void test_key_updates_come_in_any_pieces(void **state)
{
    struct world *world = *state;
    bool whole = false;
    world->thread->rekey_records = 1; /* and we write new keys as well */
    for (size_t cut = 1; !whole; cut++) {
        struct duel duel = {0};
        open_duel(world, &duel, TLS1_3_VERSION);
        duel.peer.options.hold = true;
        for (size_t i = 0; i < 3; i++) {
            uint8_t byte = pattern(i);
            peer_write(&duel.peer, &byte, 1);
            assert_int_equal(SSL_key_update(duel.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
            assert_int_equal(SSL_do_handshake(duel.peer.ssl), 1);
        }
        uint8_t last = pattern(3);
        peer_write(&duel.peer, &last, 1);
        char *bytes = NULL;
        BIO *out = SSL_get_wbio(duel.peer.ssl);
        size_t len = (size_t)BIO_get_mem_data(out, &bytes);
        whole = cut >= len;
        size_t first = whole ? len : cut;
        assert_int_equal(send(duel.peer.fd, bytes, first, MSG_NOSIGNAL), first);
        ours_on_readable(&duel.ours);
        assert_int_equal(conn_write(duel.ours.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
        if (!whole) {
            assert_int_equal(send(duel.peer.fd, bytes + first, len - first, MSG_NOSIGNAL),
                             len - first);
            ours_on_readable(&duel.ours);
        }
        (void)BIO_reset(out);
        assert_pattern(&duel.ours.received, 4);
        assert_int_equal(duel.ours.end, CONN_END_NONE);
        struct expect peer = {&duel.peer.received, 1};
        run_until(world, has_all, &peer);
        duel_fini(&duel);
    }
}

static void test_a_flood_of_key_updates_ends(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    open_duel(world, &duel, TLS1_3_VERSION);
    duel.peer.stalled = true;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(SSL_key_update(duel.peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(duel.peer.ssl), 1);
    }
    peer_flush(&duel.peer);
    run_until(world, ours_has_ended, &duel.ours);
    assert_int_equal(duel.ours.end, CONN_END_NO_PROGRESS);
    duel_fini(&duel);
}

/* A byte of data behind each makes it no work that should be done: one peer had a thread. */
static void test_a_flood_of_key_updates_among_data_ends(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    open_duel(world, &duel, TLS1_3_VERSION);
    duel.peer.stalled = true;
    duel.peer.options.hold = true;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(SSL_key_update(duel.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        peer_write(&duel.peer, "x", 1);
    }
    peer_flush(&duel.peer);
    run_until(world, ours_has_ended, &duel.ours);
    assert_int_equal(duel.ours.end, CONN_END_NO_PROGRESS);
    assert_true(bytebuf_len(&duel.ours.received) < 256);
    duel_fini(&duel);
}

static void test_answers_that_nobody_reads_end_it(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    open_duel(world, &duel, TLS1_2_VERSION);
    duel.peer.stalled = true;
    /* Fill the way back, then make us answer, with a byte of data so that it looks alive. */
    uint8_t *data = make_pattern(1000 * 1000);
    assert_int_equal(conn_write(duel.ours.conn, data, 1000 * 1000), CONN_END_NONE);
    assert_true(conn_pending(duel.ours.conn) > 256 * 1024);
    duel.peer.options.hold = true;
    peer_write(&duel.peer, "x", 1);
    assert_int_equal(SSL_renegotiate(duel.peer.ssl), 1);
    assert_int_equal(SSL_do_handshake(duel.peer.ssl), -1);
    peer_flush(&duel.peer);
    run_until(world, ours_has_ended, &duel.ours);
    assert_int_equal(duel.ours.end, CONN_END_NO_PROGRESS);
    assert_int_equal(bytebuf_len(&duel.ours.received), 1);
    mem_free(data);
    duel_fini(&duel);
}

static void test_answers_to_key_updates_that_nobody_reads_end_it(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    open_duel(world, &duel, TLS1_3_VERSION);
    duel.peer.stalled = true;
    uint8_t *data = make_pattern(1000 * 1000);
    assert_int_equal(conn_write(duel.ours.conn, data, 1000 * 1000), CONN_END_NONE);
    assert_true(conn_pending(duel.ours.conn) > 256 * 1024);
    duel.peer.options.hold = true;
    /* libssl answers the first when the second comes. */
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(SSL_key_update(duel.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        peer_write(&duel.peer, "x", 1);
    }
    peer_flush(&duel.peer);
    run_until(world, ours_has_ended, &duel.ours);
    assert_int_equal(duel.ours.end, CONN_END_NO_PROGRESS);
    assert_int_equal(bytebuf_len(&duel.ours.received), 2);
    mem_free(data);
    duel_fini(&duel);
}

static void test_renegotiation_is_refused(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    const struct peer_options options = {
        .version = TLS1_2_VERSION, .show = &world->peer, .renegotiates = true};
    duel_run(world, &duel, world->server, &options);
    assert_true(duel.ours.open);
    X509_free(duel.peer.seen);
    duel.peer.seen = NULL;
    duel.ours.checked = false;
    assert_int_equal(SSL_renegotiate(duel.peer.ssl), 1);
    ERR_clear_error();
    (void)SSL_do_handshake(duel.peer.ssl);
    peer_flush(&duel.peer);
    run_until(world, peer_has_ended, &duel.peer);
    assert_null(duel.peer.seen); /* no second handshake */
    assert_false(duel.ours.checked);
    duel_fini(&duel);
}

static bool peer_was_warned(void *arg)
{
    const struct peer *peer = arg;
    return peer->warning != NO_ALERT;
}

static void test_a_server_cannot_renegotiate(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    const struct peer_options options = {
        .server = true, .version = TLS1_2_VERSION, .show = &world->peer};
    duel_run(world, &duel, world->client, &options);
    assert_true(duel.ours.open);
    duel.ours.checked = false;
    duel.peer.saw_certificate = false;
    assert_int_equal(SSL_renegotiate(duel.peer.ssl), 1);
    (void)SSL_do_handshake(duel.peer.ssl); /* HelloRequest */
    peer_flush(&duel.peer);
    run_until(world, peer_was_warned, &duel.peer);
    assert_int_equal(duel.peer.warning, SSL_AD_NO_RENEGOTIATION);
    assert_false(duel.ours.checked);
    assert_false(duel.peer.saw_certificate);
    duel_fini(&duel);
}

static void test_tickets_from_a_server_do_no_harm(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    const struct peer_options options = {
        .server = true, .version = TLS1_3_VERSION, .show = &world->peer};
    duel_run(world, &duel, world->client, &options);
    assert_true(duel.ours.open);
    peer_write(&duel.peer, "hello", 5);
    struct expect expect = {&duel.ours.received, 5};
    run_until(world, has_all, &expect);
    assert_int_equal(duel.ours.end, CONN_END_NONE);
    assert_memory_equal(bytebuf_data(&duel.ours.received), "hello", 5);
    duel_fini(&duel);
}

/* One conn's errors must not decide another's fate. */
static void test_conns_share_a_thread_in_peace(void **state)
{
    struct world *world = *state;
    struct duel good = {0};
    open_duel(world, &good, TLS1_3_VERSION);
    struct duel bad = {0};
    const struct peer_options options = {.version = TLS1_3_VERSION};
    duel_run(world, &bad, world->server, &options);
    assert_int_equal(bad.ours.failure.reason, REASON_SVID_NO_CERTIFICATE);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    peer_write(&good.peer, "still", 5);
    struct expect expect = {&good.ours.received, 5};
    run_until(world, has_all, &expect);
    assert_int_equal(good.ours.end, CONN_END_NONE);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_int_equal(conn_write(good.ours.conn, (const uint8_t *)"there", 5), CONN_END_NONE);
    struct expect back = {&good.peer.received, 5};
    run_until(world, has_all, &back);
    duel_fini(&bad);
    duel_fini(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_world, teardown_world)
        T(test_close_notify_is_a_clean_end),
        T(test_we_read_on_after_our_own_end),
        T(test_fin_without_close_notify_is_truncation),
        T(test_our_close_reads_as_truncation),
        T(test_garbage_is_a_protocol_error),
        T(test_an_alert_is_told_by_name),
        T(test_writes_of_all_sizes_arrive),
        T(test_reads_in_pieces_of_all_sizes),
        T(test_single_bytes_both_ways),
        T(test_our_client_and_our_server),
        T(test_key_updates_work),
        T(test_key_updates_come_in_any_pieces),
        T(test_a_flood_of_key_updates_ends),
        T(test_a_flood_of_key_updates_among_data_ends),
        T(test_answers_that_nobody_reads_end_it),
        T(test_answers_to_key_updates_that_nobody_reads_end_it),
        T(test_renegotiation_is_refused),
        T(test_a_server_cannot_renegotiate),
        T(test_tickets_from_a_server_do_no_harm),
        T(test_conns_share_a_thread_in_peace),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
