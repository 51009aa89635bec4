/*
 * One dial: resolve → connect (each address in turn) → for mtls, handshake → done.
 *
 * Only a failure to connect tries the next address. A server that was reached and failed its
 * handshake or showed a wrong identity ends the dial: another address of the name is not an
 * answer to a wrong identity. Where `forward` is plaintext, an address off the loopback is never
 * dialled, whatever the name resolved to.
 */
#include "proxy/upstream.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/plain_conn.h"
#include "proxy/count.h"
#include "proxy/setup.h"
#include "proxy/worker.h"

enum { MAX_ADDRESSES = 16 };
static const struct dial_failure out_of_memory = {.reason = REASON_OUT_OF_MEMORY};

static void on_timer(void *arg);

static void count(struct upstream *upstream, struct conn *conn, enum reason reason)
{
    struct worker *worker = upstream->worker;
    const struct setup_listener *listener = upstream->listener;
    if (upstream->in_handshake && reason == REASON_NONE) {
        count_handshake(worker, listener, METRIC_UPSTREAM, tls_conn_peer(conn),
                        upstream->connected_us);
    } else if (upstream->in_handshake) {
        count_handshake_failed(worker, listener, METRIC_UPSTREAM, reason);
    }
    upstream->in_handshake = false;
    count_dial(worker, listener, reason, upstream->began_us);
}

static void done(struct upstream *upstream, struct conn *conn, enum reason reason,
                 const struct tls_failure *failure, const char *detail)
{
    timer_free(upstream->timer);
    upstream->timer = NULL;
    mem_free(upstream->addresses);
    upstream->addresses = NULL;
    count(upstream, conn, reason);
    upstream->owner->on_done(upstream->owner_arg, conn, reason, failure, detail);
}

/* No address could be dialled: the last failure counts. */
static void dialling_failed(struct upstream *upstream)
{
    const struct dial_failure *last = &upstream->last_failure;
    char text[128] = "";
    const char *detail = text;
    /* What the reason says by itself needs no detail. */
    if (last->reason == REASON_UPSTREAM_CONNECT_FAILED && last->error != 0) {
        detail = strerror_r(last->error, text, sizeof(text));
    }
    done(upstream, NULL, last->reason, NULL, detail);
}

static void on_deferred_failure(void *arg)
{
    struct upstream *upstream = arg;
    if (upstream->pending_failure) {
        upstream->pending_failure = false;
        dialling_failed(upstream);
    }
}

/* For failures on the way in: on_done never runs from inside upstream_start. */
static void fail_later(struct upstream *upstream, struct dial_failure failure)
{
    upstream->last_failure = failure;
    upstream->pending_failure = true;
    loop_defer(upstream->worker->loop, &upstream->deferred, on_deferred_failure, upstream);
}

static bool is_mtls(const struct upstream *upstream)
{
    return upstream->listener->client != NULL;
}

static bool may_dial(const struct upstream *upstream, const struct netaddr *addr)
{
    return is_mtls(upstream) || upstream->listener->config->unsafe_plaintext ||
           netaddr_is_loopback(addr);
}

static void on_handshake(void *arg, const struct tls_failure *failure)
{
    struct upstream *upstream = arg;
    struct conn *conn = upstream->conn;
    upstream->conn = NULL;
    if (failure != NULL) {
        struct limits *limits = upstream->worker->limits;
        limits_hold_descriptor(limits);
        done(upstream, NULL, failure->reason, failure, "");
        tls_conn_refuse(conn); /* last: failure lives with the conn */
        limits_drop_descriptor(limits);
        return;
    }
    done(upstream, conn, REASON_NONE, NULL, "");
}

static enum reason on_peer_check(void *arg, struct peer_chain *chain, char *detail,
                                 size_t detail_size)
{
    struct upstream *upstream = arg;
    return upstream->owner->peer_check(upstream->owner_arg, chain, detail, detail_size);
}

static const struct tls_conn_callbacks tls_callbacks = {
    .on_handshake = on_handshake,
    .peer_check = on_peer_check,
};

static void connected(struct upstream *upstream, int fd)
{
    struct worker *worker = upstream->worker;
    struct netaddr dialled = netaddr_of(&upstream->address);
    bool is_unix = netaddr_is_unix(&dialled);
    struct netaddr local;
    socket_local_address(fd, &local);
    if (!is_unix && !netaddr_keep(&upstream->local, &local)) {
        close(fd);
        done(upstream, NULL, REASON_OUT_OF_MEMORY, NULL, "");
        return;
    }
    if (!is_mtls(upstream)) {
        struct conn *conn = plain_conn_new(worker->plain, worker->loop, fd, is_unix);
        if (conn == NULL) {
            close(fd);
        }
        done(upstream, conn, conn == NULL ? REASON_OUT_OF_MEMORY : REASON_NONE, NULL, "");
        return;
    }
    upstream->conn =
        tls_conn_connect(worker->tls, worker->loop, upstream->listener->client, fd, is_unix,
                         upstream->listener->sni, upstream->alpn, &tls_callbacks, upstream);
    if (upstream->conn == NULL) {
        close(fd);
        done(upstream, NULL, REASON_OUT_OF_MEMORY, NULL, "");
        return;
    }
    upstream->in_handshake = true;
    upstream->connected_us = count_now_us();
    timer_set(upstream->timer, upstream->listener->config->timeouts.handshake_ms);
}

static bool dial_next(struct upstream *upstream);

static void on_dialled(void *arg, int fd, struct dial_failure failure)
{
    struct upstream *upstream = arg;
    upstream->dialer = NULL;
    if (fd >= 0) {
        connected(upstream, fd);
        return;
    }
    upstream->last_failure = failure;
    if (!dial_next(upstream)) {
        dialling_failed(upstream);
    }
}

/* Starts with the next address that may be dialled. False: none is left; last_failure says why. */
static bool dial_next(struct upstream *upstream)
{
    const struct setup_listener *listener = upstream->listener;
    while (upstream->next_address < upstream->address_count) {
        const struct netaddr *addr = &upstream->addresses[upstream->next_address++];
        if (!netaddr_keep(&upstream->address, addr)) {
            upstream->last_failure = (struct dial_failure){.reason = REASON_OUT_OF_MEMORY};
            return false;
        }
        if (!may_dial(upstream, addr)) {
            upstream->last_failure = (struct dial_failure){.reason = REASON_PLAINTEXT_OFF_LOOPBACK};
            continue;
        }
        if (dialer_start(upstream->worker->loop, addr, listener->config->timeouts.connect_ms,
                         &listener->upstream_options, on_dialled, upstream, &upstream->dialer,
                         &upstream->last_failure) == 0) {
            return true;
        }
    }
    return false;
}

static bool keep_addresses(struct upstream *upstream, const struct netaddr *addresses, size_t count)
{
    upstream->address_count = count < MAX_ADDRESSES ? count : MAX_ADDRESSES;
    upstream->addresses = mem_try_alloc(upstream->address_count * sizeof(*addresses));
    if (upstream->addresses == NULL) {
        upstream->address_count = 0;
        return false;
    }
    memcpy(upstream->addresses, addresses, upstream->address_count * sizeof(*addresses));
    return true;
}

static void on_resolved(void *arg, const struct netaddr *addresses, size_t count,
                        const char *failure)
{
    struct upstream *upstream = arg;
    upstream->query = NULL;
    timer_cancel(upstream->timer);
    if (count == 0) {
        done(upstream, NULL, REASON_UPSTREAM_RESOLVE_FAILED, NULL, failure);
        return;
    }
    if (!keep_addresses(upstream, addresses, count)) {
        done(upstream, NULL, REASON_OUT_OF_MEMORY, NULL, "");
        return;
    }
    if (!dial_next(upstream)) {
        dialling_failed(upstream);
    }
}

/* Resolving or the handshake took too long; connecting has the dialer's own deadline. */
static void on_timer(void *arg)
{
    struct upstream *upstream = arg;
    if (upstream->query != NULL) {
        resolver_cancel(upstream->query);
        upstream->query = NULL;
        done(upstream, NULL, REASON_UPSTREAM_RESOLVE_FAILED, NULL, "no answer in time");
        return;
    }
    conn_abort(upstream->conn);
    upstream->conn = NULL;
    done(upstream, NULL, REASON_UPSTREAM_HANDSHAKE_TIMEOUT, NULL, "");
}

static void resolve(struct upstream *upstream)
{
    const struct config_listener *config = upstream->listener->config;
    upstream->query = resolver_start(upstream->worker->resolver, config->forward.host,
                                     config->forward.port, on_resolved, upstream);
    if (upstream->query == NULL) {
        fail_later(upstream, out_of_memory);
        return;
    }
    timer_set(upstream->timer, config->timeouts.connect_ms);
}

void upstream_start(struct upstream *upstream, struct worker *worker,
                    const struct setup_listener *listener, const char *alpn,
                    const struct upstream_owner *owner, void *arg)
{
    *upstream = (struct upstream){
        .worker = worker,
        .listener = listener,
        .owner = owner,
        .owner_arg = arg,
        .alpn = alpn,
        .began_us = count_now_us(),
        .last_failure = {.reason = REASON_UPSTREAM_CONNECT_FAILED},
    };
    upstream->timer = timer_new(worker->loop, on_timer, upstream);
    if (upstream->timer == NULL) {
        fail_later(upstream, out_of_memory);
        return;
    }
    if (listener->forward.len == 0) {
        resolve(upstream);
        return;
    }
    if (!keep_addresses(upstream, &listener->forward, 1)) {
        fail_later(upstream, out_of_memory);
        return;
    }
    if (!dial_next(upstream)) {
        fail_later(upstream, upstream->last_failure);
    }
}

void upstream_cancel(struct upstream *upstream)
{
    upstream->pending_failure = false;
    if (upstream->query != NULL) {
        resolver_cancel(upstream->query);
        upstream->query = NULL;
    }
    dialer_cancel(upstream->dialer);
    upstream->dialer = NULL;
    conn_abort(upstream->conn);
    upstream->conn = NULL;
    timer_free(upstream->timer);
    upstream->timer = NULL;
    mem_free(upstream->addresses);
    upstream->addresses = NULL;
}

void upstream_fini(struct upstream *upstream)
{
    netaddr_kept_clear(&upstream->address);
    netaddr_kept_clear(&upstream->local);
}
