/*
 * Resumption on the wire: key exchange modes, a retried hello, early data, damaged offers, and what
 * becomes of the bytes of a client that never reads.
 */
#include "resume_test.h"

#include <pthread.h>

enum { EXTENSION_PSK = 41, EXTENSION_KEX_MODES = 45, HELLO_MAX = 4096 };

/* ---- hellos by hand ---- */

struct hello {
    uint8_t bytes[HELLO_MAX];
    size_t len;
};

/* The first record that a client with this session would send. */
static void make_hello(struct resume *resume, SSL_SESSION *session, struct hello *hello)
{
    int fds[2];
    unix_pair(fds);
    struct peer peer;
    const struct peer_options options = {
        .show = &resume->world->peer, .session = session, .hold = true};
    peer_init(resume->world, &peer, &options, fds[0]);
    char *data = NULL;
    long len = BIO_get_mem_data(SSL_get_wbio(peer.ssl), &data);
    assert_in_range(len, 100, HELLO_MAX);
    memcpy(hello->bytes, data, (size_t)len);
    hello->len = (size_t)len;
    peer_fini(&peer);
    (void)close(fds[1]);
}

/* Where the extension's content begins, or 0. at: where the extensions begin, with their length. */
static size_t find_extension(const uint8_t *bytes, size_t len, size_t at, unsigned wanted)
{
    at += 2; /* their length */
    while (at + 4 <= len) {
        unsigned type = (unsigned)bytes[at] << 8 | bytes[at + 1];
        size_t size = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (type == wanted) {
            return at + 4;
        }
        at += 4 + size;
    }
    return 0;
}

enum { RECORD = 5, MESSAGE = 4, VERSION = 2, RANDOM = 32 };

static size_t client_extension(const struct hello *hello, unsigned wanted)
{
    const uint8_t *bytes = hello->bytes;
    size_t at = RECORD + MESSAGE + VERSION + RANDOM;
    at += 1 + (size_t)bytes[at];                        /* session ID */
    at += 2 + ((size_t)bytes[at] << 8 | bytes[at + 1]); /* suites */
    at += 1 + (size_t)bytes[at];                        /* compression */
    return find_extension(bytes, hello->len, at, wanted);
}

/* What our server answers to a hello: its first record. */
static size_t answer_to(struct resume *resume, const struct hello *hello, uint8_t out[HELLO_MAX])
{
    int fds[2];
    unix_pair(fds);
    struct ours ours = {0};
    ours_accept(resume->world, &ours, resume->server, fds[0]);
    assert_int_equal(send(fds[1], hello->bytes, hello->len, MSG_NOSIGNAL), hello->len);
    ssize_t got;
    while ((got = recv(fds[1], out, HELLO_MAX, MSG_DONTWAIT)) < 0) {
        assert_int_equal(errno, EAGAIN);
        run_loop_ms(resume->world->loop, 1);
    }
    assert_true(got > RECORD);
    assert_false(ours.open);
    ours_fini(&ours);
    (void)close(fds[1]);
    run_loop_ms(resume->world->loop, 1);
    return (size_t)got;
}

static bool answer_resumes(struct resume *resume, const struct hello *hello)
{
    uint8_t answer[HELLO_MAX];
    size_t len = answer_to(resume, hello, answer);
    assert_int_equal(answer[0], SSL3_RT_HANDSHAKE);
    assert_int_equal(answer[RECORD], SSL3_MT_SERVER_HELLO);
    size_t at = RECORD + MESSAGE + VERSION + RANDOM;
    at += 1 + (size_t)answer[at] + 2 + 1; /* session ID, suite, compression */
    return find_extension(answer, len, at, EXTENSION_PSK) != 0;
}

static void test_psk_without_key_exchange_is_not_accepted(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    struct hello hello;
    make_hello(resume, session, &hello);
    size_t modes = client_extension(&hello, EXTENSION_KEX_MODES);
    assert_int_not_equal(modes, 0);
    assert_int_equal(hello.bytes[modes], 1);     /* one mode */
    assert_int_equal(hello.bytes[modes + 1], 1); /* psk_dhe_ke */
    assert_int_not_equal(client_extension(&hello, EXTENSION_PSK), 0);
    assert_true(answer_resumes(resume, &hello));
    hello.bytes[modes + 1] = 0; /* psk_ke */
    assert_false(answer_resumes(resume, &hello));
    SSL_SESSION_free(session);
}

static void test_no_ticket_for_a_client_that_could_not_use_it(void **state)
{
    struct resume *resume = *state;
    struct hello hello;
    make_hello(resume, NULL, &hello);
    size_t modes = client_extension(&hello, EXTENSION_KEX_MODES);
    const uint8_t offered[] = {1, 0, 200};
    for (size_t i = 0; i < sizeof(offered); i++) {
        hello.bytes[modes + 1] = offered[i];
        int fds[2];
        unix_pair(fds);
        struct ours ours = {0};
        ours_accept(resume->world, &ours, resume->server, fds[0]);
        assert_int_equal(send(fds[1], hello.bytes, hello.len, MSG_NOSIGNAL), hello.len);
        const struct tls_conn *tls = (struct tls_conn *)ours.conn;
        while (!tls->handshake->hello_seen) {
            run_loop_ms(resume->world->loop, 1);
        }
        assert_int_equal(tls->handshake->can_resume, offered[i] == 1);
        ours_fini(&ours);
        (void)close(fds[1]);
        run_loop_ms(resume->world->loop, 1);
    }
}

/* Every byte of the offer damaged: never resumed, and the session stays its owner's. */
static void test_damaged_offers(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    struct hello hello;
    make_hello(resume, session, &hello);
    size_t from = client_extension(&hello, EXTENSION_PSK);
    assert_int_not_equal(from, 0);
    for (size_t at = from; at < hello.len; at++) {
        if (at >= from + 4 + 32 && at < from + 4 + 32 + 4) {
            continue; /* the ticket's age: covered by the binder, below */
        }
        struct hello damaged = hello;
        damaged.bytes[at] ^= 1;
        uint8_t answer[HELLO_MAX];
        size_t len = answer_to(resume, &damaged, answer);
        if (answer[0] == SSL3_RT_HANDSHAKE) {
            assert_true(len > RECORD);
            assert_false(answer_resumes(resume, &damaged));
        }
    }
    for (size_t at = from + 4 + 32; at < from + 4 + 32 + 4; at++) {
        struct hello damaged = hello;
        damaged.bytes[at] ^= 1;
        uint8_t answer[HELLO_MAX];
        (void)answer_to(resume, &damaged, answer);
        assert_int_equal(answer[0], SSL3_RT_ALERT);
    }
    assert_true(answer_resumes(resume, &hello));
    SSL_SESSION_free(session);
}

static void test_a_retried_hello_resumes(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    struct duel duel = {0};
    const struct peer_options options = {
        .show = &resume->world->peer, .session = session, .groups = "X448:P-256"};
    duel_run(resume->world, &duel, resume->server, &options);
    assert_true(is_resumed(&duel));
    assert_string_equal(tls_conn_peer(duel.ours.conn)->group, "P-256");
    SSL_SESSION *next = ticket_of(resume, &duel);
    assert_true(resumes(resume, resume->server, next));
    duel_fini(&duel);
    SSL_SESSION_free(next);
    SSL_SESSION_free(session);
}

static void test_early_data_is_not_accepted(void **state)
{
    struct resume *resume = *state;
    SSL_SESSION *session = get_session(resume);
    assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
    /* A client that doesn't care what the ticket said. */
    assert_int_equal(SSL_SESSION_set_max_early_data(session, 16384), 1);
    struct duel duel = {0};
    int fds[2];
    unix_pair(fds);
    const struct peer_options options = {.show = &resume->world->peer, .session = session};
    ours_accept(resume->world, &duel.ours, resume->server, fds[0]);
    peer_prepare(resume->world, &duel.peer, &options, fds[1]);
    size_t written = 0;
    assert_int_equal(SSL_write_early_data(duel.peer.ssl, "early", 5, &written), 1);
    peer_step(&duel.peer);
    run_until(resume->world, duel_is_over, &duel);
    assert_true(is_resumed(&duel));
    assert_int_equal(SSL_get_early_data_status(duel.peer.ssl), SSL_EARLY_DATA_REJECTED);
    peer_write(&duel.peer, "later", 5);
    while (bytebuf_len(&duel.ours.received) < 5) {
        run_loop_ms(resume->world->loop, 1);
    }
    assert_int_equal(bytebuf_len(&duel.ours.received), 5);
    assert_memory_equal(bytebuf_data(&duel.ours.received), "later", 5);
    duel_fini(&duel);
    SSL_SESSION_free(session);
}

/* ---- a client that writes and closes without reading ---- */

enum { UPLOAD = 64 * 1024 * 1024, UPLOAD_PIECE = 128 * 1024 };

struct upload {
    struct world *world;
    int fd;
    SSL_SESSION *session;
    bool resumed;
    size_t sent;
};

static void *upload(void *arg)
{
    struct upload *upload = arg;
    static uint8_t piece[UPLOAD_PIECE];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_use_certificate(ctx, upload->world->peer.cert);
    SSL_CTX_use_PrivateKey(ctx, upload->world->peer.key);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, upload->fd);
    if (upload->session != NULL) {
        SSL_set_session(ssl, upload->session);
    }
    if (SSL_connect(ssl) == 1) {
        upload->resumed = SSL_session_reused(ssl) == 1;
        size_t n = 0;
        while (upload->sent < UPLOAD && SSL_write_ex(ssl, piece, sizeof(piece), &n) == 1) {
            upload->sent += n;
        }
        (void)SSL_shutdown(ssl); /* close_notify, and not a byte read since the handshake */
    }
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    (void)close(upload->fd);
    return NULL;
}

struct sink {
    struct conn *conn;
    size_t received;
    enum conn_end end;
};

static void sink_on_readable(void *arg)
{
    struct sink *sink = arg;
    struct conn_input input;
    conn_read(sink->conn, TLS_READ_MAX, &input);
    sink->received += input.len;
    sink->end = input.end;
    if (input.end != CONN_END_NONE) {
        conn_stop_reading(sink->conn);
    }
}

static bool sink_has_ended(void *arg)
{
    const struct sink *sink = arg;
    return sink->end != CONN_END_NONE;
}

static void loses_nothing(struct resume *resume, SSL_SESSION *session)
{
    static const struct conn_handler handler = {sink_on_readable, ours_on_drained,
                                                ours_on_write_failed};
    int fds[2];
    tcp_pair(fds);
    (void)fcntl(fds[1], F_SETFL, fcntl(fds[1], F_GETFL) & ~O_NONBLOCK);
    struct upload client = {.world = resume->world, .fd = fds[1], .session = session};
    struct ours ours = {.paused = true};
    ours_accept(resume->world, &ours, resume->server, fds[0]);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, upload, &client), 0);
    run_until(resume->world, ours_was_called, &ours);
    assert_true(ours.open);
    struct sink sink = {.conn = ours.conn};
    conn_set_handler(ours.conn, &handler, &sink);
    assert_int_equal(conn_want_read(ours.conn, true), 0);
    run_until(resume->world, sink_has_ended, &sink);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(client.sent, UPLOAD);
    assert_int_equal(client.resumed, session != NULL);
    assert_int_equal(sink.received, UPLOAD);
    assert_int_equal(sink.end, CONN_END_CLEAN);
    ours_fini(&ours);
}

static void test_a_client_that_never_reads_loses_nothing(void **state)
{
    struct resume *resume = *state;
    loses_nothing(resume, NULL);
    SSL_SESSION *session = get_session(resume);
    loses_nothing(resume, session);
    SSL_SESSION_free(session);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_resume, teardown_resume)
    const struct CMUnitTest tests[] = {
        TEST(test_psk_without_key_exchange_is_not_accepted),
        TEST(test_no_ticket_for_a_client_that_could_not_use_it),
        TEST(test_damaged_offers),
        TEST(test_a_retried_hello_resumes),
        TEST(test_early_data_is_not_accepted),
        TEST(test_a_client_that_never_reads_loses_nothing),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
