/*
 * h2_peer: a server on a Unix socket, in the test's own loop, that says what a script holds as soon
 * as somebody connects, and then more when the test wants.
 */
#ifndef BULKHEAD_TESTS_UNIT_NET_H2_PEER_H
#define BULKHEAD_TESTS_UNIT_NET_H2_PEER_H

#include <sys/un.h>

#include "unit/net/h2.h"
#include "unit/net/net_test.h"

struct h2_peer {
    struct loop *loop;
    struct netaddr address;
    int listener;
    struct io_watch *listener_watch;
    int fd; /* of the last that connected; -1: none */
    struct io_watch *watch;
    struct h2 script; /* of each connection */
    bool hangs_up;    /* behind the script */
    bool answers_pings;
    unsigned connections;
    unsigned pings;
    struct h2 heard;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static inline void h2_peer_hang_up(struct h2_peer *peer)
{
    if (peer->fd >= 0) {
        io_watch_free(peer->watch);
        (void)close(peer->fd);
        peer->fd = -1;
    }
}

static inline void h2_peer_say(struct h2_peer *peer, struct h2 *bytes)
{
    assert_int_equal(send(peer->fd, bytes->data, bytes->len, MSG_NOSIGNAL), bytes->len);
    h2_free(bytes);
}

static inline void h2_peer_on_bytes(void *arg, unsigned events)
{
    struct h2_peer *peer = arg;
    uint8_t buffer[4096];
    (void)events;
    ssize_t got = recv(peer->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got <= 0) {
        h2_peer_hang_up(peer);
        return;
    }
    h2_raw(&peer->heard, buffer, (size_t)got);
    static const uint8_t ping[] = {0, 0, 8, H2_PING, 0, 0, 0, 0, 0};
    for (uint8_t *at = buffer; got - (at - buffer) >= (ssize_t)sizeof(ping) + 8; at++) {
        if (memcmp(at, ping, sizeof(ping)) == 0) {
            peer->pings++;
            if (peer->answers_pings) {
                struct h2 pong = {NULL, 0};
                h2_frame(&pong, H2_PING, H2_ACK, 0, at + sizeof(ping), 8);
                h2_peer_say(peer, &pong);
            }
        }
    }
}

static inline void h2_peer_on_connection(void *arg, unsigned events)
{
    struct h2_peer *peer = arg;
    (void)events;
    h2_peer_hang_up(peer);
    peer->fd = accept4(peer->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_return_code(peer->fd, errno);
    peer->connections++;
    peer->watch = io_watch_new(peer->loop, peer->fd, h2_peer_on_bytes, peer);
    assert_non_null(peer->watch);
    assert_int_equal(io_watch_set(peer->watch, IO_READ), 0);
    if (peer->script.len > 0) {
        ssize_t sent = send(peer->fd, peer->script.data, peer->script.len, MSG_NOSIGNAL);
        assert_true(sent == (ssize_t)peer->script.len || (sent < 0 && errno == EPIPE));
    }
    if (peer->hangs_up) {
        h2_peer_hang_up(peer);
    }
}

/* The address alone, where nobody listens yet. */
static inline void h2_peer_init(struct h2_peer *peer, struct loop *loop)
{
    *peer = (struct h2_peer){.loop = loop, .listener = -1, .fd = -1};
    (void)snprintf(peer->path, sizeof(peer->path), "/tmp/bulkhead-h2-XXXXXX");
    int fd = mkstemp(peer->path);
    assert_return_code(fd, errno);
    assert_return_code(close(fd), errno);
    assert_return_code(unlink(peer->path), errno);
    assert_true(netaddr_from_path(&peer->address, peer->path));
}

static inline void h2_peer_listen(struct h2_peer *peer)
{
    peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_return_code(peer->listener, errno);
    assert_return_code(bind(peer->listener, &peer->address.u.sa, peer->address.len), errno);
    assert_return_code(listen(peer->listener, 8), errno);
    peer->listener_watch = io_watch_new(peer->loop, peer->listener, h2_peer_on_connection, peer);
    assert_non_null(peer->listener_watch);
    assert_int_equal(io_watch_set(peer->listener_watch, IO_READ), 0);
}

static inline void h2_peer_fini(struct h2_peer *peer)
{
    h2_peer_hang_up(peer);
    io_watch_free(peer->listener_watch);
    if (peer->listener >= 0) {
        (void)close(peer->listener);
        (void)unlink(peer->path);
    }
    h2_free(&peer->script);
    h2_free(&peer->heard);
}

#endif
