/*
 * ALPN, both roles; and the settings that a context refuses.
 */
#include "tls_test.h"

static const char *const two[] = {"h2", "http/1.1"};

static struct tls_context *with_alpn(struct world *world, bool server, size_t count, bool required)
{
    const struct tls_settings settings = {.server = server,
                                          .alpn = two,
                                          .alpn_count = count,
                                          .alpn_required = required,
                                          .name = "alpn"};
    return make_context(world, &settings);
}

struct server_case {
    size_t listener; /* how many of `two` */
    bool required;
    const char *offered; /* by the client */
    enum reason reason;
    const char *selected;
};

static void test_server_selects(void **state)
{
    struct world *world = *state;
    static const struct server_case cases[] = {
        {2, false, "h2", REASON_NONE, "h2"},
        {2, false, "http/1.1", REASON_NONE, "http/1.1"},
        {2, false, NULL, REASON_NONE, ""},
        {2, true, "h2", REASON_NONE, "h2"},
        {0, false, "h2", REASON_NONE, ""}, /* a listener without alpn ignores it */
        {0, false, NULL, REASON_NONE, ""},
        {2, false, "spdy/3", REASON_TLS_ALPN_NO_OVERLAP, NULL},
        {2, false, "h", REASON_TLS_ALPN_NO_OVERLAP, NULL},
        {2, false, "h2c", REASON_TLS_ALPN_NO_OVERLAP, NULL},
        {2, false, "H2", REASON_TLS_ALPN_NO_OVERLAP, NULL},
        {1, false, "http/1.1", REASON_TLS_ALPN_NO_OVERLAP, NULL},
        {2, true, NULL, REASON_TLS_ALPN_REQUIRED, NULL},
        {2, true, "spdy/3", REASON_TLS_ALPN_NO_OVERLAP, NULL},
    };
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        const struct server_case *c = &cases[i / 2];
        struct tls_context *context = with_alpn(world, true, c->listener, c->required);
        struct duel duel = {0};
        const struct peer_options options = {.version =
                                                 i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION,
                                             .show = &world->peer,
                                             .alpn = c->offered};
        duel_run(world, &duel, context, &options);
        if (duel.ours.failure.reason != c->reason) {
            fail_msg("case %zu: got %s", i / 2, reason_label(duel.ours.failure.reason));
        }
        if (c->reason == REASON_NONE) {
            assert_string_equal(tls_conn_peer(duel.ours.conn)->alpn, c->selected);
        } else {
            run_until(world, peer_has_ended, &duel.peer);
            /* RFC 7301 3.2 */
            assert_int_equal(duel.peer.alert, SSL_AD_NO_APPLICATION_PROTOCOL);
            assert_false(duel.ours.checked);
        }
        duel_fini(&duel);
        tls_context_unref(context);
    }
}

static void test_server_prefers_its_own_order(void **state)
{
    struct world *world = *state;
    static const char *const reversed[] = {"http/1.1", "x", "h2"};
    struct tls_context *server = with_alpn(world, true, 2, true);
    const struct tls_settings settings = {.alpn = reversed, .alpn_count = 3};
    struct tls_context *client = make_context(world, &settings);
    int fds[2];
    unix_pair(fds);
    struct ours a = {0};
    struct ours b = {0};
    ours_accept(world, &a, server, fds[0]);
    ours_connect(world, &b, client, fds[1], NULL, NULL);
    run_until(world, ours_was_called, &a);
    run_until(world, ours_was_called, &b);
    assert_string_equal(tls_conn_peer(a.conn)->alpn, "h2");
    assert_string_equal(tls_conn_peer(b.conn)->alpn, "h2");
    ours_fini(&a);
    ours_fini(&b);
    tls_context_unref(server);
    tls_context_unref(client);
}

struct client_case {
    size_t listed;      /* how many of `two` the context offers */
    const char *alpn;   /* tls_conn_connect's */
    const char *server; /* what the server says, whatever was offered */
    enum reason reason;
    const char *selected;
};

static void test_client_demands_what_it_offered(void **state)
{
    struct world *world = *state;
    static const struct client_case cases[] = {
        {1, NULL, "h2", REASON_NONE, "h2"},
        {2, NULL, "http/1.1", REASON_NONE, "http/1.1"},
        {2, "http/1.1", "http/1.1", REASON_NONE, "http/1.1"},
        {0, "spdy/3", "spdy/3", REASON_NONE, "spdy/3"},
        {2, "", NULL, REASON_NONE, ""},
        {0, NULL, NULL, REASON_NONE, ""},
        {2, "", "h2", REASON_NONE, ""}, /* nothing was offered, so the server is not asked */
        {1, NULL, NULL, REASON_UPSTREAM_ALPN_MISMATCH, NULL},
        {1, NULL, "http/1.1", REASON_UPSTREAM_ALPN_MISMATCH, NULL},
        {2, "http/1.1", "h2", REASON_UPSTREAM_ALPN_MISMATCH, NULL},
        {2, "h2", NULL, REASON_UPSTREAM_ALPN_MISMATCH, NULL},
    };
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        const struct client_case *c = &cases[i / 2];
        struct tls_context *context = with_alpn(world, false, c->listed, false);
        int fds[2];
        unix_pair(fds);
        struct duel duel = {0};
        const struct peer_options options = {.server = true,
                                             .version =
                                                 i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION,
                                             .show = &world->peer,
                                             .alpn = c->server};
        ours_connect(world, &duel.ours, context, fds[0], "orders.example", c->alpn);
        peer_init(world, &duel.peer, &options, fds[1]);
        run_until(world, duel_is_over, &duel);
        if (duel.ours.failure.reason != c->reason) {
            fail_msg("case %zu: got %s", i / 2, reason_label(duel.ours.failure.reason));
        }
        if (c->reason == REASON_NONE) {
            assert_string_equal(tls_conn_peer(duel.ours.conn)->alpn, c->selected);
        }
        assert_string_equal(SSL_get_servername(duel.peer.ssl, TLSEXT_NAMETYPE_host_name),
                            "orders.example");
        duel_fini(&duel);
        tls_context_unref(context);
    }
}

static void test_sends_no_name_unless_told(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    const struct peer_options options = {.server = true, .show = &world->peer};
    duel_run(world, &duel, world->client, &options);
    assert_true(duel.ours.open);
    assert_null(SSL_get_servername(duel.peer.ssl, TLSEXT_NAMETYPE_host_name));
    duel_fini(&duel);
}

static void test_server_names_no_authorities(void **state)
{
    struct world *world = *state;
    struct duel duel = {0};
    const struct peer_options options = {.show = &world->peer};
    duel_run(world, &duel, world->server, &options);
    assert_true(duel.ours.open);
    const STACK_OF(X509_NAME) *names = SSL_get0_peer_CA_list(duel.peer.ssl);
    assert_true(names == NULL || sk_X509_NAME_num(names) == 0);
    duel_fini(&duel);
}

static void test_refuses_names_that_alpn_cannot_carry(void **state)
{
    struct world *world = *state;
    char long_name[257];
    memset(long_name, 'a', 256);
    long_name[256] = '\0';
    const char *const bad[] = {"", long_name};
    for (size_t i = 0; i < 4; i++) {
        const char *const list[] = {"h2", bad[i / 2]};
        const struct tls_settings settings = {
            .server = i % 2 == 0, .alpn = list, .alpn_count = 2, .name = "bad"};
        struct errbuf err = {{0}};
        assert_null(tls_context_new(world->crypto, &settings, &err));
        assert_non_null(strstr(err.text, "1 to 255 bytes"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_world, teardown_world)
        T(test_server_selects),
        T(test_server_prefers_its_own_order),
        T(test_client_demands_what_it_offered),
        T(test_sends_no_name_unless_told),
        T(test_server_names_no_authorities),
        T(test_refuses_names_that_alpn_cannot_carry),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
