/* socket: options as the kernel reports them back, and the questions. */
#include "unit/net/net_test.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/clock.h"
#include "net/socket.h"

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);
    assert_return_code(getsockopt(fd, level, name, &value, &size), errno);
    return value;
}

static void test_keepalive_follows_the_time_given(void **state)
{
    (void)state;
    static const struct {
        uint64_t keepalive_ms;
        int idle_s;
        int interval_s;
    } rows[] = {
        {60000, 60, 5},
        {500, 1, 1},
        {UINT64_C(1) << 40, 32767, 2730},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int fds[2];
        tcp_pair(fds);
        struct socket_options options = {.keepalive_ms = rows[i].keepalive_ms};
        socket_apply_options(fds[0], false, &options);
        assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(option(fds[0], SOL_SOCKET, SO_KEEPALIVE), 1);
        assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_KEEPIDLE), rows[i].idle_s);
        assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_KEEPINTVL), rows[i].interval_s);
        assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_KEEPCNT), 3);
        /* It would end a live peer that does not read. */
        assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
        (void)close(fds[0]);
        (void)close(fds[1]);
    }
}

static void test_keepalive_zero_is_off_and_unix_needs_nothing(void **state)
{
    (void)state;
    int fds[2];
    tcp_pair(fds);
    struct socket_options options = {0};
    socket_apply_options(fds[0], false, &options);
    assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fds[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    unix_pair(fds);
    options = (struct socket_options){.keepalive_ms = 1000, .tcp_congestion = "reno"};
    socket_apply_options(fds[0], true, &options);
    assert_int_equal(option(fds[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_congestion_control_is_set_where_allowed(void **state)
{
    (void)state;
    assert_true(socket_congestion_usable("reno")); /* allowed to all by default: tcp(7) */
    assert_false(socket_congestion_usable("no-such-control"));
    assert_false(socket_congestion_usable(""));
    int fds[2];
    tcp_pair(fds);
    char name[16] = "";
    socklen_t size = sizeof(name);
    struct socket_options options = {.tcp_congestion = "no-such-control"};
    socket_apply_options(fds[0], false, &options); /* is no error */
    options.tcp_congestion = "reno";
    socket_apply_options(fds[0], false, &options);
    assert_return_code(getsockopt(fds[0], IPPROTO_TCP, TCP_CONGESTION, name, &size), errno);
    assert_string_equal(name, "reno");
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static bool is_acked(int fd, uint64_t bytes)
{
    struct socket_acks acks;
    uint64_t deadline = clock_mono_ms() + GUARD_MS;
    do {
        socket_acks(fd, &acks);
    } while ((acks.awaited || acks.acked_bytes < bytes) && clock_mono_ms() < deadline);
    return !acks.awaited && acks.acked_bytes >= bytes && acks.silent_ms < GUARD_MS;
}

static void test_acks_are_awaited_until_they_come(void **state)
{
    (void)state;
    int fds[2];
    struct socket_acks acks;
    tcp_pair(fds);
    assert_int_equal(write(fds[0], "1234567", 7), 7);
    assert_true(is_acked(fds[0], 7));
    (void)close(fds[0]);
    (void)close(fds[1]);
    unix_pair(fds);
    assert_int_equal(write(fds[0], "x", 1), 1);
    socket_acks(fds[0], &acks);
    assert_false(acks.awaited);
    (void)close(fds[0]);
    (void)close(fds[1]);
    socket_acks(-1, &acks);
    assert_false(acks.awaited);
}

static void test_a_tcp_peer_leaves_when_both_directions_are_shut(void **state)
{
    (void)state;
    int fds[2];
    tcp_pair(fds);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_THERE);
    assert_int_equal(socket_peek_error(fds[0]), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_return_code(shutdown(fds[1], SHUT_WR), errno);
    wait_for(fds[0], POLLRDHUP);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_THERE); /* half-closed */
    assert_return_code(shutdown(fds[0], SHUT_WR), errno);
    wait_for(fds[0], 0);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_LEFT);
    assert_int_equal(socket_peek_error(fds[0]), 0);
    char byte;
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(socket_peek_error(fds[0]), 0); /* the end in order */
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_LEFT);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_a_reset_is_broken_and_keeps_what_came_before(void **state)
{
    (void)state;
    int fds[2];
    tcp_pair(fds);
    assert_int_equal(write(fds[1], "x", 1), 1);
    wait_for(fds[0], POLLIN);
    socket_set_reset_on_close(fds[1]);
    (void)close(fds[1]);
    wait_for(fds[0], 0);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_BROKEN);
    assert_int_equal(socket_peek_error(fds[0]), 0);
    char byte;
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_BROKEN);
    assert_int_equal(socket_peek_error(fds[0]), ECONNRESET);
    (void)close(fds[0]);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_BROKEN); /* POLLNVAL */
    assert_int_equal(socket_peek_error(fds[0]), EBADF);
}

static void test_a_unix_peer_that_closes_has_left(void **state)
{
    (void)state;
    int fds[2];
    unix_pair(fds);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_THERE);
    assert_int_equal(write(fds[1], "x", 1), 1);
    (void)close(fds[1]);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_LEFT);
    assert_int_equal(socket_peek_error(fds[0]), 0);
    (void)close(fds[0]);
    unix_pair(fds);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(write(fds[0], "unread", 6), 6);
    (void)close(fds[1]);
    assert_int_equal(socket_peer(fds[0]), SOCKET_PEER_BROKEN);
    assert_int_equal(socket_peek_error(fds[0]), 0);
    (void)close(fds[0]);
}

static void test_unsent_counts_what_tcp_has_not_delivered(void **state)
{
    (void)state;
    static const char block[65536];
    int fds[2];
    tcp_pair(fds);
    assert_int_equal(socket_unsent(fds[0]), 0);
    while (send(fds[0], block, sizeof(block), MSG_NOSIGNAL) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
    assert_true(socket_unsent(fds[0]) > 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    unix_pair(fds);
    assert_int_equal(write(fds[0], "x", 1), 1);
    assert_int_equal(socket_unsent(fds[0]), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    assert_int_equal(socket_unsent(-1), 0);
}

static void test_addresses_of_both_ends(void **state)
{
    (void)state;
    int fds[2];
    tcp_pair(fds);
    struct netaddr local;
    struct netaddr peer;
    char local_text[NETADDR_TEXT_SIZE];
    char peer_text[NETADDR_TEXT_SIZE];
    socket_local_address(fds[0], &local);
    socket_peer_address(fds[1], &peer);
    assert_string_equal(netaddr_format(&local, local_text), netaddr_format(&peer, peer_text));
    assert_int_equal(strncmp(local_text, "127.0.0.1:", 10), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    unix_pair(fds);
    socket_peer_address(fds[0], &peer);
    assert_string_equal(netaddr_format(&peer, peer_text), "unix:");
    (void)close(fds[0]);
    (void)close(fds[1]);
    socket_local_address(-1, &local);
    socket_peer_address(-1, &peer);
    assert_int_equal(local.len, 0);
    assert_int_equal(peer.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keepalive_follows_the_time_given),
        cmocka_unit_test(test_keepalive_zero_is_off_and_unix_needs_nothing),
        cmocka_unit_test(test_congestion_control_is_set_where_allowed),
        cmocka_unit_test(test_acks_are_awaited_until_they_come),
        cmocka_unit_test(test_a_tcp_peer_leaves_when_both_directions_are_shut),
        cmocka_unit_test(test_a_reset_is_broken_and_keeps_what_came_before),
        cmocka_unit_test(test_a_unix_peer_that_closes_has_left),
        cmocka_unit_test(test_unsent_counts_what_tcp_has_not_delivered),
        cmocka_unit_test(test_addresses_of_both_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
