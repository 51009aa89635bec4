/*
 * exchange: what is decided, what is said about it, and in which order things end.
 */
#include "proxy_test.h"

/* A session of `in` (mtls to a plain backend) whose relay stands. */
struct relayed {
    struct backend backend;
    struct site *site;
    struct peer peer;
};

static bool is_relaying(void *arg)
{
    const struct session *session = site_session(arg);
    return session != NULL && session->exchange.state == EXCHANGE_RELAY;
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_a_flush_cut_by_a_drain_keeps_its_cause),
        cmocka_unit_test(test_exchange_a_flush_cut_by_a_stop_keeps_its_cause),
        cmocka_unit_test(test_exchange_a_live_relay_is_cut_with_the_cutters_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
