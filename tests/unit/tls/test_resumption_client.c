/*
 * Resumption towards servers: which session is offered to whom, that the server is judged again,
 * and that none is used twice or after its time.
 */
#include "resume_test.h"

/* A server by hand whose tickets other servers by hand take too. */
static void serve(struct resume *resume, struct peer *peer, const struct peer_options *options,
                  int fd)
{
    peer_init(resume->world, peer, options, fd);
    SSL_CTX_set_tlsext_ticket_keys(peer->ctx, resume->ticket_keys, sizeof(resume->ticket_keys));
    assert_int_equal(SSL_set_session_id_context(peer->ssl, (const unsigned char *)"test", 4), 1);
}

static void meet_at(struct resume *resume, struct duel *duel, struct tls_context *context,
                    const char *sni, const struct peer_options *options, const int fds[2])
{
    duel->ours.paused = true; /* a server by libssl sends its tickets at once */
    ours_connect(resume->world, &duel->ours, context, fds[0], sni, NULL);
    serve(resume, &duel->peer, options, fds[1]);
    run_until(resume->world, duel_is_over, duel);
}

static struct peer_options server_options(const struct resume *resume)
{
    return (struct peer_options){.server = true, .show = &resume->world->peer};
}

static void meet(struct resume *resume, struct duel *duel, struct tls_context *context,
                 const char *sni)
{
    const struct peer_options options = server_options(resume);
    int fds[2];
    unix_pair(fds);
    meet_at(resume, duel, context, sni, &options, fds);
}

static bool ours_got_something(void *arg)
{
    const struct ours *ours = arg;
    return bytebuf_len(&ours->received) > 0 || ours->end != CONN_END_NONE;
}

/* The server's tickets are in front of its first byte. */
static void get_tickets(struct resume *resume, struct duel *duel)
{
    assert_true(duel->ours.open);
    if (duel->ours.paused) {
        ours_resume(&duel->ours);
    }
    peer_write(&duel->peer, "x", 1);
    run_until(resume->world, ours_got_something, &duel->ours);
    assert_int_equal(bytebuf_len(&duel->ours.received), 1);
}

/* `count` tickets in the store, from a server reached with this context and SNI. */
static void stock(struct resume *resume, struct tls_context *context, const char *sni)
{
    struct duel duel = {0};
    meet(resume, &duel, context, sni);
    get_tickets(resume, &duel);
    duel_fini(&duel);
    run_loop_ms(resume->world->loop, 1);
    assert_int_equal(tls_session_store_count(resume->store), 2); /* libssl's number */
}

static bool resumes_to(struct resume *resume, struct tls_context *context, const char *sni)
{
    struct duel duel = {0};
    meet(resume, &duel, context, sni);
    assert_true(duel.ours.open);
    bool resumed = is_resumed(&duel);
    assert_int_equal(SSL_session_reused(duel.peer.ssl), resumed);
    duel_fini(&duel);
    return resumed;
}

static void test_resumes_and_judges_the_server_again(void **state)
{
    struct resume *resume = *state;
    stock(resume, resume->client, "a.example");
    struct duel duel = {0};
    uint64_t hits = peer_chain_table_hits(resume->world->thread->chains);
    meet(resume, &duel, resume->client, "a.example");
    assert_true(is_resumed(&duel));
    assert_int_equal(SSL_session_reused(duel.peer.ssl), 1);
    assert_false(duel.peer.saw_certificate);
    assert_true(duel.ours.checked);
    assert_string_equal(duel.ours.checked_id, PEER_ID);
    assert_int_equal(peer_chain_table_hits(resume->world->thread->chains), hits + 1);
    assert_int_equal(SSL_get_early_data_status(duel.peer.ssl), SSL_EARLY_DATA_NOT_SENT);
    /* And is given new ones. */
    size_t count = tls_session_store_count(resume->store);
    get_tickets(resume, &duel);
    assert_true(tls_session_store_count(resume->store) > count);
    duel_fini(&duel);
}

static void test_takes_each_session_once(void **state)
{
    struct resume *resume = *state;
    stock(resume, resume->client, NULL);
    assert_true(resumes_to(resume, resume->client, NULL));
    assert_true(resumes_to(resume, resume->client, NULL));
    assert_int_equal(tls_session_store_count(resume->store), 0);
    assert_false(resumes_to(resume, resume->client, NULL));
}

static void test_not_without_a_store(void **state)
{
    struct resume *resume = *state;
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        meet(resume, &duel, resume->world->client, NULL);
        assert_false(is_resumed(&duel));
        get_tickets(resume, &duel);
        duel_fini(&duel);
    }
}

static void test_not_with_another_name_or_listener(void **state)
{
    struct resume *resume = *state;
    stock(resume, resume->client, "a.example");
    struct tls_context *other = resume_context(resume, false, "to-payments");
    struct tls_context *again = resume_context(resume, false, "to-orders");
    assert_false(resumes_to(resume, resume->client, "b.example"));
    assert_false(resumes_to(resume, resume->client, NULL));
    assert_false(resumes_to(resume, other, "a.example"));
    /* Made anew: its settings may be others. */
    assert_false(resumes_to(resume, again, "a.example"));
    assert_true(resumes_to(resume, resume->client, "a.example"));
    tls_context_unref(other);
    tls_context_unref(again);
}

static void connect_to(const struct netaddr *addr, int listener, int fds[2])
{
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fds[0], errno);
    assert_return_code(connect(fds[0], &addr->u.sa, addr->len), errno);
    fds[1] = accept(listener, NULL, NULL);
    assert_return_code(fds[1], errno);
    set_nonblocking(fds[0]);
    set_nonblocking(fds[1]);
}

static void test_not_at_another_address(void **state)
{
    struct resume *resume = *state;
    const struct peer_options options = server_options(resume);
    struct netaddr addrs[2];
    int listeners[2];
    for (size_t i = 0; i < 2; i++) {
        listeners[i] = listen_on("127.0.0.1", 1, &addrs[i]);
    }
    const size_t order[] = {0, 1, 0};
    for (size_t i = 0; i < 3; i++) {
        int fds[2];
        connect_to(&addrs[order[i]], listeners[order[i]], fds);
        struct duel duel = {0};
        meet_at(resume, &duel, resume->client, NULL, &options, fds);
        assert_int_equal(is_resumed(&duel), i == 2);
        get_tickets(resume, &duel);
        duel_fini(&duel);
        run_loop_ms(resume->world->loop, 1);
    }
    (void)close(listeners[0]);
    (void)close(listeners[1]);
}

static void test_not_after_the_credentials_have_changed(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    stock(resume, resume->client, NULL);
    /* Another certificate of ours is another generation. */
    struct identity next = make_identity(&world->anchor, OURS_ID, false, -HOUR, LONG);
    use_credentials(world, &next, &world->anchor, 2);
    struct duel duel = {0};
    meet(resume, &duel, resume->client, NULL);
    assert_false(is_resumed(&duel));
    assert_int_equal(X509_cmp(duel.peer.seen, next.cert), 0);
    duel_fini(&duel);
    free_identity(&next);

    use_credentials(world, &world->ours, &world->anchor, 1);
    tls_session_store_clear(resume->store, 2);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    assert_false(resumes_to(resume, resume->client, NULL));
}

static void test_tickets_that_come_after_a_swap_are_not_kept(void **state)
{
    struct resume *resume = *state;
    struct duel duel = {0};
    meet(resume, &duel, resume->client, NULL);
    use_credentials(resume->world, &resume->world->ours, &resume->world->anchor, 2);
    get_tickets(resume, &duel);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    duel_fini(&duel);
}

static void test_a_server_that_is_no_longer_expected_is_refused(void **state)
{
    struct resume *resume = *state;
    stock(resume, resume->client, NULL);
    struct duel duel = {.ours = {.check = REASON_POLICY_NOT_EXPECTED}};
    meet(resume, &duel, resume->client, NULL);
    assert_int_equal(SSL_session_reused(duel.peer.ssl), 1);
    assert_false(duel.ours.open);
    assert_int_equal(duel.ours.failure.reason, REASON_POLICY_NOT_EXPECTED);
    assert_string_equal(duel.ours.failure.svid.claimed, PEER_ID);
    assert_false(duel.peer.saw_certificate);
    duel_fini(&duel);
}

static void test_not_past_the_end_of_the_chain(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    free_identity(&world->peer);
    world->peer = make_identity(&world->anchor, PEER_ID, false, -HOUR, 1000);
    stock(resume, resume->client, NULL);
    clock_ahead_s = 1001;
    struct duel duel = {0};
    meet(resume, &duel, resume->client, NULL);
    assert_false(duel.ours.open);
    assert_int_equal(duel.ours.failure.reason, REASON_SVID_EXPIRED);
    assert_int_equal(SSL_session_reused(duel.peer.ssl), 0);
    duel_fini(&duel);
}

static void test_renewals_do_not_stretch_it(void **state)
{
    struct resume *resume = *state;
    struct duel first = {0};
    meet(resume, &first, resume->client, NULL);
    get_tickets(resume, &first);
    duel_fini(&first);
    for (long at = 1000; at < AGE; at += 1000) {
        clock_ahead_s = at;
        libssl_ahead_s = at;
        struct duel duel = {0};
        meet(resume, &duel, resume->client, NULL);
        assert_true(is_resumed(&duel));
        get_tickets(resume, &duel);
        duel_fini(&duel);
        run_loop_ms(resume->world->loop, 1);
    }
    clock_ahead_s = AGE;
    libssl_ahead_s = AGE;
    assert_false(resumes_to(resume, resume->client, NULL));
    assert_int_equal(tls_session_store_count(resume->store), 0);
}

/* The server's tickets by hand, with the lifetime that the test wants. */
static void test_keeps_no_longer_than_the_server_says(void **state)
{
    struct resume *resume = *state;
    const long lifetimes[] = {0, 100};
    for (size_t i = 0; i < 2; i++) {
        const struct peer_options options = server_options(resume);
        int fds[2];
        unix_pair(fds);
        struct duel duel = {0};
        ours_connect(resume->world, &duel.ours, resume->client, fds[0], NULL, NULL);
        serve(resume, &duel.peer, &options, fds[1]);
        assert_int_equal(SSL_set_num_tickets(duel.peer.ssl, 0), 1);
        if (lifetimes[i] == 0) { /* which libssl can't write into a stateless ticket */
            (void)SSL_set_options(duel.peer.ssl, SSL_OP_NO_TICKET);
        }
        run_until(resume->world, duel_is_over, &duel);
        assert_int_equal(SSL_SESSION_set_timeout(SSL_get_session(duel.peer.ssl), lifetimes[i]), 1);
        assert_int_equal(SSL_new_session_ticket(duel.peer.ssl), 1);
        get_tickets(resume, &duel);
        assert_int_equal(
            SSL_SESSION_has_ticket(SSL_get_session(((struct tls_conn *)duel.ours.conn)->ssl)), 1);
        assert_int_equal(tls_session_store_count(resume->store), i);
        duel_fini(&duel);
    }
    clock_ahead_s = 101;
    assert_false(resumes_to(resume, resume->client, NULL));
}

static void test_no_server_fills_the_store(void **state)
{
    struct resume *resume = *state;
    for (size_t i = 0; i < 60; i++) {
        struct duel duel = {0};
        meet(resume, &duel, resume->world->client, NULL);
        duel_fini(&duel);
        struct duel with = {0};
        char sni[32];
        (void)snprintf(sni, sizeof(sni), "n%zu.example", i);
        meet(resume, &with, resume->client, sni);
        get_tickets(resume, &with);
        duel_fini(&with);
    }
    assert_int_equal(tls_session_store_count(resume->store), 50); /* max_per_peer */
}

static void test_no_session_with_a_server_that_sends_much(void **state)
{
    struct resume *resume = *state;
    struct identity large = make_large_identity(&resume->world->anchor);
    struct peer_options options = server_options(resume);
    options.also[0] = &large;
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    meet_at(resume, &duel, resume->client, NULL, &options, fds);
    assert_true(duel.ours.open);
    get_tickets(resume, &duel);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    duel_fini(&duel);
    free_identity(&large);
}

static void test_no_session_with_a_large_ticket(void **state)
{
    struct resume *resume = *state;
    const struct peer_options options = server_options(resume);
    uint8_t data[9 * 1024] = {0};
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    ours_connect(resume->world, &duel.ours, resume->client, fds[0], NULL, NULL);
    serve(resume, &duel.peer, &options, fds[1]);
    assert_int_equal(SSL_set_num_tickets(duel.peer.ssl, 0), 1);
    run_until(resume->world, duel_is_over, &duel);
    SSL_SESSION *session = SSL_get_session(duel.peer.ssl);
    assert_int_equal(SSL_SESSION_set1_ticket_appdata(session, data, sizeof(data)), 1);
    assert_int_equal(SSL_new_session_ticket(duel.peer.ssl), 1);
    get_tickets(resume, &duel);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    duel_fini(&duel);
}

static void test_tls12_is_never_resumed(void **state)
{
    struct resume *resume = *state;
    struct peer_options options = server_options(resume);
    for (size_t i = 0; i < 2; i++) {
        int fds[2];
        unix_pair(fds);
        struct duel duel = {0};
        options.version = TLS1_2_VERSION;
        meet_at(resume, &duel, resume->client, NULL, &options, fds);
        assert_false(is_resumed(&duel));
        assert_true(duel.ours.open);
        get_tickets(resume, &duel);
        assert_int_equal(tls_session_store_count(resume->store), 0);
        duel_fini(&duel);
    }
    /* A session of TLS 1.3 towards a server that only speaks 1.2 now. */
    stock(resume, resume->client, NULL);
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    meet_at(resume, &duel, resume->client, NULL, &options, fds);
    assert_true(duel.ours.open);
    assert_false(is_resumed(&duel));
    duel_fini(&duel);
}

static void test_never_sends_early_data_though_it_might(void **state)
{
    struct resume *resume = *state;
    const struct peer_options options = server_options(resume);
    for (size_t i = 0; i < 2; i++) {
        int fds[2];
        unix_pair(fds);
        struct duel duel = {0};
        ours_connect(resume->world, &duel.ours, resume->client, fds[0], NULL, NULL);
        serve(resume, &duel.peer, &options, fds[1]);
        assert_int_equal(SSL_set_max_early_data(duel.peer.ssl, 16384), 1);
        (void)SSL_set_options(duel.peer.ssl, SSL_OP_NO_ANTI_REPLAY);
        run_until(resume->world, duel_is_over, &duel);
        assert_int_equal(is_resumed(&duel), i == 1);
        assert_int_equal(SSL_get_early_data_status(duel.peer.ssl), SSL_EARLY_DATA_NOT_SENT);
        get_tickets(resume, &duel);
        assert_int_equal(SSL_SESSION_get_max_early_data(
                             SSL_get_session(((struct tls_conn *)duel.ours.conn)->ssl)),
                         16384);
        duel_fini(&duel);
        run_loop_ms(resume->world->loop, 1);
    }
}

static void test_resumes_through_a_hello_retry(void **state)
{
    struct resume *resume = *state;
    struct peer_options options = server_options(resume);
    options.groups = "P-384"; /* we offer a share for X25519 */
    for (size_t i = 0; i < 2; i++) {
        int fds[2];
        unix_pair(fds);
        struct duel duel = {0};
        meet_at(resume, &duel, resume->client, NULL, &options, fds);
        assert_int_equal(is_resumed(&duel), i == 1);
        assert_string_equal(tls_conn_peer(duel.ours.conn)->group, "P-384");
        get_tickets(resume, &duel);
        duel_fini(&duel);
        run_loop_ms(resume->world->loop, 1);
    }
}

static void test_nothing_is_offered_without_an_svid_of_our_own(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    stock(resume, resume->client, NULL);
    struct identity expired = make_identity(&world->anchor, OURS_ID, false, -HOUR, -1);
    for (size_t i = 0; i < 2; i++) {
        /* By mistake of the same generation: the session would be found. */
        use_credentials(world, i == 0 ? &expired : NULL, &world->anchor, 1);
        struct duel duel = {0};
        meet(resume, &duel, resume->client, NULL);
        assert_false(duel.ours.open);
        assert_int_equal(duel.ours.failure.reason,
                         i == 0 ? REASON_OWN_SVID_EXPIRED : REASON_OWN_SVID_MISSING);
        assert_int_equal(SSL_session_reused(duel.peer.ssl), 0);
        duel_fini(&duel);
    }
    assert_int_equal(tls_session_store_count(resume->store), 2);
    free_identity(&expired);
}

/* Our own two sides have one store: what a server knows of our sessions opens nothing of ours. */
static void test_a_server_cannot_come_back_with_our_session(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    /* A bridge has one name for both sides. */
    struct tls_context *out = resume_context(resume, false, "orders");
    struct duel duel = {0};
    meet(resume, &duel, out, NULL);
    get_tickets(resume, &duel);
    SSL_SESSION *ours = SSL_get_session(((struct tls_conn *)duel.ours.conn)->ssl);
    unsigned len = 0;
    const unsigned char *id = SSL_SESSION_get_id(ours, &len);
    assert_int_equal(len, 32);
    /* The secret of that session, under each name by which the store might know it. */
    const struct tls_conn *tls = (struct tls_conn *)duel.ours.conn;
    (void)tls;
    void *mark = NULL;
    size_t mark_len = 0;
    assert_int_equal(SSL_SESSION_get0_ticket_appdata(ours, &mark, &mark_len), 1);
    const uint8_t *key = (const uint8_t *)mark + mark_len - 32;
    const unsigned char *names[] = {id, key};
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *like = get_session(resume);
        const unsigned char *ticket = NULL;
        size_t ticket_len = 0;
        SSL_SESSION_get0_ticket(like, &ticket, &ticket_len);
        SSL_SESSION *named = forge(like, ticket, names[i], 32);
        unsigned char secret[64];
        unsigned char theirs[64];
        size_t secret_len = SSL_SESSION_get_master_key(named, secret, sizeof(secret));
        assert_int_equal(SSL_SESSION_get_master_key(ours, theirs, sizeof(theirs)), secret_len);
        SSL_SESSION *forged = forge(named, secret, theirs, secret_len);
        assert_false(resumes(resume, resume->server, forged));
        SSL_SESSION_free(forged);
        SSL_SESSION_free(named);
        SSL_SESSION_free(like);
    }
    duel_fini(&duel);
    run_loop_ms(world->loop, 1);
    tls_context_unref(out);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_resume, teardown_resume)
    const struct CMUnitTest tests[] = {
        TEST(test_resumes_and_judges_the_server_again),
        TEST(test_takes_each_session_once),
        TEST(test_not_without_a_store),
        TEST(test_not_with_another_name_or_listener),
        TEST(test_not_at_another_address),
        TEST(test_not_after_the_credentials_have_changed),
        TEST(test_tickets_that_come_after_a_swap_are_not_kept),
        TEST(test_a_server_that_is_no_longer_expected_is_refused),
        TEST(test_not_past_the_end_of_the_chain),
        TEST(test_renewals_do_not_stretch_it),
        TEST(test_keeps_no_longer_than_the_server_says),
        TEST(test_no_server_fills_the_store),
        TEST(test_no_session_with_a_server_that_sends_much),
        TEST(test_no_session_with_a_large_ticket),
        TEST(test_tls12_is_never_resumed),
        TEST(test_never_sends_early_data_though_it_might),
        TEST(test_resumes_through_a_hello_retry),
        TEST(test_nothing_is_offered_without_an_svid_of_our_own),
        TEST(test_a_server_cannot_come_back_with_our_session),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
