/*
 * exchange: what is decided, what is said about it, and in which order things end.
 */
#include "proxy_test.h"
#include "unit/tls/damaged.h"

/* A session of `in` (mtls to a plain backend) whose relay stands. */
struct relayed {
    struct backend backend;
    struct site *site;
    struct peer peer;
};

static void relayed_start(struct relayed *r)
{
    char text[1024];
    backend_open(&r->backend);
    int small = 1; /* the kernel's least: what is sent soon waits at our side */
    assert_return_code(
        setsockopt(r->backend.listening, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), errno);
    (void)snprintf(text, sizeof(text),
                   "listeners:\n"
                   "  - {name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s'}\n" ALLOW_PEER,
                   r->backend.host_port);
    r->site = site_new(text);
    const struct peer_options options = {.show = &r->site->world.peer};
    peer_init(&r->site->world, &r->peer, &options, site_dial(r->site, 0));
    run_until(&r->site->world, backend_accepted, &r->backend);
    run_until(&r->site->world, peer_is_done, &r->peer);
    run_until(&r->site->world, is_relaying, r->site);
    /* Set by hand, or the kernel makes it smaller when the host is short of memory for TCP. */
    int room = 65536;
    int up = conn_fd(site_session(r->site)->exchange.upstream_conn);
    assert_return_code(setsockopt(up, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), errno);
}

static void relayed_end(struct relayed *r)
{
    peer_fini(&r->peer);
    backend_hang_up(&r->backend);
    site_free(r->site);
    (void)close(r->backend.listening);
}

static bool is_flushing(void *arg)
{
    struct site *site = arg;
    return site_session(site)->exchange.relay.abort_reason != REASON_NONE;
}

/* Truncated by its downstream, with bytes on the way that the backend does not read. */
static void relayed_truncate(struct relayed *r)
{
    static const char bytes[12000];
    peer_write(&r->peer, bytes, sizeof(bytes));
    assert_return_code(shutdown(r->peer.fd, SHUT_WR), errno);
    run_until(&r->site->world, is_flushing, r->site);
}

static void a_flush_that_is_cut_keeps_its_cause(enum reason cut)
{
    struct relayed r;
    relayed_start(&r);
    relayed_truncate(&r);
    worker_order(r.site->worker, WORKER_CUT, cut);
    assert_ended(r.site, REASON_DOWNSTREAM_TRUNCATED, "close");
    assert_line_has(r.site, "\"bytes_up\":12000");
    assert_int_equal(wait_for_end(r.site, r.backend.fd), ECONNRESET);
    relayed_end(&r);
}

static void test_exchange_a_flush_cut_by_a_drain_keeps_its_cause(void **state)
{
    (void)state;
    a_flush_that_is_cut_keeps_its_cause(REASON_DRAIN_DEADLINE);
}

static void test_exchange_a_flush_cut_by_a_stop_keeps_its_cause(void **state)
{
    (void)state;
    a_flush_that_is_cut_keeps_its_cause(REASON_STOPPED);
}

static void test_exchange_a_live_relay_is_cut_with_the_cutters_cause(void **state)
{
    (void)state;
    struct relayed r;
    relayed_start(&r);
    worker_order(r.site->worker, WORKER_CUT, REASON_DRAIN_DEADLINE);
    assert_ended(r.site, REASON_DRAIN_DEADLINE, "close");
    assert_int_equal(wait_for_end(r.site, r.backend.fd), ECONNRESET);
    relayed_end(&r);
}

/* ---- AUTHORIZE and DIAL ---- */

static struct site *terminate_to(const char *host_port, const char *rules)
{
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   "listeners:\n"
                   "  - {name: in, accept: 'mtls://127.0.0.1:0', forward: 'tcp://%s'}\n%s",
                   host_port, rules);
    return site_new(text);
}

static struct site *originate_to(const char *host_port, const char *expect)
{
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   "listeners:\n"
                   "  - {name: out, accept: 'tcp://127.0.0.1:0', forward: 'mtls://%s',\n"
                   "     expect: '%s'}\n",
                   host_port, expect);
    return site_new(text);
}

static bool is_dialling(void *arg)
{
    const struct session *session = site_session(arg);
    return session != NULL && session->exchange.state == EXCHANGE_DIAL;
}

static bool is_shaking_hands_upstream(void *arg)
{
    return is_dialling(arg) && site_session(arg)->exchange.upstream.conn != NULL;
}

struct denial {
    const char *rules;
    enum reason reason;
    const char *rule; /* in the line, or NULL */
};

/* Nothing is dialled, and the end is no close_notify: that would be a complete, empty answer. */
static void test_exchange_denied_before_anything_is_dialled(void **state)
{
    (void)state;
    static const struct denial denials[] = {
        {"rules: [{name: r, from: " OURS_ID ", to: in}]\n", REASON_POLICY_NO_RULE, NULL},
        {"rules: [{name: yes, from: " PEER_ID ", to: in},\n"
         "        {name: no, from: " PEER_ID ", to: in, action: deny}]\n",
         REASON_POLICY_DENY_RULE, "\"rule\":\"no\""},
    };
    for (size_t i = 0; i < 2; i++) {
        struct backend backend;
        struct peer peer;
        backend_open(&backend);
        struct site *site = terminate_to(backend.host_port, denials[i].rules);
        const struct peer_options options = {.show = &site->world.peer};
        peer_init(&site->world, &peer, &options, site_dial(site, 0));
        run_until(&site->world, peer_has_ended, &peer);
        assert_false(peer.clean);
        assert_int_equal(peer.alert, NO_ALERT);
        assert_ended(site, denials[i].reason, "deny");
        assert_line_has(site, "\"decision\":\"deny\"");
        /* Only an open conn knows these: the line is written before anything is closed. */
        assert_line_has(site, "\"downstream_id\":\"" PEER_ID "\"");
        assert_line_has(site, "\"version\":\"TLSv1.3\"");
        if (denials[i].rule != NULL) {
            assert_line_has(site, denials[i].rule);
        }
        assert_line_lacks(site, "\"upstream\"");
        assert_line_lacks(site, "\"bytes_up\"");
        assert_false(backend_accepted(&backend));
        peer_fini(&peer);
        site_free(site);
        (void)close(backend.listening);
    }
}

static void test_exchange_upstream_refuses(void **state)
{
    (void)state;
    struct backend backend;
    struct peer peer;
    backend_open(&backend);
    (void)close(backend.listening);
    struct site *site = terminate_to(backend.host_port, ALLOW_PEER);
    const struct peer_options options = {.show = &site->world.peer};
    peer_init(&site->world, &peer, &options, site_dial(site, 0));
    run_until(&site->world, peer_has_ended, &peer);
    assert_false(peer.clean);
    assert_ended(site, REASON_UPSTREAM_CONNECT_REFUSED, "close");
    assert_line_has(site, "\"decision\":\"allow\"");
    assert_line_has(site, "\"rule\":\"peers\"");
    assert_line_has(site, backend.host_port);
    assert_line_lacks(site, "\"bytes_up\"");
    peer_fini(&peer);
    site_free(site);
}

/* What a server shows decides on an originating listener, before any byte is passed on. */
static void server_is_refused(const char *expect, bool damaged, enum reason reason)
{
    struct backend backend;
    struct peer server;
    backend_open(&backend);
    struct site *site = originate_to(backend.host_port, expect);
    struct identity made = make_damaged(&site->world, DAMAGE_OID_UNFINISHED);
    int fd = site_dial(site, 0);
    assert_int_equal(send(fd, "secret", 6, MSG_NOSIGNAL), 6);
    run_until(&site->world, backend_accepted, &backend);
    const struct peer_options options = {.server = true,
                                         .show = damaged ? &made : &site->world.peer};
    peer_init(&site->world, &server, &options, backend.fd);
    assert_int_equal(wait_for_end(site, fd), ECONNRESET);
    assert_ended(site, reason, "deny");
    assert_line_has(site, "\"upstream_local\"");
    assert_line_lacks(site, "\"upstream_id\"");
    assert_line_lacks(site, "\"bytes_up\"");
    run_until(&site->world, peer_has_ended, &server);
    assert_false(server.saw_certificate);
    assert_int_equal(bytebuf_len(&server.received), 0);
    peer_fini(&server);
    (void)close(fd);
    site_free(site);
    (void)close(backend.listening);
    free_identity(&made);
}

static void test_exchange_server_is_not_expected(void **state)
{
    (void)state;
    server_is_refused(OURS_ID, false, REASON_POLICY_NOT_EXPECTED);
}

static void test_exchange_server_certificate_cannot_be_parsed(void **state)
{
    (void)state;
    server_is_refused(PEER_ID, true, REASON_SVID_MALFORMED);
}

/* Cut in DIAL: the dial is given up, and the peer sees a reset. */
static void test_exchange_cut_while_dialling(void **state)
{
    (void)state;
    static const enum reason reasons[] = {REASON_DRAIN_DEADLINE, REASON_STOPPED};
    for (size_t i = 0; i < 4; i++) {
        struct hanging hanging;
        struct backend backend;
        bool connecting = i < 2;
        hanging_open(&hanging);
        backend_open(&backend);
        struct site *site =
            originate_to(connecting ? hanging.host_port : backend.host_port, PEER_ID);
        int fd = site_dial(site, 0);
        run_until(&site->world, connecting ? is_dialling : is_shaking_hands_upstream, site);
        worker_order(site->worker, WORKER_CUT, reasons[i % 2]);
        assert_int_equal(wait_for_end(site, fd), ECONNRESET);
        assert_ended(site, reasons[i % 2], "close");
        (void)close(fd);
        site_free(site);
        (void)close(backend.listening);
        hanging_close(&hanging);
    }
}

/* The downstream went away while its upstream was shaking hands: it is no denial of ours. */
static void test_exchange_downstream_gone_while_dialling(void **state)
{
    (void)state;
    struct backend backend;
    struct peer server;
    backend_open(&backend);
    struct site *site = originate_to(backend.host_port, PEER_ID);
    int fd = site_dial(site, 0);
    run_until(&site->world, is_shaking_hands_upstream, site);
    run_until(&site->world, backend_accepted, &backend);
    reset_fd(fd);
    const struct peer_options options = {.server = true, .show = &site->world.peer};
    peer_init(&site->world, &server, &options, backend.fd);
    assert_ended(site, REASON_DOWNSTREAM_RESET, "close");
    assert_line_has(site, "\"decision\":\"allow\"");
    assert_line_lacks(site, "\"bytes_up\""); /* no relay was started */
    run_until(&site->world, peer_has_ended, &server);
    assert_false(server.clean);
    assert_int_equal(bytebuf_len(&server.received), 0);
    peer_fini(&server);
    site_free(site);
    (void)close(backend.listening);
}

/* ---- RELAY ---- */

static void test_exchange_ends_in_order(void **state)
{
    (void)state;
    struct relayed r;
    relayed_start(&r);
    peer_write(&r.peer, "question", 8);
    (void)SSL_shutdown(r.peer.ssl);
    peer_flush(&r.peer);
    assert_int_equal(wait_for_end(r.site, r.backend.fd), 0);
    assert_int_equal(send(r.backend.fd, "answer", 6, MSG_NOSIGNAL), 6);
    backend_hang_up(&r.backend);
    run_until(&r.site->world, peer_has_ended, &r.peer);
    assert_true(r.peer.clean);
    assert_int_equal(bytebuf_len(&r.peer.received), 6);
    assert_ended(r.site, REASON_CLOSED, "close");
    assert_line_has(r.site, "\"bytes_up\":8,\"bytes_down\":6");
    assert_line_has(r.site, "\"downstream_id\":\"" PEER_ID "\"");
    relayed_end(&r);
}

static bool has_buffered(void *arg)
{
    const struct site *site = arg;
    return site->limits.process.buffered_bytes > 0;
}

/* site_free sees that what was counted is given back. */
static void test_exchange_cut_with_bytes_that_wait(void **state)
{
    (void)state;
    static const char bytes[1024 * 1024];
    struct relayed r;
    relayed_start(&r);
    peer_write(&r.peer, bytes, sizeof(bytes));
    run_until(&r.site->world, has_buffered, r.site);
    worker_order(r.site->worker, WORKER_CUT, REASON_STOPPED);
    assert_ended(r.site, REASON_STOPPED, "close");
    relayed_end(&r);
}

static void test_exchange_upstream_resets(void **state)
{
    (void)state;
    struct relayed r;
    relayed_start(&r);
    reset_fd(r.backend.fd);
    r.backend.fd = -1;
    run_until(&r.site->world, peer_has_ended, &r.peer);
    assert_false(r.peer.clean);
    assert_ended(r.site, REASON_UPSTREAM_RESET, "close");
    relayed_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_denied_before_anything_is_dialled),
        cmocka_unit_test(test_exchange_upstream_refuses),
        cmocka_unit_test(test_exchange_server_is_not_expected),
        cmocka_unit_test(test_exchange_server_certificate_cannot_be_parsed),
        cmocka_unit_test(test_exchange_cut_while_dialling),
        cmocka_unit_test(test_exchange_downstream_gone_while_dialling),
        cmocka_unit_test(test_exchange_a_flush_cut_by_a_drain_keeps_its_cause),
        cmocka_unit_test(test_exchange_a_flush_cut_by_a_stop_keeps_its_cause),
        cmocka_unit_test(test_exchange_a_live_relay_is_cut_with_the_cutters_cause),
        cmocka_unit_test(test_exchange_cut_with_bytes_that_wait),
        cmocka_unit_test(test_exchange_upstream_resets),
        cmocka_unit_test(test_exchange_ends_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
