/*
 * Resumption by clients of ours: that it happens, that it is judged, and everything with which a
 * client might try to make a session mean more, or last longer, than it may.
 */
#include "resume_test.h"

#include "unit/spiffe/crl_builder.h"

static void test_resumes(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    struct duel duel = {0};
    uint64_t hits = peer_chain_table_hits(resume->world->thread->chains);
    accept_with(resume, &duel, resume->server, session);
    assert_true(is_resumed(&duel));
    assert_int_equal(SSL_session_reused(duel.peer.ssl), 1);
    assert_false(duel.peer.saw_certificate);
    /* Judged: from memory, and by whoever is asked about peers. */
    assert_int_equal(peer_chain_table_hits(resume->world->thread->chains), hits + 1);
    assert_true(duel.ours.checked);
    const struct peer_info *info = tls_conn_peer(duel.ours.conn);
    assert_true(strview_equal_text(peer_chain_id(info->chain)->text, PEER_ID));
    assert_string_equal(info->version, "TLSv1.3");
    assert_string_equal(info->group, best_group(TLS1_3_VERSION)); /* a key exchange of its own */
    peer_write(&duel.peer, "data", 4);
    while (bytebuf_len(&duel.ours.received) < 4) {
        run_loop_ms(resume->world->loop, 1);
    }
    duel_fini(&duel);
    SSL_SESSION_free(session);
}

static void test_a_chain_with_intermediate_resumes(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    struct identity between = make_identity(&world->anchor, "spiffe://" DOMAIN, true, -HOUR, LONG);
    struct identity leaf = make_identity(&between, PEER_ID, false, -HOUR, LONG);
    struct peer_options options = {.show = &leaf, .also = {&between}};
    struct duel first = {0};
    duel_run(world, &first, resume->server, &options);
    assert_true(first.ours.open);
    options.session = ticket_of(resume, &first);
    duel_fini(&first);
    /* In another worker, whose memory does not know the chain: the session has all of it. */
    struct tls_thread *mine = world->thread;
    world->thread = tls_thread_new(world->crypto, 64, &world->lingering);
    use_credentials(world, &world->ours, &world->anchor, 1);
    struct duel second = {0};
    duel_run(world, &second, resume->server, &options);
    assert_true(is_resumed(&second));
    assert_int_equal(peer_chain_table_misses(world->thread->chains), 1);
    duel_fini(&second);
    tls_thread_free(world->thread);
    world->thread = mine;
    SSL_SESSION_free(options.session);
    free_identity(&leaf);
    free_identity(&between);
}

/* What a client sends besides would stay with each of its sessions. */
static void test_no_ticket_for_a_client_that_sends_much(void **state)
{
    struct resume *resume = *state;
    struct identity large = make_large_identity(&resume->world->anchor);
    struct peer_options options = {.show = &resume->world->peer, .also = {&large}};
    struct duel duel = {0};
    duel_run(resume->world, &duel, resume->server, &options);
    assert_true(duel.ours.open);
    SSL_SESSION *session = ticket_of(resume, &duel);
    assert_int_equal(SSL_SESSION_has_ticket(session), 0);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    SSL_SESSION_free(session);
    duel_fini(&duel);
    free_identity(&large);
}

static void test_the_ticket_comes_once_and_with_the_first_bytes(void **state)
{
    struct resume *resume = *state;
    struct duel duel = {0};
    accept_with(resume, &duel, resume->server, NULL);
    peer_write(&duel.peer, "question", 8);
    while (bytebuf_len(&duel.ours.received) < 8) {
        run_loop_ms(resume->world->loop, 1);
    }
    run_loop_ms(resume->world->loop, 5);
    assert_int_equal(SSL_SESSION_has_ticket(SSL_get_session(duel.peer.ssl)), 0);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(conn_write(duel.ours.conn, (const uint8_t *)"y", 1), CONN_END_NONE);
        while (bytebuf_len(&duel.peer.received) < i) {
            run_loop_ms(resume->world->loop, 1);
        }
        assert_int_equal(SSL_SESSION_has_ticket(SSL_get_session(duel.peer.ssl)), 1);
        assert_int_equal(tls_session_store_count(resume->store), 1);
    }
    /* Own credentials were not needed for it, and are not back. */
    const struct tls_conn *tls = (struct tls_conn *)duel.ours.conn;
    assert_null(SSL_get_privatekey(tls->ssl));
    duel_fini(&duel);
}

static void test_a_resumed_conn_gets_a_new_ticket_and_the_old_one_stays_good(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *first = get_session(resume);
    struct duel duel = {0};
    accept_with(resume, &duel, resume->server, first);
    assert_true(is_resumed(&duel));
    SSL_SESSION *second = ticket_of(resume, &duel);
    assert_int_equal(tls_session_store_count(resume->store), 2);
    /* While the conn that it came from lives, and after it. */
    assert_true(resumes(resume, resume->server, second));
    duel_fini(&duel);
    assert_true(resumes(resume, resume->server, second));
    assert_true(resumes(resume, resume->server, first));
    SSL_SESSION_free(first);
    SSL_SESSION_free(second);
}

static void test_resumes_in_another_worker(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    SSL_SESSION *session = get_session(resume);
    struct tls_thread *mine = world->thread;
    world->thread = tls_thread_new(world->crypto, 64, &world->lingering);
    use_credentials(world, &world->ours, &world->anchor, 1);
    assert_true(resumes(resume, resume->server, session));
    /* A listener that was made anew with the same settings is the same listener. */
    struct tls_context *again = resume_context(resume, true, "orders");
    assert_true(resumes(resume, again, session));
    tls_context_unref(again);
    tls_thread_free(world->thread);
    world->thread = mine;
    SSL_SESSION_free(session);
}

static void test_sni_makes_no_difference(void **state)
{
    struct resume *resume = *state;
    struct peer_options options = {.show = &resume->world->peer, .sni = "orders.example"};
    struct duel first = {0};
    duel_run(resume->world, &first, resume->server, &options);
    options.session = ticket_of(resume, &first);
    duel_fini(&first);
    const char *const names[] = {"payments.example", "ORDERS.example", NULL};
    for (size_t i = 0; i < 3; i++) {
        struct duel duel = {0};
        options.sni = names[i];
        duel_run(resume->world, &duel, resume->server, &options);
        assert_true(is_resumed(&duel));
        assert_string_equal(duel.ours.checked_id, PEER_ID);
        /* What it asks for now is told, not what it asked for then. */
        assert_string_equal(tls_conn_server_name(duel.ours.conn), i == 2 ? "" : names[i]);
        duel_fini(&duel);
    }
    SSL_SESSION_free(options.session);
}

static void test_not_at_another_listener(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    struct tls_context *other = resume_context(resume, true, "payments");
    assert_false(resumes(resume, other, session));
    assert_false(resumes(resume, resume->world->server, session)); /* the same name, no store */
    assert_true(resumes(resume, resume->server, session));
    tls_context_unref(other);
    SSL_SESSION_free(session);
}

static void test_not_after_the_credentials_have_changed(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    SSL_SESSION *session = get_session(resume);
    use_credentials(world, &world->ours, &world->anchor, 2);
    assert_false(resumes(resume, resume->server, session));
    /* Nor may the client be let in as before when its anchor has gone. */
    struct identity stranger = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, LONG);
    struct identity next = make_identity(&stranger, OURS_ID, false, -HOUR, LONG);
    use_credentials(world, &next, &stranger, 3);
    assert_int_equal(refusal(resume, session), REASON_SVID_UNTRUSTED);
    free_identity(&next);
    free_identity(&stranger);
    SSL_SESSION_free(session);
}

static void test_not_after_the_store_was_cleared(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    tls_session_store_clear(resume->store, 2);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    assert_false(resumes(resume, resume->server, session));
    /* This worker has the former credentials still: what it makes is not kept. */
    SSL_SESSION *late = get_session(resume);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    assert_false(resumes(resume, resume->server, late));
    SSL_SESSION_free(late);
    SSL_SESSION_free(session);
}

static void test_no_ticket_for_credentials_that_are_over(void **state)
{
    struct resume *resume = *state;
    struct duel duel = {0};
    accept_with(resume, &duel, resume->server, NULL);
    use_credentials(resume->world, &resume->world->ours, &resume->world->anchor, 2);
    SSL_SESSION *session = ticket_of(resume, &duel);
    assert_int_equal(SSL_SESSION_has_ticket(session), 0);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    SSL_SESSION_free(session);
    duel_fini(&duel);
}

static bool peer_has_unsent(void *arg)
{
    const struct peer *peer = arg;
    return BIO_pending(SSL_get_wbio(peer->ssl)) > 0;
}

/* A resumed handshake up to where only the client's Finished is missing. */
static void stop_before_the_end(struct resume *resume, struct duel *duel, SSL_SESSION *session)
{
    int fds[2];
    unix_pair(fds);
    const struct peer_options options = {
        .show = &resume->world->peer, .session = session, .hold = true};
    ours_accept(resume->world, &duel->ours, resume->server, fds[0]);
    peer_init(resume->world, &duel->peer, &options, fds[1]);
    run_until(resume->world, peer_has_unsent, &duel->peer);
    peer_flush(&duel->peer);
    run_until(resume->world, peer_has_unsent, &duel->peer);
    assert_true(duel->peer.done);
    assert_int_equal(SSL_session_reused(duel->peer.ssl), 1);
    assert_false(duel->ours.called);
    assert_false(duel->ours.checked);
}

static enum reason reason_at_the_end(struct resume *resume, struct duel *duel)
{
    peer_flush(&duel->peer);
    run_until(resume->world, ours_was_called, &duel->ours);
    assert_false(duel->ours.open);
    return duel->ours.failure.reason;
}

static void test_the_gate_judges_by_the_credentials_of_the_last_moment(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    SSL_SESSION *session = get_session(resume);
    struct identity stranger = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, LONG);
    struct identity next = make_identity(&stranger, OURS_ID, false, -HOUR, LONG);

    struct duel swapped = {0};
    stop_before_the_end(resume, &swapped, session);
    use_credentials(world, &world->ours, &world->anchor, 2);
    peer_flush(&swapped.peer);
    run_until(world, ours_was_called, &swapped.ours);
    assert_true(is_resumed(&swapped));
    assert_true(swapped.ours.checked);
    duel_fini(&swapped);

    use_credentials(world, &world->ours, &world->anchor, 1);
    struct duel untrusted = {.ours = {.keep = true}}; /* closed without more ado */
    stop_before_the_end(resume, &untrusted, session);
    use_credentials(world, &next, &stranger, 2);
    assert_int_equal(reason_at_the_end(resume, &untrusted), REASON_SVID_UNTRUSTED);
    assert_int_equal(untrusted.ours.failure.svid.reason, REASON_SVID_UNTRUSTED);
    duel_fini(&untrusted);

    /* The session went with the refusal: under the old credentials it is a full handshake. */
    use_credentials(world, &world->ours, &world->anchor, 1);
    assert_false(resumes(resume, resume->server, session));
    free_identity(&next);
    free_identity(&stranger);
    SSL_SESSION_free(session);
}

/* Nothing at all, no SVID, or one that has expired; the generation is the same by mistake. */
static void lose_credentials(struct world *world, size_t how, const struct identity *expired)
{
    if (how == 0) {
        tls_thread_set_credentials(world->thread, NULL);
    } else {
        use_credentials(world, how == 1 ? NULL : expired, &world->anchor, 1);
    }
}

static void test_the_gate_sees_that_there_are_no_credentials(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    struct identity expired = make_identity(&world->anchor, OURS_ID, false, -HOUR, -1);
    const enum reason reasons[] = {REASON_OWN_CREDENTIALS, REASON_OWN_SVID_MISSING,
                                   REASON_OWN_SVID_EXPIRED};
    for (size_t i = 0; i < 3; i++) {
        use_credentials(world, &world->ours, &world->anchor, 1);
        SSL_SESSION *session = get_session(resume);
        struct duel duel = {0};
        stop_before_the_end(resume, &duel, session);
        lose_credentials(world, i, &expired);
        assert_int_equal(reason_at_the_end(resume, &duel), reasons[i]);
        duel_fini(&duel);
        use_credentials(world, &world->ours, &world->anchor, 1);
        SSL_SESSION_free(session);
        session = get_session(resume);
        lose_credentials(world, i, &expired);
        /* And from the beginning: as in any handshake without, with an alert. */
        struct duel next = {0};
        accept_with(resume, &next, resume->server, session);
        assert_int_equal(next.ours.failure.reason, reasons[i]);
        run_until(world, peer_has_ended, &next.peer);
        assert_int_equal(next.peer.alert, SSL_AD_INTERNAL_ERROR);
        duel_fini(&next);
        SSL_SESSION_free(session);
    }
    free_identity(&expired);
}

static void test_the_gate_asks_the_outside_again(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    struct duel duel = {.ours = {.check = REASON_POLICY_NOT_EXPECTED}};
    accept_with(resume, &duel, resume->server, session);
    assert_false(duel.ours.open);
    assert_int_equal(duel.ours.failure.reason, REASON_POLICY_NOT_EXPECTED);
    assert_string_equal(duel.ours.failure.svid.claimed, PEER_ID);
    duel_fini(&duel);
    SSL_SESSION_free(session);
}

static void test_swapped_between_accept_and_hello(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    int fds[2];
    unix_pair(fds);
    struct duel duel = {0};
    const struct peer_options options = {.show = &resume->world->peer, .session = session};
    ours_accept(resume->world, &duel.ours, resume->server, fds[0]);
    use_credentials(resume->world, &resume->world->ours, &resume->world->anchor, 2);
    peer_init(resume->world, &duel.peer, &options, fds[1]);
    run_until(resume->world, duel_is_over, &duel);
    assert_true(duel.ours.open);
    assert_false(is_resumed(&duel));
    /* What it is given belongs to the new ones. */
    SSL_SESSION *next = ticket_of(resume, &duel);
    assert_true(resumes(resume, resume->server, next));
    duel_fini(&duel);
    SSL_SESSION_free(next);
    SSL_SESSION_free(session);
}

static void test_not_past_the_end_of_the_chain(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    free_identity(&world->peer);
    world->peer = make_identity(&world->anchor, PEER_ID, false, -HOUR, 1000);
    SSL_SESSION *session = get_session(resume);
    /* The lifetime that the client was told ends with the chain. */
    assert_in_range(SSL_SESSION_get_ticket_lifetime_hint(session), 990, 1000);
    clock_ahead_s = 900;
    assert_true(resumes(resume, resume->server, session));
    struct duel duel = {0};
    stop_before_the_end(resume, &duel, session);
    clock_ahead_s = 1001;
    assert_int_equal(reason_at_the_end(resume, &duel), REASON_SVID_EXPIRED);
    duel_fini(&duel);
    assert_int_equal(refusal(resume, session), REASON_SVID_EXPIRED);
    SSL_SESSION_free(session);
}

static void test_renewals_do_not_stretch_it(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    assert_in_range(SSL_SESSION_get_ticket_lifetime_hint(session), AGE - 10, AGE);
    for (long at = 500; at < AGE; at += 500) {
        clock_ahead_s = at;
        libssl_ahead_s = at;
        struct duel duel = {0};
        accept_with(resume, &duel, resume->server, session);
        assert_true(is_resumed(&duel));
        SSL_SESSION_free(session);
        session = ticket_of(resume, &duel);
        assert_true(SSL_SESSION_get_ticket_lifetime_hint(session) <= (unsigned long)(AGE - at));
        duel_fini(&duel);
    }
    clock_ahead_s = AGE;
    libssl_ahead_s = AGE;
    assert_false(resumes(resume, resume->server, session));
    SSL_SESSION_free(session);
}

static void test_libssls_timer_is_not_what_counts(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    clock_ahead_s = AGE + 1; /* libssl's stands still */
    assert_false(resumes(resume, resume->server, session));
    SSL_SESSION_free(session);
}

static void test_a_session_that_ages_in_the_handshake_is_refused(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    const long steps[] = {AGE + 1, -10};
    for (size_t i = 0; i < 2; i++) {
        struct duel duel = {0};
        clock_ahead_s = 0;
        SSL_SESSION *fresh = get_session(resume);
        stop_before_the_end(resume, &duel, fresh);
        clock_ahead_s = steps[i];
        assert_int_equal(reason_at_the_end(resume, &duel), REASON_SVID_VERIFY_FAILED);
        duel_fini(&duel);
        SSL_SESSION_free(fresh);
    }
    /* A clock that was set back before the handshake: a full one. */
    assert_false(resumes(resume, resume->server, session));
    SSL_SESSION_free(session);
}

static struct credentials *with_crl(struct world *world, X509 *revoked, uint64_t generation)
{
    struct crl_spec spec = crl_of(world->anchor.cert, world->anchor.key);
    spec.this_update = time(NULL) - HOUR;
    spec.next_update = time(NULL) + HOUR;
    if (revoked != NULL) {
        crl_revoke(&spec, revoked, CRL_NO_CODE);
    }
    struct credentials *plain =
        make_credentials(world->crypto, &world->ours, &world->anchor, generation);
    struct credentials_domain domain = {.bundle = credentials_bundle(plain, strview_from(DOMAIN)),
                                        .crls = crl_set_of(world->crypto, &spec, 1),
                                        .crl_check = CRL_CHECK_LEAF};
    const struct credentials_parts parts = {.own = credentials_own(plain),
                                            .domains = &domain,
                                            .domain_count = 1,
                                            .generation = generation};
    struct errbuf err;
    struct credentials *credentials = credentials_build(&parts, &err);
    assert_non_null(credentials);
    crl_set_unref(domain.crls);
    credentials_unref(plain);
    return credentials;
}

static void use_crl(struct world *world, X509 *revoked, uint64_t generation)
{
    struct credentials *credentials = with_crl(world, revoked, generation);
    tls_thread_set_credentials(world->thread, credentials);
    credentials_unref(credentials);
}

static void test_not_after_revocation(void **state)
{
    struct resume *resume = *state;
    struct world *world = resume->world;
    use_crl(world, NULL, 1);
    SSL_SESSION *session = get_session(resume);
    assert_true(resumes(resume, resume->server, session));
    use_crl(world, world->peer.cert, 2);
    assert_int_equal(refusal(resume, session), REASON_SVID_REVOKED);
    /* Should a generation ever be the same by mistake: the gate asks the CRL itself. */
    use_crl(world, world->peer.cert, 1);
    assert_int_equal(refusal(resume, session), REASON_SVID_REVOKED);
    SSL_SESSION_free(session);
}

static void test_not_under_a_crl_that_has_expired(void **state)
{
    struct resume *resume = *state;
    use_crl(resume->world, NULL, 1);
    SSL_SESSION *session = get_session(resume);
    clock_ahead_s = AGE - 10;
    assert_true(resumes(resume, resume->server, session));
    SSL_SESSION_free(session);
    session = get_session(resume);
    clock_ahead_s = AGE + 10;
    assert_int_equal(refusal(resume, session), REASON_SVID_CRL_EXPIRED);
    SSL_SESSION_free(session);
}

static void test_forged_ids_mean_full_handshakes(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    const unsigned char *ticket = NULL;
    size_t len = 0;
    SSL_SESSION_get0_ticket(session, &ticket, &len);
    assert_int_equal(len, 32);
    unsigned char other[32];
    for (size_t i = 0; i < 32; i += 31) {
        memcpy(other, ticket, sizeof(other));
        other[i] ^= 1;
        SSL_SESSION *forged = forge(session, ticket, other, sizeof(other));
        assert_false(resumes(resume, resume->server, forged));
        SSL_SESSION_free(forged);
    }
    assert_true(resumes(resume, resume->server, session));
    SSL_SESSION_free(session);
}

static void test_an_id_without_its_secret_opens_nothing(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    unsigned char secret[64];
    unsigned char guess[64];
    size_t len = SSL_SESSION_get_master_key(session, secret, sizeof(secret));
    assert_true(len >= 32);
    memcpy(guess, secret, len);
    guess[0] ^= 1;
    SSL_SESSION *forged = forge(session, secret, guess, len);
    struct duel duel = {0};
    accept_with(resume, &duel, resume->server, forged);
    assert_false(duel.ours.open);
    assert_int_equal(duel.ours.failure.reason, REASON_TLS_PROTOCOL);
    assert_false(duel.ours.checked);
    duel_fini(&duel);
    /* Nor does it take the session from the one whose it is. */
    assert_true(resumes(resume, resume->server, session));
    SSL_SESSION_free(forged);
    SSL_SESSION_free(session);
}

static void test_sessions_of_other_servers_mean_nothing(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    /* Stateless tickets have other lengths: an empty list of bytes in front of ours. */
    const unsigned char *ticket = NULL;
    size_t len = 0;
    SSL_SESSION_get0_ticket(session, &ticket, &len);
    struct tls_session_store *own = resume->store;
    resume->store = tls_session_store_new(&(struct tls_session_limits){100, 50, AGE});
    struct tls_context *elsewhere = resume_context(resume, true, "orders");
    assert_false(resumes(resume, elsewhere, session));
    tls_context_unref(elsewhere);
    tls_session_store_unref(resume->store);
    resume->store = own;
    SSL_SESSION_free(session);
}

static void test_tls12_is_never_resumed(void **state)
{
    struct resume *resume = *state;
    struct peer_options options = {.show = &resume->world->peer, .version = TLS1_2_VERSION};
    struct duel first = {0};
    duel_run(resume->world, &first, resume->server, &options);
    assert_true(first.ours.open);
    options.session = ticket_of(resume, &first);
    assert_int_equal(tls_session_store_count(resume->store), 0);
    duel_fini(&first);
    struct duel second = {0};
    duel_run(resume->world, &second, resume->server, &options);
    assert_true(second.ours.open);
    assert_false(is_resumed(&second));
    assert_int_equal(SSL_session_reused(second.peer.ssl), 0);
    duel_fini(&second);

    /* The ID of a session of TLS 1.3, offered as one of TLS 1.2. */
    SSL_SESSION *session = get_session(resume);
    const unsigned char *ticket = NULL;
    size_t len = 0;
    SSL_SESSION_get0_ticket(session, &ticket, &len);
    assert_int_equal(SSL_SESSION_set1_id(options.session, ticket, (unsigned)len), 1);
    struct duel third = {0};
    duel_run(resume->world, &third, resume->server, &options);
    assert_true(third.ours.open);
    assert_false(is_resumed(&third));
    assert_int_equal(SSL_session_reused(third.peer.ssl), 0);
    duel_fini(&third);
    assert_true(resumes(resume, resume->server, session));
    SSL_SESSION_free(session);
    SSL_SESSION_free(options.session);
}

static void test_a_full_store_costs_a_full_handshake(void **state)
{
    struct resume *resume = *state;
    struct tls_session_store *large = resume->store;
    resume->store = tls_session_store_new(&(struct tls_session_limits){2, 2, AGE});
    tls_context_unref(resume->server);
    resume->server = resume_context(resume, true, "orders");
    SSL_SESSION *sessions[3];
    for (size_t i = 0; i < 3; i++) {
        sessions[i] = get_session(resume);
    }
    assert_int_equal(tls_session_store_count(resume->store), 2);
    assert_false(resumes(resume, resume->server, sessions[0]));
    assert_true(resumes(resume, resume->server, sessions[1]));
    assert_true(resumes(resume, resume->server, sessions[2]));
    for (size_t i = 0; i < 3; i++) {
        SSL_SESSION_free(sessions[i]);
    }
    tls_session_store_unref(large);
}

static void test_a_fatal_alert_drops_the_session_and_a_rude_end_does_not(void **state)
{
    struct resume *resume = *state;
    struct duel duel = {0};
    accept_with(resume, &duel, resume->server, NULL);
    SSL_SESSION *session = ticket_of(resume, &duel);
    duel_fini(&duel); /* neither side said close_notify */
    run_loop_ms(resume->world->loop, 1);
    assert_true(resumes(resume, resume->server, session));

    struct duel broken = {0};
    accept_with(resume, &broken, resume->server, session);
    SSL_SESSION *next = ticket_of(resume, &broken);
    static const unsigned char record[] = {0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8,
                                           9,    0, 1, 2, 3,  4, 5, 6, 7, 8, 9, 0};
    assert_int_equal(send(broken.peer.fd, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
    run_until(resume->world, ours_has_ended, &broken.ours);
    assert_int_equal(broken.ours.end, CONN_END_PROTOCOL);
    duel_fini(&broken);
    assert_false(resumes(resume, resume->server, next));
    assert_true(resumes(resume, resume->server, session));
    SSL_SESSION_free(next);
    SSL_SESSION_free(session);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_resume, teardown_resume)
    const struct CMUnitTest tests[] = {
        TEST(test_resumes),
        TEST(test_a_chain_with_intermediate_resumes),
        TEST(test_no_ticket_for_a_client_that_sends_much),
        TEST(test_the_ticket_comes_once_and_with_the_first_bytes),
        TEST(test_a_resumed_conn_gets_a_new_ticket_and_the_old_one_stays_good),
        TEST(test_resumes_in_another_worker),
        TEST(test_sni_makes_no_difference),
        TEST(test_not_at_another_listener),
        TEST(test_not_after_the_credentials_have_changed),
        TEST(test_not_after_the_store_was_cleared),
        TEST(test_no_ticket_for_credentials_that_are_over),
        TEST(test_the_gate_judges_by_the_credentials_of_the_last_moment),
        TEST(test_the_gate_sees_that_there_are_no_credentials),
        TEST(test_the_gate_asks_the_outside_again),
        TEST(test_swapped_between_accept_and_hello),
        TEST(test_not_past_the_end_of_the_chain),
        TEST(test_renewals_do_not_stretch_it),
        TEST(test_libssls_timer_is_not_what_counts),
        TEST(test_a_session_that_ages_in_the_handshake_is_refused),
        TEST(test_not_after_revocation),
        TEST(test_not_under_a_crl_that_has_expired),
        TEST(test_forged_ids_mean_full_handshakes),
        TEST(test_an_id_without_its_secret_opens_nothing),
        TEST(test_sessions_of_other_servers_mean_nothing),
        TEST(test_tls12_is_never_resumed),
        TEST(test_a_full_store_costs_a_full_handshake),
        TEST(test_a_fatal_alert_drops_the_session_and_a_rude_end_does_not),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
