/*
 * Who gets through the handshake, who does not, what each side learns of it, and that our own
 * certificate goes only where it may.
 */
#include "tls_test.h"

#include "../../../src/tls/tls_conn_private.h"
#include "base/clock.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static const char *version_name(int version)
{
    return version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2";
}

static void admits(struct world *world, bool we_serve, int version)
{
    struct duel duel = {0};
    const struct peer_options options = {
        .server = !we_serve, .version = version, .show = &world->peer};
    duel_run(world, &duel, we_serve ? world->server : world->client, &options);
    assert_true(duel.ours.open);
    assert_true(duel.peer.done);
    assert_true(duel.ours.checked);
    assert_string_equal(duel.ours.checked_id, PEER_ID);
    assert_int_equal(X509_cmp(duel.peer.seen, world->ours.cert), 0);

    const struct peer_info *info = tls_conn_peer(duel.ours.conn);
    assert_string_equal(info->version, version_name(version));
    assert_string_equal(info->cipher, version == TLS1_3_VERSION
                                          ? "TLS_AES_128_GCM_SHA256"
                                          : "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    assert_string_equal(tls_conn_cipher_name(duel.ours.conn),
                        version == TLS1_3_VERSION ? "TLS_AES_128_GCM_SHA256"
                                                  : "ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_string_equal(tls_conn_server_name(duel.ours.conn), "");
    assert_string_equal(info->group, best_group(version));
    assert_string_equal(info->alpn, "");
    assert_true(strview_equal_text(peer_chain_id(info->chain)->text, PEER_ID));
    duel_fini(&duel);
}

static void test_admits_a_good_peer(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        admits(*state, true, versions[i]);
        admits(*state, false, versions[i]);
    }
}

static void test_clears_own_key_after_handshake(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 4; i++) {
        bool we_serve = i < 2;
        struct duel duel = {0};
        const struct peer_options options = {
            .server = !we_serve, .version = versions[i % 2], .show = &world->peer};
        duel_run(world, &duel, we_serve ? world->server : world->client, &options);
        assert_true(duel.ours.open);
        const struct tls_conn *tls = (struct tls_conn *)duel.ours.conn;
        assert_null(SSL_get_certificate(tls->ssl));
        assert_null(SSL_get_privatekey(tls->ssl));
        assert_null(tls->handshake);
        duel_fini(&duel);
    }
}

struct bad_peer {
    const char *name;
    struct identity identity;
    enum reason reason;
    int alert;
};

static void refuses(struct world *world, const struct bad_peer *bad, bool we_serve, int version)
{
    struct duel duel = {0};
    const struct peer_options options = {
        .server = !we_serve, .version = version, .show = &bad->identity};
    duel_run(world, &duel, we_serve ? world->server : world->client, &options);
    assert_false(duel.ours.open);
    if (duel.ours.failure.reason != bad->reason) {
        fail_msg("%s: got %s", bad->name, reason_label(duel.ours.failure.reason));
    }
    assert_int_equal(duel.ours.failure.svid.reason, bad->reason);
    assert_false(duel.ours.checked);
    /* The alert arrives, whatever else the peer had sent. */
    run_until(world, peer_has_ended, &duel.peer);
    assert_int_equal(duel.peer.alert, bad->alert);
    if (!we_serve) {
        assert_false(duel.peer.saw_certificate);
    }
    duel_fini(&duel);
}

static void test_refuses_bad_certificates(void **state)
{
    struct world *world = *state;
    struct identity stranger = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
    struct bad_peer bad[] = {
        {"expired", make_identity(&world->anchor, PEER_ID, false, -HOUR, -60), REASON_SVID_EXPIRED,
         SSL_AD_CERTIFICATE_EXPIRED},
        {"not yet valid", make_identity(&world->anchor, PEER_ID, false, 600, HOUR),
         REASON_SVID_NOT_YET_VALID, SSL_AD_BAD_CERTIFICATE},
        {"unknown anchor", make_identity(&stranger, PEER_ID, false, -HOUR, HOUR),
         REASON_SVID_UNTRUSTED, SSL_AD_UNKNOWN_CA},
        {"another domain",
         make_identity(&world->anchor, "spiffe://other.example/peer", false, -HOUR, HOUR),
         REASON_SVID_UNKNOWN_TRUST_DOMAIN, SSL_AD_UNKNOWN_CA},
        {"no path", make_identity(&world->anchor, "spiffe://" DOMAIN, false, -HOUR, HOUR),
         REASON_SVID_NO_PATH, SSL_AD_BAD_CERTIFICATE},
        {"not a SPIFFE ID",
         make_identity(&world->anchor, "https://prod.example/", false, -HOUR, HOUR),
         REASON_SVID_BAD_SPIFFE_ID, SSL_AD_BAD_CERTIFICATE},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t v = 0; v < 2; v++) {
            refuses(world, &bad[i], true, versions[v]);
            refuses(world, &bad[i], false, versions[v]);
        }
        free_identity(&bad[i].identity);
    }
    free_identity(&stranger);
}

static void test_refuses_a_client_without_certificate(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        const struct peer_options options = {.version = versions[i]};
        duel_run(world, &duel, world->server, &options);
        assert_int_equal(duel.ours.failure.reason, REASON_SVID_NO_CERTIFICATE);
        assert_int_equal(duel.ours.failure.svid.reason, REASON_NONE);
        run_until(world, peer_has_ended, &duel.peer);
        assert_int_equal(duel.peer.alert, versions[i] == TLS1_3_VERSION
                                              ? SSL_AD_CERTIFICATE_REQUIRED
                                              : SSL_AD_HANDSHAKE_FAILURE);
        duel_fini(&duel);
    }
}

static void test_refuses_chains_that_are_too_long(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        struct peer_options options = {.version = versions[i], .show = &world->peer};
        for (size_t n = 0; n < 6; n++) {
            options.also[n] = &world->anchor;
        }
        duel_run(world, &duel, world->server, &options);
        assert_int_equal(duel.ours.failure.reason, REASON_SVID_CHAIN_TOO_LONG);
        run_until(world, peer_has_ended, &duel.peer);
        assert_int_equal(duel.peer.alert, SSL_AD_UNKNOWN_CA);
        duel_fini(&duel);
    }
}

/* The certificate's public key with somebody else's private one: libssl compares the former alone.
 */
static EVP_PKEY *impostors_key(const struct identity *victim)
{
    uint8_t public[256];
    size_t len = 0;
    BIGNUM *private = NULL;
    EVP_PKEY *own = EVP_EC_gen("P-256");
    assert_int_equal(EVP_PKEY_get_octet_string_param(victim->key, OSSL_PKEY_PARAM_PUB_KEY, public,
                                                     sizeof(public), &len),
                     1);
    assert_int_equal(EVP_PKEY_get_bn_param(own, OSSL_PKEY_PARAM_PRIV_KEY, &private), 1);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    assert_int_equal(
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0), 1);
    assert_int_equal(OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, public, len),
                     1);
    assert_int_equal(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, private), 1);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(private);
    EVP_PKEY_free(own);
    return key;
}

/* A certificate is public, and the chain is remembered and shared with a live session: the proof of
   possession runs all the same, and who fails it leaves nothing behind. */
static void test_refuses_a_live_peers_certificate_without_its_key(void **state)
{
    struct world *world = *state;
    struct identity impostor = {.cert = world->peer.cert, .key = impostors_key(&world->peer)};
    for (size_t i = 0; i < 4; i++) {
        bool we_serve = i < 2;
        struct tls_context *context = we_serve ? world->server : world->client;
        struct peer_options options = {
            .server = !we_serve, .version = versions[i % 2], .show = &impostor};
        for (int live = 0; live < 2; live++) {
            struct duel good = {0};
            struct duel bad = {0};
            if (live != 0) {
                options.show = &world->peer;
                duel_run(world, &good, context, &options);
                assert_true(good.ours.open);
                options.show = &impostor;
            }
            duel_run(world, &bad, context, &options);
            assert_true(bad.ours.called);
            assert_false(bad.ours.open);
            assert_int_equal(bad.ours.failure.reason, REASON_TLS_PROTOCOL);
            run_until(world, peer_has_ended, &bad.peer);
            assert_int_equal(bad.peer.alert, SSL_AD_DECRYPT_ERROR);
            duel_fini(&bad);
            if (live != 0) {
                duel_fini(&good);
            }
        }
    }
    EVP_PKEY_free(impostor.key);
}

static void test_refuses_chains_of_too_many_bytes(void **state)
{
    struct world *world = *state;
    /* 33 KiB in one name: over the bound for a whole chain, and libssl's own reason for it. */
    char *id = mem_alloc(33 * 1024);
    memset(id, 'a', 33 * 1024 - 1);
    memcpy(id, PEER_ID, strlen(PEER_ID));
    struct identity fat = {.cert = X509_dup(world->peer.cert), .key = world->peer.key};
    add_extension(fat.cert, world->anchor.cert, NID_netscape_comment, id);
    assert_true(X509_sign(fat.cert, world->anchor.key, EVP_sha256()) > 0);
    for (size_t i = 0; i < 4; i++) {
        struct duel duel = {0};
        const struct peer_options options = {
            .server = i >= 2, .version = versions[i % 2], .show = &fat};
        duel_run(world, &duel, i >= 2 ? world->client : world->server, &options);
        assert_int_equal(duel.ours.failure.reason, REASON_SVID_CHAIN_TOO_LONG);
        /* Before anything of it was parsed. */
        assert_int_equal(duel.ours.failure.svid.reason, REASON_NONE);
        assert_false(duel.ours.checked);
        duel_fini(&duel);
    }
    X509_free(fat.cert);
    mem_free(id);
}

static void test_never_shows_itself_to_a_server_that_the_check_refuses(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {.ours = {.check = REASON_POLICY_NOT_EXPECTED}};
        const struct peer_options options = {
            .server = true, .version = versions[i], .show = &world->peer};
        duel_run(world, &duel, world->client, &options);
        assert_true(duel.ours.checked);
        assert_int_equal(duel.ours.failure.reason, REASON_POLICY_NOT_EXPECTED);
        assert_int_equal(duel.ours.failure.svid.reason, REASON_POLICY_NOT_EXPECTED);
        assert_string_equal(duel.ours.failure.svid.detail, "said the check");
        assert_string_equal(duel.ours.failure.svid.claimed, PEER_ID);
        run_until(world, peer_has_ended, &duel.peer);
        assert_int_equal(duel.peer.alert, SSL_AD_BAD_CERTIFICATE);
        assert_false(duel.peer.saw_certificate);
        duel_fini(&duel);
    }
}

static void test_refuses_without_credentials(void **state)
{
    struct world *world = *state;
    tls_thread_set_credentials(world->thread, NULL);
    for (size_t i = 0; i < 4; i++) {
        bool we_serve = i < 2;
        struct duel duel = {0};
        const struct peer_options options = {
            .server = !we_serve, .version = versions[i % 2], .show = &world->peer};
        duel_run(world, &duel, we_serve ? world->server : world->client, &options);
        assert_int_equal(duel.ours.failure.reason, REASON_OWN_CREDENTIALS);
        run_until(world, peer_has_ended, &duel.peer);
        assert_int_equal(duel.peer.alert, SSL_AD_INTERNAL_ERROR);
        assert_false(duel.peer.saw_certificate);
        duel_fini(&duel);
    }
}

static void test_new_credentials_serve_the_next_handshake(void **state)
{
    struct world *world = *state;
    struct identity next = make_identity(&world->anchor, OURS_ID, false, -HOUR, HOUR);
    admits(world, true, TLS1_3_VERSION);
    use_credentials(world, &next, &world->anchor, 2);
    for (size_t i = 0; i < 4; i++) {
        bool we_serve = i < 2;
        struct duel duel = {0};
        const struct peer_options options = {
            .server = !we_serve, .version = versions[i % 2], .show = &world->peer};
        duel_run(world, &duel, we_serve ? world->server : world->client, &options);
        assert_true(duel.ours.open);
        assert_int_equal(X509_cmp(duel.peer.seen, next.cert), 0);
        duel_fini(&duel);
    }
    free_identity(&next);
}

static bool peer_has_unsent(void *arg)
{
    const struct peer *peer = arg;
    return BIO_pending(SSL_get_wbio(peer->ssl)) > 0;
}

/* The peer's last flight arrives when newer credentials are in force. For TLS 1.2 servers it
   comes after our judgement of their certificate: only the gate can see it. */
static void swaps_in_the_middle(struct world *world, bool we_serve, int version, bool trusted)
{
    struct identity other = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
    struct identity next =
        make_identity(trusted ? &world->anchor : &other, OURS_ID, false, -HOUR, HOUR);
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
    use_credentials(world, &next, trusted ? &world->anchor : &other, 2);
    duel.ours.checked = false;
    peer_flush(&duel.peer);
    run_until(world, ours_was_called, &duel.ours);
    assert_int_equal(duel.ours.open, trusted);
    if (trusted) {
        assert_true(duel.ours.checked);
    } else {
        assert_int_equal(duel.ours.failure.reason, REASON_SVID_UNTRUSTED);
    }
    duel_fini(&duel);
    free_identity(&other);
    free_identity(&next);
}

static void test_credentials_swapped_in_the_middle_judge_again(void **state)
{
    struct world *world = *state;
    for (size_t trusted = 0; trusted < 2; trusted++) {
        swaps_in_the_middle(world, true, TLS1_2_VERSION, trusted == 1);
        swaps_in_the_middle(world, true, TLS1_3_VERSION, trusted == 1);
        swaps_in_the_middle(world, false, TLS1_2_VERSION, trusted == 1);
    }
}

static bool is_past(void *arg)
{
    const int64_t *when = arg;
    return clock_wall_s() >= *when;
}

static void test_the_gate_sees_a_chain_expire_in_the_middle(void **state)
{
    struct world *world = *state;
    int64_t until = clock_wall_s() + 2;
    struct identity brief = make_identity(&world->anchor, PEER_ID, false, -HOUR, 2);
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    const struct peer_options options = {
        .server = true, .version = TLS1_2_VERSION, .show = &brief, .hold = true};
    ours_connect(world, &duel.ours, world->client, fds[0], NULL, NULL);
    peer_init(world, &duel.peer, &options, fds[1]);
    run_until(world, peer_has_unsent, &duel.peer);
    peer_flush(&duel.peer); /* its certificate */
    run_until(world, peer_has_unsent, &duel.peer);
    until++; /* whatever fraction of a second the certificate had */
    run_until(world, is_past, &until);
    peer_flush(&duel.peer); /* Finished */
    run_until(world, ours_was_called, &duel.ours);
    assert_int_equal(duel.ours.failure.reason, REASON_SVID_EXPIRED);
    duel_fini(&duel);
    free_identity(&brief);
}

/* A session of a server by hand that does resume. */
static SSL_SESSION *resumable_session(struct world *world, int version)
{
    int fds[2];
    unix_pair(fds);
    struct peer server;
    struct peer client;
    const struct peer_options server_options = {
        .server = true, .version = version, .show = &world->peer};
    const struct peer_options client_options = {.version = version, .show = &world->peer};
    peer_init(world, &server, &server_options, fds[0]);
    peer_init(world, &client, &client_options, fds[1]);
    run_until(world, peer_is_done, &server);
    peer_write(&server, "x", 1);
    while (bytebuf_len(&client.received) == 0) {
        run_loop_ms(world->loop, 1);
    }
    SSL_SESSION *session = SSL_get1_session(client.ssl);
    assert_int_equal(SSL_SESSION_is_resumable(session), 1);
    peer_fini(&server);
    peer_fini(&client);
    return session;
}

static void test_resumption_never_happens(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *foreign = resumable_session(world, versions[i]);
        struct duel first = {0};
        struct peer_options options = {
            .version = versions[i], .show = &world->peer, .session = foreign};
        duel_run(world, &first, world->server, &options);
        assert_true(first.ours.open);
        assert_true(first.ours.checked);
        assert_int_equal(SSL_session_reused(first.peer.ssl), 0);
        SSL_SESSION *own = SSL_get1_session(first.peer.ssl);
        assert_int_equal(SSL_SESSION_is_resumable(own), 0);
        assert_int_equal(SSL_SESSION_has_ticket(own), 0);
        duel_fini(&first);

        struct duel second = {0};
        options.session = own;
        duel_run(world, &second, world->server, &options);
        assert_true(second.ours.open);
        assert_int_equal(SSL_session_reused(second.peer.ssl), 0);
        duel_fini(&second);
        SSL_SESSION_free(own);
        SSL_SESSION_free(foreign);
    }
}

static void test_survives_a_hello_in_one_byte_records(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        const struct peer_options options = {.version = versions[i],
                                             .show = &world->peer,
                                             .sni = "orders.example",
                                             .fragment_hello = true};
        duel_run(world, &duel, world->server, &options);
        assert_true(duel.ours.open);
        assert_string_equal(tls_conn_server_name(duel.ours.conn), "orders.example");
        duel_fini(&duel);
    }
    /* What the name is makes no difference to who is let in. */
    struct duel duel = {0};
    const struct peer_options options = {.sni = "orders.example", .fragment_hello = true};
    duel_run(world, &duel, world->server, &options);
    assert_int_equal(duel.ours.failure.reason, REASON_SVID_NO_CERTIFICATE);
    assert_string_equal(duel.ours.failure.sni, "orders.example");
    duel_fini(&duel);
}

static void test_survives_single_bytes(void **state)
{
    struct world *world = *state;
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    const struct peer_options options = {.show = &world->peer, .hold = true};
    ours_accept(world, &duel.ours, world->server, fds[0]);
    peer_init(world, &duel.peer, &options, fds[1]);
    while (!duel.ours.called) {
        char byte;
        if (BIO_read(SSL_get_wbio(duel.peer.ssl), &byte, 1) == 1) {
            assert_int_equal(send(fds[1], &byte, 1, MSG_NOSIGNAL), 1);
        }
        struct timer *timer = timer_new(world->loop, stop_loop, world->loop);
        timer_set(timer, 0);
        run_loop(world->loop);
        timer_free(timer);
    }
    assert_true(duel.ours.open);
    duel_fini(&duel);
}

static void test_early_application_data_stays_until_read(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        int fds[2];
        unix_pair(fds);
        struct duel duel = {.ours = {.paused = true}};
        const struct peer_options options = {
            .version = versions[i], .show = &world->peer, .hold = true};
        ours_accept(world, &duel.ours, world->server, fds[0]);
        peer_init(world, &duel.peer, &options, fds[1]);
        bool wrote = false;
        while (!duel.ours.called) {
            if (duel.peer.done && !wrote) {
                /* With TLS 1.3 in one piece with Finished. */
                peer_write(&duel.peer, "early", 5);
                wrote = true;
            }
            peer_flush(&duel.peer);
            run_loop_ms(world->loop, 1);
            if (versions[i] == TLS1_2_VERSION && duel.ours.called && !wrote) {
                peer_write(&duel.peer, "early", 5);
                peer_flush(&duel.peer);
            }
        }
        assert_true(duel.ours.open);
        assert_int_equal(bytebuf_len(&duel.ours.received), 0);
        ours_resume(&duel.ours);
        while (bytebuf_len(&duel.ours.received) < 5) {
            run_loop_ms(world->loop, 1);
        }
        assert_memory_equal(bytebuf_data(&duel.ours.received), "early", 5);
        duel_fini(&duel);
    }
}

static void sends_bytes(struct world *world, const void *bytes, size_t len, bool then_end,
                        enum reason server_reason, enum reason client_reason)
{
    for (size_t i = 0; i < 2; i++) {
        int fds[2];
        unix_pair(fds);
        struct ours ours = {0};
        if (i == 0) {
            ours_accept(world, &ours, world->server, fds[0]);
        } else {
            ours_connect(world, &ours, world->client, fds[0], NULL, NULL);
        }
        if (len > 0) {
            assert_int_equal(send(fds[1], bytes, len, MSG_NOSIGNAL), len);
        }
        if (then_end) {
            assert_return_code(shutdown(fds[1], SHUT_WR), errno);
        }
        run_until(world, ours_was_called, &ours);
        enum reason want = i == 0 ? server_reason : client_reason;
        if (ours.failure.reason != want) {
            fail_msg("got %s, not %s", reason_label(ours.failure.reason), reason_label(want));
        }
        assert_int_equal(ours.failure.got_bytes, len > 0);
        if (i == 0 && want == REASON_TLS_NOT_TLS) {
            /* Nothing is said to those who don't speak TLS. */
            char byte;
            wait_for(fds[1], POLLIN);
            assert_int_equal(recv(fds[1], &byte, 1, 0), 0);
        }
        ours_fini(&ours);
        (void)close(fds[1]);
    }
}

static void test_tells_plaintext_and_ends_apart(void **state)
{
    struct world *world = *state;
    static const char http[] = "GET / HTTP/1.1\r\n\r\n";
    static const unsigned char v2_hello[] = {0x80, 0x2e, 0x01, 0x03, 0x03};
    static const unsigned char not_major_3[] = {0x16, 0x02, 0x00, 0x00, 0x05};
    static const unsigned char half[] = {0x16, 0x03, 0x01, 0x01, 0x00, 0x01};
    static const unsigned char alert[] = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28};
    static const unsigned char nonsense[] = {0x16, 0x03, 0x03, 0x00, 0x04, 0x63, 0, 0, 0};
    const enum reason not_tls = REASON_TLS_NOT_TLS;
    const enum reason up = REASON_UPSTREAM_HANDSHAKE_CLOSED;
    sends_bytes(world, http, sizeof(http) - 1, false, not_tls, not_tls);
    sends_bytes(world, v2_hello, sizeof(v2_hello), false, not_tls, not_tls);
    sends_bytes(world, not_major_3, sizeof(not_major_3), false, not_tls, not_tls);
    sends_bytes(world, "\x17\x03\x03", 3, false, not_tls, not_tls);
    sends_bytes(world, NULL, 0, true, REASON_CLOSED_BEFORE_HELLO, up);
    sends_bytes(world, half, 1, true, REASON_HANDSHAKE_CLOSED, up);
    sends_bytes(world, half, sizeof(half), true, REASON_HANDSHAKE_CLOSED, up);
    sends_bytes(world, alert, sizeof(alert), false, not_tls, REASON_UPSTREAM_REFUSED_US);
    sends_bytes(world, nonsense, sizeof(nonsense), false, REASON_TLS_PROTOCOL, REASON_TLS_PROTOCOL);
}

static void test_says_when_nothing_is_in_common(void **state)
{
    struct world *world = *state;
    static const struct peer_options clients[] = {
        {.version = TLS1_1_VERSION},
        {.version = TLS1_2_VERSION, .ciphers = "ECDHE-RSA-AES128-GCM-SHA256"},
        {.version = TLS1_2_VERSION, .ciphers = "ECDHE-ECDSA-AES128-SHA256"},
        {.version = TLS1_2_VERSION, .ciphers = "DHE-RSA-AES128-GCM-SHA256"},
        {.version = TLS1_2_VERSION, .ciphers = "AES128-GCM-SHA256"},
        {.version = TLS1_3_VERSION, .groups = "X448"},
    };
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        struct duel duel = {0};
        struct peer_options options = clients[i];
        options.show = &world->peer;
        options.sni = "HOST.";
        duel_run(world, &duel, world->server, &options);
        if (duel.ours.failure.reason != REASON_TLS_NO_COMMON) {
            fail_msg("client %zu: %s (%s)", i, reason_label(duel.ours.failure.reason),
                     duel.ours.failure.detail);
        }
        assert_string_equal(duel.ours.failure.sni, "HOST.");
        assert_true(duel.ours.failure.detail[0] != '\0');
        duel_fini(&duel);
    }
}

static void test_names_the_alert_that_ended_it(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++) {
        int fds[2];
        unix_pair(fds);
        struct ours client = {.check = REASON_POLICY_NOT_EXPECTED};
        struct ours server = {0};
        ours_accept(world, &server, world->server, fds[0]);
        ours_connect(world, &client, world->client, fds[1], "name.example", NULL);
        run_until(world, ours_was_called, &server);
        assert_int_equal(client.failure.reason, REASON_POLICY_NOT_EXPECTED);
        assert_int_equal(server.failure.reason, REASON_TLS_ALERT_RECEIVED);
        assert_string_equal(server.failure.alert, "bad_certificate");
        assert_string_equal(server.failure.sni, "name.example");
        ours_fini(&server);
        ours_fini(&client);
    }
}

static void test_a_refused_tls13_client_reads_the_alert(void **state)
{
    struct world *world = *state;
    int fds[2];
    unix_pair(fds);
    struct ours client = {0};
    struct ours server = {.check = REASON_POLICY_NOT_EXPECTED};
    ours_accept(world, &server, world->server, fds[0]);
    ours_connect(world, &client, world->client, fds[1], NULL, NULL);
    run_until(world, ours_has_ended, &client);
    /* It was through before the server had judged it. */
    assert_true(client.open);
    assert_int_equal(client.end, CONN_END_ALERT);
    assert_string_equal(tls_conn_alert_name(client.conn), "bad_certificate");
    assert_int_equal(server.failure.reason, REASON_POLICY_NOT_EXPECTED);
    ours_fini(&server);
    ours_fini(&client);
}

static void test_the_owner_may_close_at_any_time(void **state)
{
    struct world *world = *state;
    int fds[2];
    unix_pair(fds);
    struct ours client = {0};
    struct ours server = {.keep = true, .check = REASON_POLICY_NOT_EXPECTED};
    /* In the turn that it was made. */
    ours_connect(world, &client, world->client, fds[1], NULL, NULL);
    ours_fini(&client);
    run_loop_ms(world->loop, 1);
    (void)close(fds[0]);
    assert_false(client.called);

    /* A failed one, closed instead of refused. */
    unix_pair(fds);
    ours_accept(world, &server, world->server, fds[0]);
    ours_connect(world, &client, world->client, fds[1], NULL, NULL);
    run_until(world, ours_was_called, &server);
    ours_fini(&server);
    ours_fini(&client);

    /* Refused while it still waits for the peer, and the thread goes with it. */
    unix_pair(fds);
    struct ours waiting = {0};
    ours_accept(world, &waiting, world->server, fds[0]);
    run_loop_ms(world->loop, 1);
    tls_conn_refuse(waiting.conn);
    waiting.conn = NULL;
    assert_false(waiting.called);
    (void)close(fds[1]);
}

static void test_a_thread_takes_its_lingering_conns_along(void **state)
{
    struct world *world = *state;
    struct tls_thread *former = world->thread;
    int peers[3];
    for (size_t i = 0; i < 3; i++) {
        int fds[2];
        unix_pair(fds);
        struct ours ours = {0};
        ours_accept(world, &ours, world->server, fds[0]);
        assert_int_equal(send(fds[1], "hello", 5, MSG_NOSIGNAL), 5);
        run_until(world, ours_was_called, &ours);
        peers[i] = fds[1];
    }
    world->thread = tls_thread_new(world->crypto, 4, &world->lingering);
    tls_thread_free(former);
    for (size_t i = 0; i < 3; i++) {
        (void)close(peers[i]);
    }
}

static bool peer_was_dropped(void *arg)
{
    int *fd = arg;
    char bytes[4096] = {0};
    return send(*fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE;
}

static void test_a_refused_peer_that_goes_on_sending_is_dropped(void **state)
{
    struct world *world = *state;
    int fds[2];
    unix_pair(fds);
    struct ours ours = {0};
    ours_accept(world, &ours, world->server, fds[0]);
    assert_int_equal(send(fds[1], "hello", 5, MSG_NOSIGNAL), 5);
    run_until(world, ours_was_called, &ours);
    uint64_t start = loop_now_ms(world->loop);
    run_until(world, peer_was_dropped, &fds[1]);
    assert_true(loop_now_ms(world->loop) - start < 900); /* by bytes, not by the second */
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_world, teardown_world)
        T(test_admits_a_good_peer),
        T(test_clears_own_key_after_handshake),
        T(test_refuses_bad_certificates),
        T(test_refuses_a_client_without_certificate),
        T(test_refuses_chains_that_are_too_long),
        T(test_refuses_a_live_peers_certificate_without_its_key),
        T(test_refuses_chains_of_too_many_bytes),
        T(test_never_shows_itself_to_a_server_that_the_check_refuses),
        T(test_refuses_without_credentials),
        T(test_new_credentials_serve_the_next_handshake),
        T(test_credentials_swapped_in_the_middle_judge_again),
        T(test_the_gate_sees_a_chain_expire_in_the_middle),
        T(test_resumption_never_happens),
        T(test_survives_a_hello_in_one_byte_records),
        T(test_survives_single_bytes),
        T(test_early_application_data_stays_until_read),
        T(test_tells_plaintext_and_ends_apart),
        T(test_says_when_nothing_is_in_common),
        T(test_names_the_alert_that_ended_it),
        T(test_a_refused_tls13_client_reads_the_alert),
        T(test_the_owner_may_close_at_any_time),
        T(test_a_thread_takes_its_lingering_conns_along),
        T(test_a_refused_peer_that_goes_on_sending_is_dropped),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
