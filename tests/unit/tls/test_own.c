/*
 * Our own side of a handshake: without an SVID that is valid now nobody is talked to, and nothing
 * of a handshake that was refused stays behind.
 */
#include "tls_test.h"

#include "../../../src/tls/tls_conn_private.h"
#include "../../../src/tls/tls_thread.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* Each role in each version. */
static void nobody_is_talked_to(struct world *world, enum reason reason)
{
    for (size_t i = 0; i < 4; i++) {
        bool we_serve = i < 2;
        struct duel duel = {0};
        const struct peer_options options = {
            .server = !we_serve, .version = versions[i % 2], .show = &world->peer};
        duel_run(world, &duel, we_serve ? world->server : world->client, &options);
        assert_false(duel.ours.open);
        assert_int_equal(duel.ours.failure.reason, reason);
        run_until(world, peer_has_ended, &duel.peer);
        assert_int_equal(duel.peer.alert, SSL_AD_INTERNAL_ERROR);
        assert_false(duel.peer.saw_certificate);
        duel_fini(&duel);
    }
}

static void test_an_expired_svid_serves_no_handshake(void **state)
{
    struct world *world = *state;
    struct identity expired = make_identity(&world->anchor, OURS_ID, false, -HOUR, -1);
    use_credentials(world, &expired, &world->anchor, 2);
    nobody_is_talked_to(world, REASON_OWN_SVID_EXPIRED);
    free_identity(&expired);
}

static void test_a_withdrawn_svid_serves_no_handshake(void **state)
{
    struct world *world = *state;
    use_credentials(world, NULL, &world->anchor, 2);
    nobody_is_talked_to(world, REASON_OWN_SVID_MISSING);
}

static bool peer_has_unsent(void *arg)
{
    const struct peer *peer = arg;
    return BIO_pending(SSL_get_wbio(peer->ssl)) > 0;
}

/* The peer's last flight arrives when ours has gone: nothing but the gate can see that. */
static void lost_in_the_middle(struct world *world, const struct identity *next, bool we_serve,
                               int version, enum reason reason)
{
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    const struct peer_options options = {
        .server = !we_serve, .version = version, .show = &world->peer, .hold = true};
    use_credentials(world, &world->ours, &world->anchor, 1);
    if (we_serve) {
        ours_accept(world, &duel.ours, world->server, fds[0]);
    } else {
        ours_connect(world, &duel.ours, world->client, fds[0], NULL, NULL);
    }
    peer_init(world, &duel.peer, &options, fds[1]);
    run_until(world, peer_has_unsent, &duel.peer);
    peer_flush(&duel.peer); /* its first flight */
    run_until(world, peer_has_unsent, &duel.peer);
    assert_false(duel.ours.called);
    use_credentials(world, next, &world->anchor, 2);
    peer_flush(&duel.peer);
    run_until(world, ours_was_called, &duel.ours);
    assert_false(duel.ours.open);
    assert_int_equal(duel.ours.failure.reason, reason);
    duel_fini(&duel);
}

static void test_the_gate_sees_an_svid_that_was_lost_in_the_middle(void **state)
{
    struct world *world = *state;
    struct identity expired = make_identity(&world->anchor, OURS_ID, false, -HOUR, -1);
    /* A client of TLS 1.3 is done with one flight of the server. */
    for (size_t i = 0; i < 3; i++) {
        lost_in_the_middle(world, NULL, i < 2, versions[i % 2], REASON_OWN_SVID_MISSING);
        lost_in_the_middle(world, &expired, i < 2, versions[i % 2], REASON_OWN_SVID_EXPIRED);
    }
    free_identity(&expired);
}

static void test_a_refused_conn_gives_tls_back_at_once(void **state)
{
    struct world *world = *state;
    struct identity stranger = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
    struct identity bad = make_identity(&stranger, PEER_ID, false, -HOUR, HOUR);
    for (size_t i = 0; i < 4; i++) {
        bool we_serve = i < 2;
        struct duel duel = {0};
        const struct peer_options options = {
            .server = !we_serve, .version = versions[i % 2], .show = &bad, .hold = true};
        duel.ours.keep = true;
        int fds[2];
        unix_pair(fds);
        if (we_serve) {
            ours_accept(world, &duel.ours, world->server, fds[0]);
        } else {
            ours_connect(world, &duel.ours, world->client, fds[0], NULL, NULL);
        }
        peer_init(world, &duel.peer, &options, fds[1]);
        while (!duel.ours.called) {
            peer_flush(&duel.peer);
            run_loop_ms(world->loop, 1);
        }
        struct tls_conn *tls = (struct tls_conn *)duel.ours.conn;
        assert_non_null(tls->ssl);
        tls_conn_refuse(duel.ours.conn);
        duel.ours.conn = NULL;
        /* It waits for its peer, without anything of TLS. */
        assert_int_equal(world->lingering, 1);
        assert_ptr_equal(world->thread->lingering, tls);
        assert_null(tls->ssl);
        /* And the alert arrives all the same. */
        run_until(world, peer_has_ended, &duel.peer);
        assert_int_equal(duel.peer.alert, SSL_AD_UNKNOWN_CA);
        duel_fini(&duel);
        while (world->lingering != 0) {
            run_loop_ms(world->loop, 1);
        }
    }
    free_identity(&bad);
    free_identity(&stranger);
}

static void test_the_generation_is_that_of_the_credentials_in_force(void **state)
{
    struct world *world = *state;
    assert_int_equal(tls_thread_generation(world->thread), 1);
    use_credentials(world, &world->ours, &world->anchor, 7);
    assert_int_equal(tls_thread_generation(world->thread), 7);
    tls_thread_set_credentials(world->thread, NULL);
    assert_int_equal(tls_thread_generation(world->thread), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_expired_svid_serves_no_handshake, setup_world,
                                        teardown_world),
        cmocka_unit_test_setup_teardown(test_a_withdrawn_svid_serves_no_handshake, setup_world,
                                        teardown_world),
        cmocka_unit_test_setup_teardown(test_the_gate_sees_an_svid_that_was_lost_in_the_middle,
                                        setup_world, teardown_world),
        cmocka_unit_test_setup_teardown(test_a_refused_conn_gives_tls_back_at_once, setup_world,
                                        teardown_world),
        cmocka_unit_test_setup_teardown(test_the_generation_is_that_of_the_credentials_in_force,
                                        setup_world, teardown_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
