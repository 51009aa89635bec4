/*
 * upstream: resolving, dialling and the handshake: how each can end, and giving up in each.
 */
#include "proxy_test.h"
#include "unit/net/dns_server.h"
#include "unit/tls/damaged.h"

#include <sys/resource.h>

#define EXPECT_PEER "expect: '" PEER_ID "'"

/* One dial, and everything that was told of it. */
struct dial {
    struct site *site;
    struct dns_server dns;
    struct upstream upstream;
    bool inside; /* upstream_start is on the stack */
    unsigned called;
    struct conn *conn;
    enum reason reason;
    bool had_failure;
    char detail[256];
    enum reason check; /* what peer_check answers */
    bool checked;
};

static void on_done(void *arg, struct conn *conn, enum reason reason,
                    const struct tls_failure *failure, const char *detail)
{
    struct dial *dial = arg;
    assert_false(dial->inside);
    assert_int_equal(conn != NULL, reason == REASON_NONE);
    assert_true(failure == NULL || failure->reason == reason);
    assert_non_null(detail);
    dial->called++;
    dial->conn = conn;
    dial->reason = reason;
    dial->had_failure = failure != NULL;
    (void)snprintf(dial->detail, sizeof(dial->detail), "%s", detail);
}

static enum reason on_peer_check(void *arg, struct peer_chain *chain, char *detail, size_t size)
{
    struct dial *dial = arg;
    dial->checked = true;
    assert_true(strview_equal_text(peer_chain_id(chain)->text, PEER_ID));
    (void)snprintf(detail, size, "said the check");
    return dial->check;
}

static const struct upstream_owner owner = {.on_done = on_done, .peer_check = on_peer_check};

/* more: further keys of the listener, or "". */
static struct dial *dial_new(const char *forward, const char *more)
{
    struct dial *dial = mem_alloc(sizeof(*dial));
    char text[1024];
    struct errbuf err;
    bool mtls = strncmp(forward, "mtls", 4) == 0;
    (void)snprintf(text, sizeof(text),
                   "listeners: [{name: a, accept: '%s://127.0.0.1:0', forward: '%s'%s%s}]\n%s",
                   mtls ? "tcp" : "mtls", forward, mtls ? ", " EXPECT_PEER : "", more,
                   mtls ? "" : ALLOW_PEER);
    dial->site = site_new(text);
    resolver_free(dial->site->worker->resolver);
    dns_server_start(&dial->dns, dial->site->world.loop);
    dial->dns.network = 127;
    dial->site->descriptors = open_descriptors();
    dial->site->worker->resolver =
        resolver_new_with_servers(dial->site->world.loop, dial->dns.address, &err);
    assert_non_null(dial->site->worker->resolver);
    return dial;
}

static void dial_start(struct dial *dial)
{
    struct site *site = dial->site;
    dial->inside = true;
    upstream_start(&dial->upstream, site->worker, &site->snapshot->setup->listeners[0], NULL,
                   &owner, dial);
    dial->inside = false;
    assert_int_equal(dial->called, 0);
}

/* No socket can be made. */
static void dial_start_without_descriptors(struct dial *dial)
{
    struct rlimit before;
    assert_return_code(getrlimit(RLIMIT_NOFILE, &before), errno);
    const struct rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_return_code(setrlimit(RLIMIT_NOFILE, &none), errno);
    dial_start(dial);
    assert_return_code(setrlimit(RLIMIT_NOFILE, &before), errno);
}

static bool dial_is_done(void *arg)
{
    return ((struct dial *)arg)->called > 0;
}

static void dial_run(struct dial *dial)
{
    dial_start(dial);
    run_until(&dial->site->world, dial_is_done, dial);
}

static void dial_free(struct dial *dial)
{
    conn_close(dial->conn);
    upstream_cancel(&dial->upstream); /* safe when done */
    assert_true(dial->called <= 1);
    assert_null(dial->upstream.timer);
    assert_null(dial->upstream.addresses);
    resolver_free(dial->site->worker->resolver);
    dial->site->worker->resolver = NULL;
    site_assert_quiet(dial->site);
    dns_server_stop(&dial->dns);
    dial->site->descriptors = open_descriptors();
    site_free(dial->site);
    upstream_fini(&dial->upstream);
    mem_free(dial);
}

static void assert_failed(struct dial *dial, enum reason reason)
{
    if (dial->reason != reason) {
        fail_msg("%s instead of %s", reason_label(dial->reason), reason_label(reason));
    }
    assert_int_equal(dial->called, 1);
    assert_null(dial->conn);
}

static bool dial_is_handshaking(void *arg)
{
    return ((struct dial *)arg)->upstream.conn != NULL;
}

/* ---- connecting ---- */

static void test_upstream_refused(void **state)
{
    (void)state;
    struct backend backend;
    char forward[FORWARD_SIZE];
    backend_open(&backend);
    (void)close(backend.listening);
    (void)snprintf(forward, sizeof(forward), "tcp://%s", backend.host_port);
    struct dial *dial = dial_new(forward, "");
    dial_run(dial);
    assert_failed(dial, REASON_UPSTREAM_CONNECT_REFUSED);
    assert_string_equal(dial->detail, ""); /* the reason says it */
    assert_false(dial->had_failure);
    assert_int_equal(dial->upstream.address.len, backend.addr.len); /* for the access line */
    dial_free(dial);
}

static void test_upstream_connect_timeout(void **state)
{
    (void)state;
    struct hanging hanging;
    char forward[FORWARD_SIZE];
    hanging_open(&hanging);
    (void)snprintf(forward, sizeof(forward), "tcp://%s", hanging.host_port);
    struct dial *dial = dial_new(forward, ", timeouts: {connect: 80ms}");
    dial_run(dial);
    assert_failed(dial, REASON_UPSTREAM_CONNECT_TIMEOUT);
    dial_free(dial);
    hanging_close(&hanging);
}

static void test_upstream_missing_unix_socket(void **state)
{
    (void)state;
    struct dial *dial = dial_new("unix:///nonexistent/bulkhead.sock", "");
    dial_run(dial);
    assert_failed(dial, REASON_UPSTREAM_CONNECT_FAILED);
    assert_string_equal(dial->detail, "No such file or directory");
    dial_free(dial);
}

/* Told later all the same, never from inside upstream_start. */
static void test_upstream_out_of_descriptors(void **state)
{
    (void)state;
    struct backend backend;
    char forward[FORWARD_SIZE];
    backend_open(&backend);
    (void)snprintf(forward, sizeof(forward), "tcp://%s", backend.host_port);
    struct dial *dial = dial_new(forward, "");
    dial_start_without_descriptors(dial);
    run_until(&dial->site->world, dial_is_done, dial);
    assert_failed(dial, REASON_OUT_OF_DESCRIPTORS);
    dial_free(dial);
    (void)close(backend.listening);
}

static void test_upstream_plain_connects(void **state)
{
    (void)state;
    struct backend backend;
    char forward[FORWARD_SIZE];
    backend_open(&backend);
    (void)snprintf(forward, sizeof(forward), "tcp://%s", backend.host_port);
    struct dial *dial = dial_new(forward, "");
    dial_run(dial);
    assert_int_equal(dial->reason, REASON_NONE);
    assert_false(dial->checked);
    assert_true(dial->upstream.local.len > 0);
    run_until(&dial->site->world, backend_accepted, &backend);
    backend_hang_up(&backend);
    dial_free(dial);
    (void)close(backend.listening);
}

/* ---- names ---- */

struct name_case {
    const char *forward;
    enum dns_mode mode;
    uint8_t network;
    enum reason reason;
};

static void test_upstream_names_that_lead_nowhere(void **state)
{
    (void)state;
    static const struct name_case cases[] = {
        {"tcp://backend.test:9", DNS_NXDOMAIN, 127, REASON_UPSTREAM_RESOLVE_FAILED},
        {"tcp://backend.test:9", DNS_SERVFAIL, 127, REASON_UPSTREAM_RESOLVE_FAILED},
        {"tcp://backend.test:9", DNS_SILENT, 127, REASON_UPSTREAM_RESOLVE_FAILED},
        {"mtls://backend.test:9", DNS_NXDOMAIN, 127, REASON_UPSTREAM_RESOLVE_FAILED},
        {"tcp://backend.test:9", DNS_ANSWER, 10, REASON_PLAINTEXT_OFF_LOOPBACK},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dial *dial = dial_new(
            cases[i].forward, cases[i].mode == DNS_SILENT ? ", timeouts: {connect: 300ms}" : "");
        dial->dns.mode = cases[i].mode;
        dial->dns.network = cases[i].network;
        dial_run(dial);
        assert_failed(dial, cases[i].reason);
        bool resolved = cases[i].mode == DNS_ANSWER;
        assert_int_equal(dial->detail[0] == '\0', resolved);
        assert_int_equal(dial->upstream.local.len, 0); /* nothing was connected */
        dial_free(dial);
    }
}

/* Listens on `ip` alone; the name's other addresses refuse. */
static void listen_at(struct backend *backend, const char *ip)
{
    *backend = (struct backend){.fd = -1};
    backend->listening = listen_on(ip, 8, &backend->addr);
    set_nonblocking(backend->listening);
}

static struct dial *dial_name(const struct backend *backend, const char *scheme)
{
    char forward[FORWARD_SIZE];
    (void)snprintf(forward, sizeof(forward), "%s://backend.test:%u", scheme,
                   (unsigned)ntohs(backend->addr.u.in.sin_port));
    return dial_new(forward, "");
}

static void test_upstream_tries_each_address_that_refuses(void **state)
{
    (void)state;
    static const char *const ips[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    size_t tried = 0;
    for (size_t i = 0; i < 3; i++) {
        struct backend backend;
        listen_at(&backend, ips[i]);
        struct dial *dial = dial_name(&backend, "tcp");
        dial->dns.a_count = 3;
        dial_run(dial);
        assert_int_equal(dial->reason, REASON_NONE);
        tried += dial->upstream.next_address;
        run_until(&dial->site->world, backend_accepted, &backend);
        backend_hang_up(&backend);
        dial_free(dial);
        (void)close(backend.listening);
    }
    assert_int_equal(tried, 1 + 2 + 3); /* whatever the order of the three is */
}

static void test_upstream_every_address_refuses(void **state)
{
    (void)state;
    struct backend backend;
    listen_at(&backend, "127.0.0.1");
    (void)close(backend.listening);
    struct dial *dial = dial_name(&backend, "tcp");
    dial->dns.a_count = 3;
    dial_run(dial);
    assert_failed(dial, REASON_UPSTREAM_CONNECT_REFUSED);
    assert_int_equal(dial->upstream.next_address, 3);
    dial_free(dial);
}

static void test_upstream_leaves_out_addresses_off_the_loopback(void **state)
{
    (void)state;
    struct backend backend;
    listen_at(&backend, "127.0.0.1");
    struct dial *dial = dial_name(&backend, "tcp");
    dial->dns.aaaa_count = 2; /* fd00::1, fd00::2 */
    dial_run(dial);
    assert_int_equal(dial->reason, REASON_NONE);
    struct netaddr dialled = netaddr_of(&dial->upstream.address);
    assert_true(netaddr_is_loopback(&dialled));
    dial_free(dial);
    (void)close(backend.listening);
}

/* ---- handshakes ---- */

enum server_kind {
    SERVER_GOOD,
    SERVER_REFUSED_BY_CHECK,
    SERVER_SILENT,
    SERVER_CLOSES,
    SERVER_SPEAKS_PLAINTEXT,
    SERVER_OF_A_STRANGER,
    SERVER_DAMAGED
};

struct server_case {
    enum server_kind kind;
    enum reason reason;
    bool judged; /* there is a TLS failure to tell of */
};

static void serve(struct dial *dial, enum server_kind kind, const struct identity *show,
                  struct backend *backend, struct peer *peer)
{
    const struct peer_options options = {.server = true, .show = show};
    if (kind == SERVER_SILENT) {
        return;
    }
    if (kind == SERVER_CLOSES) {
        backend_hang_up(backend);
    } else if (kind == SERVER_SPEAKS_PLAINTEXT) {
        assert_int_equal(send(backend->fd, "HTTP/1.1 400 no\r\n", 17, MSG_NOSIGNAL), 17);
    } else {
        peer_init(&dial->site->world, peer, &options, backend->fd);
        backend->fd = -1; /* the peer's now */
    }
}

static const struct identity *identity_of(struct dial *dial, enum server_kind kind,
                                          struct identity *made)
{
    struct world *world = &dial->site->world;
    if (kind == SERVER_OF_A_STRANGER) {
        struct identity anchor = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
        *made = make_identity(&anchor, PEER_ID, false, -HOUR, HOUR);
        free_identity(&anchor);
        return made;
    }
    if (kind == SERVER_DAMAGED) {
        *made = make_damaged(world, DAMAGE_OID_PADDED);
        return made;
    }
    return &world->peer;
}

/* A name of three addresses, all of which answer: only one of them may be asked. */
static void run_server_case(const struct server_case *c)
{
    struct backend backend;
    struct peer peer = {.fd = -1};
    struct identity made = {0};
    char forward[FORWARD_SIZE];
    listen_at(&backend, "0.0.0.0");
    (void)snprintf(forward, sizeof(forward), "mtls://backend.test:%u",
                   (unsigned)ntohs(backend.addr.u.in.sin_port));
    struct dial *dial =
        dial_new(forward, c->kind == SERVER_SILENT ? ", timeouts: {handshake: 300ms}" : "");
    dial->dns.a_count = 3;
    dial->check = c->kind == SERVER_REFUSED_BY_CHECK ? REASON_POLICY_NOT_EXPECTED : REASON_NONE;
    const struct identity *show = identity_of(dial, c->kind, &made);
    dial_start(dial);
    run_until(&dial->site->world, dial_is_handshaking, dial);
    run_until(&dial->site->world, backend_accepted, &backend);
    serve(dial, c->kind, show, &backend, &peer);
    run_until(&dial->site->world, dial_is_done, dial);
    if (c->reason != REASON_NONE) {
        assert_failed(dial, c->reason);
    }
    assert_int_equal(dial->reason, c->reason);
    assert_int_equal(dial->had_failure, c->judged);
    assert_int_equal(dial->checked, c->kind == SERVER_GOOD || c->kind == SERVER_REFUSED_BY_CHECK);
    assert_int_equal(dial->upstream.next_address, 1);
    assert_int_equal(accept(backend.listening, NULL, NULL), -1); /* nobody else came */
    if (peer.fd >= 0) {
        peer_fini(&peer);
    }
    backend_hang_up(&backend);
    dial_free(dial);
    (void)close(backend.listening);
    free_identity(&made);
}

static void test_upstream_a_server_that_answers_wrongly_is_an_answer(void **state)
{
    (void)state;
    static const struct server_case cases[] = {
        {SERVER_REFUSED_BY_CHECK, REASON_POLICY_NOT_EXPECTED, true},
        {SERVER_SILENT, REASON_UPSTREAM_HANDSHAKE_TIMEOUT, false},
        {SERVER_CLOSES, REASON_UPSTREAM_HANDSHAKE_CLOSED, true},
        {SERVER_SPEAKS_PLAINTEXT, REASON_TLS_NOT_TLS, true},
        {SERVER_OF_A_STRANGER, REASON_SVID_UNTRUSTED, true},
        {SERVER_DAMAGED, REASON_SVID_MALFORMED, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_server_case(&cases[i]);
    }
}

static void test_upstream_a_good_server_is_handed_over(void **state)
{
    (void)state;
    static const struct server_case good = {SERVER_GOOD, REASON_NONE, false};
    run_server_case(&good);
}

/* ---- giving up ---- */

enum cancel_state {
    CANCEL_RESOLVING,
    CANCEL_DIALLING,
    CANCEL_HANDSHAKING,
    CANCEL_FAILED, /* the failure is still to be told */
    CANCEL_COUNT
};

static void cancel_in(enum cancel_state when)
{
    struct hanging hanging;
    struct backend backend;
    char forward[FORWARD_SIZE];
    hanging_open(&hanging);
    backend_open(&backend);
    switch (when) {
    case CANCEL_RESOLVING:
        (void)snprintf(forward, sizeof(forward), "tcp://backend.test:9");
        break;
    case CANCEL_DIALLING:
        (void)snprintf(forward, sizeof(forward), "tcp://%s", hanging.host_port);
        break;
    case CANCEL_HANDSHAKING:
        (void)snprintf(forward, sizeof(forward), "mtls://%s", backend.host_port);
        break;
    case CANCEL_FAILED:
    case CANCEL_COUNT:
        (void)snprintf(forward, sizeof(forward), "tcp://%s", backend.host_port);
        break;
    }
    struct dial *dial =
        dial_new(forward, when == CANCEL_RESOLVING ? ", timeouts: {connect: 20ms}" : "");
    dial->dns.mode = DNS_SILENT;
    if (when == CANCEL_FAILED) {
        dial_start_without_descriptors(dial);
    } else {
        dial_start(dial);
    }
    if (when == CANCEL_HANDSHAKING) {
        run_until(&dial->site->world, dial_is_handshaking, dial);
    }
    assert_int_equal(dial->upstream.query != NULL, when == CANCEL_RESOLVING);
    upstream_cancel(&dial->upstream);
    assert_null(dial->upstream.query);
    assert_null(dial->upstream.dialer);
    assert_null(dial->upstream.conn);
    run_loop_ms(dial->site->world.loop, 60); /* nothing may come any more */
    assert_int_equal(dial->called, 0);
    upstream_cancel(&dial->upstream);
    dial_free(dial);
    (void)close(backend.listening);
    hanging_close(&hanging);
}

static void test_upstream_cancel_in_each_state(void **state)
{
    (void)state;
    for (int when = 0; when < CANCEL_COUNT; when++) {
        cancel_in((enum cancel_state)when);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upstream_refused),
        cmocka_unit_test(test_upstream_connect_timeout),
        cmocka_unit_test(test_upstream_missing_unix_socket),
        cmocka_unit_test(test_upstream_out_of_descriptors),
        cmocka_unit_test(test_upstream_names_that_lead_nowhere),
        cmocka_unit_test(test_upstream_tries_each_address_that_refuses),
        cmocka_unit_test(test_upstream_every_address_refuses),
        cmocka_unit_test(test_upstream_leaves_out_addresses_off_the_loopback),
        cmocka_unit_test(test_upstream_a_server_that_answers_wrongly_is_an_answer),
        cmocka_unit_test(test_upstream_cancel_in_each_state),
        cmocka_unit_test(test_upstream_plain_connects),
        cmocka_unit_test(test_upstream_a_good_server_is_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
