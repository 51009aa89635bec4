/*
 * resume_test: what the tests of resumption share: a world with a store of sessions, contexts that
 * use it, certificates that outlive the store's age, and a clock that can be stepped.
 */
#ifndef BULKHEAD_TESTS_UNIT_TLS_RESUME_TEST_H
#define BULKHEAD_TESTS_UNIT_TLS_RESUME_TEST_H

#include "tls_test.h"

#include "stepped_clock.h"
#include "tls/tls_session_store.h"

#include "../../../src/tls/tls_conn_private.h"
#include "../../../src/tls/tls_context_private.h"
#include "../../../src/tls/tls_thread.h"

enum { AGE = 3600, LONG = 100 * HOUR };

struct resume {
    struct world *world; /* its server and client have no store */
    struct tls_session_store *store;
    struct tls_context *server;
    struct tls_context *client;
    unsigned char ticket_keys[80]; /* of servers by hand */
};

static inline struct tls_context *resume_context(const struct resume *resume, bool server,
                                                 const char *name)
{
    const struct tls_settings settings = {
        .server = server, .name = name, .sessions = resume->store};
    return make_context(resume->world, &settings);
}

static inline int setup_resume(void **state)
{
    struct resume *resume = mem_alloc(sizeof(*resume));
    void *world = NULL;
    (void)setup_world(&world);
    resume->world = world;
    clock_ahead_s = 0;
    libssl_ahead_s = 0;
    free_identity(&resume->world->anchor);
    free_identity(&resume->world->ours);
    free_identity(&resume->world->peer);
    resume->world->anchor = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, LONG);
    resume->world->ours = make_identity(&resume->world->anchor, OURS_ID, false, -HOUR, LONG);
    resume->world->peer = make_identity(&resume->world->anchor, PEER_ID, false, -HOUR, LONG);
    use_credentials(resume->world, &resume->world->ours, &resume->world->anchor, 1);
    resume->store = tls_session_store_new(&(struct tls_session_limits){100, 50, AGE});
    resume->server = resume_context(resume, true, "orders");
    resume->client = resume_context(resume, false, "to-orders");
    memset(resume->ticket_keys, 7, sizeof(resume->ticket_keys));
    *state = resume;
    return 0;
}

static inline int teardown_resume(void **state)
{
    struct resume *resume = *state;
    tls_context_unref(resume->server);
    tls_context_unref(resume->client);
    tls_session_store_unref(resume->store);
    void *world = resume->world;
    (void)teardown_world(&world);
    mem_free(resume);
    return 0;
}

/* A certificate of 13 KiB that nobody needs. */
static inline struct identity make_large_identity(const struct identity *issuer)
{
    struct identity large = make_identity(issuer, "spiffe://" DOMAIN, true, -HOUR, LONG);
    char comment[13 * 1024];
    memset(comment, 'x', sizeof(comment) - 1);
    comment[sizeof(comment) - 1] = '\0';
    add_extension(large.cert, issuer->cert, NID_netscape_comment, comment);
    assert_true(X509_sign(large.cert, issuer->key, EVP_sha256()) > 0);
    return large;
}

/* One conn of ours, accepting, with a client by hand that offers this session. */
static inline void accept_with(struct resume *resume, struct duel *duel,
                               struct tls_context *context, SSL_SESSION *session)
{
    const struct peer_options options = {.show = &resume->world->peer, .session = session};
    duel_run(resume->world, duel, context, &options);
}

static inline bool peer_got_something(void *arg)
{
    const struct peer *peer = arg;
    return bytebuf_len(&peer->received) > 0 || peer->failed || peer->eof;
}

/* Our first write, and with it the ticket. */
static inline SSL_SESSION *ticket_of(struct resume *resume, struct duel *duel)
{
    assert_int_equal(conn_write(duel->ours.conn, (const uint8_t *)"x", 1), CONN_END_NONE);
    run_until(resume->world, peer_got_something, &duel->peer);
    assert_int_equal(bytebuf_len(&duel->peer.received), 1);
    return SSL_get1_session(duel->peer.ssl);
}

/* A session after a full handshake, whose conn is over. */
static inline SSL_SESSION *get_session(struct resume *resume)
{
    struct duel duel = {0};
    accept_with(resume, &duel, resume->server, NULL);
    assert_true(duel.ours.open);
    assert_int_equal(SSL_session_reused(duel.peer.ssl), 0);
    SSL_SESSION *session = ticket_of(resume, &duel);
    assert_int_equal(SSL_SESSION_has_ticket(session), 1);
    duel_fini(&duel);
    return session;
}

static inline bool is_resumed(const struct duel *duel)
{
    return duel->ours.open && tls_conn_peer(duel->ours.conn)->resumed;
}

/* Offers the session; true when it was resumed. A full handshake must succeed otherwise. */
static inline bool resumes(struct resume *resume, struct tls_context *context, SSL_SESSION *session)
{
    struct duel duel = {0};
    accept_with(resume, &duel, context, session);
    assert_true(duel.ours.open);
    bool resumed = is_resumed(&duel);
    assert_int_equal(SSL_session_reused(duel.peer.ssl), resumed);
    assert_int_equal(duel.peer.saw_certificate, !resumed);
    const struct peer_info *info = tls_conn_peer(duel.ours.conn);
    assert_true(strview_equal_text(peer_chain_id(info->chain)->text, PEER_ID));
    duel_fini(&duel);
    return resumed;
}

/* Offers the session; the reason why the conn was refused. */
static inline enum reason refusal(struct resume *resume, SSL_SESSION *session)
{
    struct duel duel = {0};
    accept_with(resume, &duel, resume->server, session);
    assert_false(duel.ours.open);
    enum reason reason = duel.ours.failure.reason;
    duel_fini(&duel);
    return reason;
}

/* A copy of the session with `size` bytes, wherever they stand, replaced. */
static inline SSL_SESSION *forge(SSL_SESSION *session, const void *from, const void *to,
                                 size_t size)
{
    unsigned char *der = NULL;
    int len = i2d_SSL_SESSION(session, &der);
    assert_true(len > 0);
    size_t replaced = 0;
    for (size_t at = 0; at + size <= (size_t)len; at++) {
        if (memcmp(der + at, from, size) == 0) {
            memcpy(der + at, to, size);
            replaced++;
        }
    }
    assert_true(replaced > 0);
    const unsigned char *in = der;
    SSL_SESSION *forged = d2i_SSL_SESSION(NULL, &in, len);
    assert_non_null(forged);
    OPENSSL_free(der);
    return forged;
}

#endif
