/*
 * session: from accept to its end: the handshake's ways to fail, the plaintext way around it, time,
 * eviction, drain, and which counts stand meanwhile.
 */
#include "proxy_test.h"
#include "unit/tls/damaged.h"

#include <malloc.h>

#include "proxy/handshakes.h"
#include "spiffe/crypto_memory.h"

/* A site with the listeners `in` (mtls) and, where it makes sense, `out` (plaintext). */
static struct site *site_to(const struct backend *backend, const char *more)
{
    char text[1536];
    (void)snprintf(text, sizeof(text),
                   "listeners:\n"
                   "  - {name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s'%s}\n"
                   "  - {name: out, accept: 'tcp://127.0.0.1:0', forward: 'mtls://%s',\n"
                   "     expect: '" PEER_ID "'}\n" ALLOW_PEER,
                   backend->host_port, more, backend->host_port);
    return site_new(text);
}

static bool is_in_handshake(void *arg)
{
    const struct session *session = site_session(arg);
    return session != NULL && session->state < SESSION_SERVING;
}

static bool is_serving(void *arg)
{
    const struct session *session = site_session(arg);
    return session != NULL && session->state == SESSION_SERVING;
}

/* What a client does instead of a handshake. */
enum client_kind {
    CLIENT_LEAVES,       /* before its first byte */
    CLIENT_LEAVES_LATER, /* in the middle */
    CLIENT_RESETS,
    CLIENT_SPEAKS_PLAINTEXT,
    CLIENT_SILENT,
    CLIENT_OUTLIVES /* a byte now and then doesn't buy time */
};

struct client_case {
    enum client_kind kind;
    enum reason reason;
    bool logged;
};

static void act(struct site *site, enum client_kind kind, int fd)
{
    static const char hello[] = {0x16, 0x03, 0x01};
    switch (kind) {
    case CLIENT_LEAVES:
        assert_return_code(shutdown(fd, SHUT_RDWR), errno);
        break;
    case CLIENT_LEAVES_LATER:
        assert_int_equal(send(fd, "\x16\x03", 2, MSG_NOSIGNAL), 2);
        assert_return_code(shutdown(fd, SHUT_RDWR), errno);
        break;
    case CLIENT_RESETS:
        assert_int_equal(send(fd, "\x16\x03", 2, MSG_NOSIGNAL), 2);
        break;
    case CLIENT_SPEAKS_PLAINTEXT:
        assert_int_equal(send(fd, "GET / HTTP/1.0\r\n", 16, MSG_NOSIGNAL), 16);
        break;
    case CLIENT_OUTLIVES:
        for (int i = 0; i < 3 && site_session(site) != NULL; i++) {
            (void)send(fd, &hello[i], 1, MSG_NOSIGNAL);
            run_loop_ms(site->world.loop, 20);
        }
        break;
    case CLIENT_SILENT:
        break;
    }
}

static void run_client_case(const struct client_case *c)
{
    struct backend backend;
    backend_open(&backend);
    struct site *site = site_to(
        &backend, c->reason == REASON_HANDSHAKE_TIMEOUT ? ", timeouts: {handshake: 300ms}" : "");
    int fd = site_dial(site, 0);
    run_until(&site->world, is_in_handshake, site);
    assert_int_equal(site->limits.process.handshakes, 1);
    assert_int_equal(site->limits.listeners[0].handshakes, 1);
    assert_int_equal(site->limits.process.sessions, 1);
    assert_int_equal(site->limits.listeners[1].sessions, 0);
    act(site, c->kind, fd);
    if (c->kind == CLIENT_RESETS) {
        reset_fd(fd);
    }
    run_until(&site->world, site_has_none, site);
    assert_int_equal(site->limits.process.handshakes, 0);
    assert_int_equal(site->limits.process.sessions, 0);
    if (c->logged) {
        assert_ended(site, c->reason, "deny");
        assert_line_lacks(site, "\"downstream_id\"");
        assert_line_lacks(site, "\"upstream\"");
    } else {
        assert_int_equal(site_ended(site, c->reason), 1);
    }
    assert_false(backend_accepted(&backend));
    if (c->kind != CLIENT_RESETS) {
        (void)close(fd);
    }
    run_until(&site->world, site_is_quiet, site);
    assert_int_equal(site_read_lines(site), c->logged ? 1 : 0);
    site_free(site);
    (void)close(backend.listening);
}

static void test_session_handshakes_that_fail(void **state)
{
    (void)state;
    static const struct client_case cases[] = {
        {CLIENT_LEAVES, REASON_CLOSED_BEFORE_HELLO, false},
        {CLIENT_LEAVES_LATER, REASON_HANDSHAKE_CLOSED, true},
        {CLIENT_RESETS, REASON_HANDSHAKE_CLOSED, true},
        {CLIENT_SPEAKS_PLAINTEXT, REASON_TLS_NOT_TLS, true},
        {CLIENT_SILENT, REASON_HANDSHAKE_TIMEOUT, true},
        {CLIENT_OUTLIVES, REASON_HANDSHAKE_TIMEOUT, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_client_case(&cases[i]);
    }
}

/* A refused session has ended; what is left of it counts as lingering until the client leaves. */
static void test_session_refused_lingers_and_is_counted(void **state)
{
    (void)state;
    struct backend backend;
    backend_open(&backend);
    struct site *site = site_to(&backend, "");
    int fd = site_dial(site, 0);
    assert_int_equal(send(fd, "GET / HTTP/1.0\r\n", 16, MSG_NOSIGNAL), 16);
    assert_ended(site, REASON_TLS_NOT_TLS, "deny");
    assert_int_equal(site->limits.process.sessions, 0);
    assert_int_equal(site->limits.descriptors, 1);
    (void)close(fd);
    run_until(&site->world, site_is_quiet, site);
    assert_int_equal(site->limits.descriptors, 0);
    site_free(site);
    (void)close(backend.listening);
}

static void test_session_certificate_that_cannot_be_parsed(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        struct backend backend;
        struct peer peer;
        backend_open(&backend);
        struct site *site = site_to(&backend, "");
        struct identity damaged = make_damaged(&site->world, DAMAGE_OID_PADDED);
        const struct peer_options options = {.version = versions[i], .show = &damaged};
        peer_init(&site->world, &peer, &options, site_dial(site, 0));
        run_until(&site->world, peer_has_ended, &peer);
        assert_ended(site, REASON_SVID_MALFORMED, "deny");
        assert_line_has(site, "\"detail\"");
        assert_line_lacks(site, "\"downstream_id\"");
        assert_line_lacks(site, "\"claimed_id\"");
        assert_false(backend_accepted(&backend));
        peer_fini(&peer);
        site_free(site);
        free_identity(&damaged);
        (void)close(backend.listening);
    }
}

/* From outside, in the handshake: by the one who makes room, and by one who stops. */
static void test_session_ended_in_its_handshake(void **state)
{
    (void)state;
    static const enum reason reasons[] = {REASON_HANDSHAKE_EVICTED, REASON_STOPPED,
                                          REASON_DRAIN_DEADLINE};
    for (size_t i = 0; i < 3; i++) {
        struct backend backend;
        backend_open(&backend);
        struct site *site = site_to(&backend, "");
        int fd = site_dial(site, 0);
        run_until(&site->world, is_in_handshake, site);
        assert_false(site_has_no_handshakes(site));
        session_end(site_session(site), reasons[i], NULL);
        assert_null(site_session(site)); /* at once; the memory goes at the end of the turn */
        assert_int_equal(wait_for_end(site, fd), ECONNRESET);
        assert_ended(site, reasons[i], "deny");
        (void)close(fd);
        site_free(site);
        (void)close(backend.listening);
    }
}

static bool is_answered(void *arg)
{
    const struct session *session = site_session(arg);
    return session != NULL && session->state == SESSION_HANDSHAKE;
}

static int make_client_hello(void *out, int size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    assert_non_null(ssl);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    assert_int_equal(SSL_connect(ssl), -1);
    int len = BIO_read(SSL_get_wbio(ssl), out, size);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return len;
}

/* The beginning of a ClientHello, or a whole one with nothing behind it. */
enum hello_kind { HELLO_NONE, HELLO_BEGUN, HELLO_WHOLE };

/* A client that sends no more than that. Its TLS, where it has some, is left to itself. */
static int stalled_client(struct site *site, size_t listener, enum hello_kind kind)
{
    int fd = site_dial(site, listener);
    if (kind == HELLO_BEGUN) {
        assert_int_equal(send(fd, "\x16\x03", 2, MSG_NOSIGNAL), 2);
    } else if (kind == HELLO_WHOLE) {
        uint8_t hello[2048];
        int len = make_client_hello(hello, sizeof(hello));
        assert_true(len > 0);
        assert_int_equal(send(fd, hello, (size_t)len, MSG_NOSIGNAL), len);
    }
    run_until(&site->world, kind == HELLO_WHOLE ? is_answered : is_in_handshake, site);
    return fd;
}

/* limits.handshakes 1: an unfinished one gives way, soon without a whole hello, else later. */
static void test_session_overdue_handshakes_give_way(void **state)
{
    (void)state;
    static const struct {
        enum hello_kind kind;
        const char *limits; /* of the process, or of the listener */
        uint64_t least_ms;
        uint64_t most_ms;
    } cases[] = {
        {HELLO_NONE, ", limits: {handshakes: 1}", HANDSHAKES_HELLO_MS, HANDSHAKES_ANSWER_MS},
        {HELLO_BEGUN, ", limits: {handshakes: 1}", HANDSHAKES_HELLO_MS, HANDSHAKES_ANSWER_MS},
        {HELLO_WHOLE, ", limits: {handshakes: 1}", HANDSHAKES_ANSWER_MS, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct backend backend;
        struct peer peer;
        backend_open(&backend);
        struct site *site = site_to(&backend, cases[i].limits);
        int stalled = stalled_client(site, 0, cases[i].kind);
        uint64_t entered = site_session(site)->entered_ms;
        const struct peer_options options = {.show = &site->world.peer};
        peer_init(&site->world, &peer, &options, site_dial(site, 0));
        while (site_ended(site, REASON_HANDSHAKE_EVICTED) == 0) {
            run_loop_ms(site->world.loop, 1);
        }
        assert_in_range(loop_now_ms(site->world.loop) - entered, cases[i].least_ms,
                        cases[i].most_ms);
        run_until(&site->world, backend_accepted, &backend);
        assert_int_equal(site_ended(site, REASON_HANDSHAKE_EVICTED), 1);
        assert_int_equal(wait_for_end(site, stalled), ECONNRESET);
        assert_int_equal(site_session(site)->state, SESSION_SERVING);
        peer_fini(&peer);
        (void)close(stalled);
        backend_hang_up(&backend);
        site_free(site);
        (void)close(backend.listening);
    }
}

/* A listener's own bound is none of the others' business. */
static void test_session_a_listeners_bound_spares_the_others(void **state)
{
    (void)state;
    struct backend backend;
    struct peer peer;
    char text[1024];
    backend_open(&backend);
    (void)snprintf(
        text, sizeof(text),
        "listeners:\n"
        "  - {name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s',\n"
        "     limits: {handshakes: 1}}\n"
        "  - {name: other, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s'}\n" ALLOW_PEER,
        backend.host_port, backend.host_port);
    struct site *site = site_new(text);
    int older = stalled_client(site, 1, HELLO_NONE);
    struct session *spared = site_session(site);
    int stalled = site_dial(site, 0);
    const struct peer_options options = {.show = &site->world.peer};
    peer_init(&site->world, &peer, &options, site_dial(site, 0));
    run_until(&site->world, backend_accepted, &backend);
    assert_int_equal(site_ended(site, REASON_HANDSHAKE_EVICTED), 1);
    assert_int_equal(wait_for_end(site, stalled), ECONNRESET);
    assert_ptr_equal(site_session(site), spared);
    assert_int_equal(spared->state, SESSION_HELLO);
    (void)close(older);
    (void)close(stalled);
    peer_fini(&peer);
    backend_hang_up(&backend);
    site_free(site);
    (void)close(backend.listening);
}

/* Who is overdue stays as long as nobody waits for the place. */
static void test_session_nobody_gives_way_to_nobody(void **state)
{
    (void)state;
    struct backend backend;
    backend_open(&backend);
    struct site *site = site_to(&backend, ", limits: {handshakes: 1}");
    int fd = stalled_client(site, 0, HELLO_NONE);
    run_loop_ms(site->world.loop, 3 * HANDSHAKES_HELLO_MS);
    assert_true(is_in_handshake(site));
    assert_int_equal(site_ended(site, REASON_HANDSHAKE_EVICTED), 0);
    (void)close(fd);
    site_free(site);
    (void)close(backend.listening);
}

static void test_session_plaintext_has_no_handshake(void **state)
{
    (void)state;
    struct backend backend;
    backend_open(&backend);
    struct site *site = site_to(&backend, ", limits: {handshakes: 1}");
    int fd = site_dial(site, 1);
    run_until(&site->world, site_has_session, site);
    assert_int_equal(site_session(site)->state, SESSION_SERVING);
    assert_true(site_has_no_handshakes(site));
    assert_int_equal(site->limits.process.handshakes, 0);
    assert_int_equal(site->limits.listeners[1].sessions, 1);
    session_end(site_session(site), REASON_STOPPED, NULL);
    assert_int_equal(wait_for_end(site, fd), ECONNRESET);
    (void)close(fd);
    site_free(site);
    (void)close(backend.listening);
}

static void test_session_passes_its_handshake(void **state)
{
    (void)state;
    struct backend backend;
    struct peer peer;
    backend_open(&backend);
    struct site *site = site_to(&backend, ", timeouts: {handshake: 20s, idle: 1h}");
    const struct peer_options options = {.show = &site->world.peer};
    peer_init(&site->world, &peer, &options, site_dial(site, 0));
    run_until(&site->world, is_serving, site);
    assert_true(site_has_no_handshakes(site));
    assert_int_equal(site->limits.process.handshakes, 0);
    assert_int_equal(site->limits.process.sessions, 1);
    run_until(&site->world, backend_accepted, &backend);
    run_until(&site->world, is_relaying, site);
    /* The handshake's deadline is off. */
    assert_true(site_session(site)->timer_due_ms - loop_now_ms(site->world.loop) > 60000);
    assert_int_equal(send(backend.fd, "x", 1, MSG_NOSIGNAL), 1);
    backend_hang_up(&backend);
    peer_fini(&peer);
    site_free(site);
    (void)close(backend.listening);
}

/* Past the handshake its deadline is off, also before there is a relay with deadlines of its own.
 */
static void test_session_has_no_deadline_while_dialling(void **state)
{
    (void)state;
    struct hanging hanging;
    struct backend nowhere = {.listening = -1, .fd = -1};
    struct peer peer;
    hanging_open(&hanging);
    memcpy(nowhere.host_port, hanging.host_port, sizeof(nowhere.host_port));
    struct site *site = site_to(&nowhere, "");
    const struct peer_options options = {.show = &site->world.peer};
    peer_init(&site->world, &peer, &options, site_dial(site, 0));
    run_until(&site->world, is_serving, site);
    assert_int_equal(site_session(site)->exchange.state, EXCHANGE_DIAL);
    assert_false(timer_is_set(site_session(site)->timer));
    assert_true(site_session(site)->timer_due_ms == UINT64_MAX);
    session_end(site_session(site), REASON_STOPPED, NULL);
    assert_ended(site, REASON_STOPPED, "close");
    peer_fini(&peer);
    site_free(site);
    hanging_close(&hanging);
}

/* ---- memory is out ---- */

/* Set: libcrypto and libssl get no memory. */
static bool memory_is_out;

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return memory_is_out ? NULL : malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return memory_is_out ? NULL : realloc(old, size);
}

/* Before anything else of libcrypto is used. Its own way to free stays. */
static bool take_memory_over(void)
{
    CRYPTO_free_fn free_block = NULL;
    if (!crypto_memory_install()) {
        return false;
    }
    CRYPTO_get_mem_functions(NULL, NULL, &free_block);
    return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, free_block) == 1;
}

struct lines {
    char text[4096];
    size_t count;
};

static void keep_line(void *arg, const char *line, size_t len)
{
    struct lines *lines = arg;
    lines->count++;
    (void)snprintf(lines->text, sizeof(lines->text), "%.*s", (int)len, line);
}

static bool two_connections_failed(void *arg)
{
    return site_ended(arg, REASON_OUT_OF_MEMORY) == 2;
}

/* A connection for which there is no session ends: closed, counted, its places given back, and told
   once, however many there are. */
static void test_session_without_memory(void **state)
{
    (void)state;
    struct backend backend;
    struct lines lines = {.count = 0};
    backend_open(&backend);
    struct site *site = site_to(&backend, ", limits: {handshakes: 1}");
    log_init(&site->worker->log, LOG_WARN, LOG_FORMAT_TEXT, keep_line, &lines);
    int fds[2] = {site_dial(site, 0), site_dial(site, 0)};
    memory_is_out = true;
    run_until(&site->world, two_connections_failed, site);
    memory_is_out = false;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(wait_for_end(site, fds[i]), 0);
        (void)close(fds[i]);
    }
    assert_null(site_session(site));
    assert_int_equal(lines.count, 1);
    assert_non_null(strstr(lines.text, "level=warn event=session_failed listener=in worker=0 "));
    int fd = stalled_client(site, 0, HELLO_NONE); /* and the next one is served */
    (void)close(fd);
    site_free(site);
    (void)close(backend.listening);
}

/* ---- drain ---- */

static bool control_heard_idle(void *arg)
{
    return ((struct site *)arg)->said_idle > 0;
}

static bool control_heard_not_accepting(void *arg)
{
    return ((struct site *)arg)->said_not_accepting > 0;
}

/* A worker that has stopped accepting has closed its listening sockets. */
static void expect_sockets_closed(struct site *site)
{
    site->descriptors -= site->snapshot->setup->config->listener_count;
}

/* Lets control read its mailbox. */
static void control_until(struct site *site, bool (*done)(void *arg))
{
    struct world control = {.loop = site->control_loop};
    run_until(&control, done, site);
}

static bool worker_is_draining(void *arg)
{
    return ((struct site *)arg)->worker->draining;
}

/* Every order that ends a process, again and again, and the answers: no memory is asked for. */
static void test_session_orders_take_no_memory(void **state)
{
    (void)state;
    struct backend backend;
    backend_open(&backend);
    struct site *site = site_to(&backend, "");
    assert_non_null(site->worker->to_say[WORKER_SAYS_NOT_ACCEPTING]);
    assert_non_null(site->worker->to_say[WORKER_SAYS_IDLE]);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 100; i++) {
        worker_order(site->worker, WORKER_CLOCK_SET, REASON_NONE);
        worker_order(site->worker, WORKER_CUT, REASON_DRAIN_DEADLINE);
        worker_order(site->worker, WORKER_STOP_ACCEPTING, REASON_NONE);
    }
    assert_int_equal(mallinfo2().uordblks, before);
    run_until(&site->world, worker_is_draining, site);
    assert_null(site->worker->to_say[WORKER_SAYS_NOT_ACCEPTING]);
    assert_null(site->worker->to_say[WORKER_SAYS_IDLE]);
    control_until(site, control_heard_idle);
    assert_int_equal(site->said_not_accepting, 1);
    assert_int_equal(site->said_idle, 1);
    /* What was carried out may be given again. */
    worker_order(site->worker, WORKER_STOP_ACCEPTING, REASON_NONE);
    worker_order(site->worker, WORKER_EXIT, REASON_NONE);
    loop_run(site->worker->loop);
    expect_sockets_closed(site);
    site_free(site);
    (void)close(backend.listening);
}

/* Draining, a session that is still dialling may go on; the deadline ends it, and then the worker
   says that it is idle, once. */
static void test_session_drain_while_dialling(void **state)
{
    (void)state;
    struct backend backend;
    backend_open(&backend);
    struct site *site = site_to(&backend, "");
    int fd = site_dial(site, 1);
    run_until(&site->world, is_serving, site);
    worker_order(site->worker, WORKER_STOP_ACCEPTING, REASON_NONE);
    run_until(&site->world, worker_is_draining, site);
    control_until(site, control_heard_not_accepting);
    assert_int_equal(site->said_idle, 0);
    assert_non_null(site_session(site));
    worker_order(site->worker, WORKER_CUT, REASON_DRAIN_DEADLINE);
    assert_int_equal(wait_for_end(site, fd), ECONNRESET);
    assert_ended(site, REASON_DRAIN_DEADLINE, "close");
    control_until(site, control_heard_idle);
    assert_int_equal(site->said_idle, 1);
    assert_int_equal(site->said_not_accepting, 1);
    (void)close(fd);
    expect_sockets_closed(site);
    site_free(site);
    (void)close(backend.listening);
}

/* What is in the kernel's queue when the drain begins is still accepted. */
static void test_session_drain_takes_who_is_queued(void **state)
{
    (void)state;
    struct backend backend;
    backend_open(&backend);
    struct site *site = site_to(&backend, "");
    int fds[] = {site_dial(site, 1), site_dial(site, 1), site_dial(site, 1)};
    worker_order(site->worker, WORKER_STOP_ACCEPTING, REASON_NONE);
    run_until(&site->world, worker_is_draining, site);
    assert_int_equal(site->worker->session_count, 3);
    worker_order(site->worker, WORKER_CUT, REASON_DRAIN_DEADLINE);
    run_until(&site->world, site_has_none, site);
    assert_int_equal(site_ended(site, REASON_DRAIN_DEADLINE), 3);
    control_until(site, control_heard_idle);
    assert_int_equal(site->said_idle, 1);
    for (size_t i = 0; i < 3; i++) {
        (void)close(fds[i]);
    }
    expect_sockets_closed(site);
    site_free(site);
    (void)close(backend.listening);
}

int main(void)
{
    if (!take_memory_over()) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_handshakes_that_fail),
        cmocka_unit_test(test_session_refused_lingers_and_is_counted),
        cmocka_unit_test(test_session_certificate_that_cannot_be_parsed),
        cmocka_unit_test(test_session_ended_in_its_handshake),
        cmocka_unit_test(test_session_overdue_handshakes_give_way),
        cmocka_unit_test(test_session_a_listeners_bound_spares_the_others),
        cmocka_unit_test(test_session_nobody_gives_way_to_nobody),
        cmocka_unit_test(test_session_without_memory),
        cmocka_unit_test(test_session_orders_take_no_memory),
        cmocka_unit_test(test_session_drain_while_dialling),
        cmocka_unit_test(test_session_drain_takes_who_is_queued),
        cmocka_unit_test(test_session_plaintext_has_no_handshake),
        cmocka_unit_test(test_session_has_no_deadline_while_dialling),
        cmocka_unit_test(test_session_passes_its_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
