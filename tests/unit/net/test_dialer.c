/* dialer: every way a connect() can end, and that it is told once and never at once. */
#include "unit/net/net_test.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "net/dialer.h"

static const struct socket_options options = {.keepalive_ms = 60000};

struct dial {
    struct loop *loop;
    struct dialer *dialer;
    unsigned calls;
    int fd;
    enum reason why;
    int error;
};

static void on_done(void *arg, int fd, struct dial_failure failure)
{
    struct dial *dial = arg;
    dial->calls++;
    dial->fd = fd;
    dial->why = failure.reason;
    dial->error = failure.error;
    dial->dialer = NULL;
    loop_stop(dial->loop);
}

static void start(struct dial *dial, const struct netaddr *addr, uint64_t timeout_ms)
{
    *dial = (struct dial){.loop = new_loop(), .fd = -1};
    struct dial_failure failure;
    assert_int_equal(dialer_start(dial->loop, addr, timeout_ms, &options, on_done, dial,
                                  &dial->dialer, &failure),
                     0);
    assert_int_equal(dial->calls, 0); /* never from inside */
    assert_non_null(dial->dialer);
}

static void finish(struct dial *dial)
{
    if (dial->fd >= 0) {
        (void)close(dial->fd);
    }
    loop_free(dial->loop);
}

/* error: the kernel's. */
static void expect_failure(const struct netaddr *addr, uint64_t timeout_ms, enum reason why,
                           int error)
{
    struct dial dial;
    start(&dial, addr, timeout_ms);
    run_loop(dial.loop);
    assert_int_equal(dial.fd, -1);
    assert_string_equal(reason_label(dial.why), reason_label(why));
    assert_int_equal(dial.error, error);
    run_loop_ms(dial.loop, 5);
    assert_int_equal(dial.calls, 1);
    finish(&dial);
}

static void test_connects_over_both_families(void **state)
{
    (void)state;
    static const char *const ips[] = {"127.0.0.1", "::1"};
    for (size_t i = 0; i < 2; i++) {
        struct netaddr addr;
        int listener = listen_on(ips[i], 5, &addr);
        struct dial dial;
        start(&dial, &addr, 5000);
        run_loop(dial.loop);
        assert_true(dial.fd >= 0);
        assert_int_equal(dial.why, REASON_NONE);
        assert_true((fcntl(dial.fd, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(dial.fd, F_GETFD) & FD_CLOEXEC) != 0);
        int on = 0;
        socklen_t size = sizeof(on);
        assert_return_code(getsockopt(dial.fd, SOL_SOCKET, SO_KEEPALIVE, &on, &size), errno);
        assert_int_equal(on, 1);
        int peer = accept(listener, NULL, NULL);
        assert_return_code(peer, errno);
        assert_int_equal(write(dial.fd, "x", 1), 1);
        char byte;
        assert_int_equal(read(peer, &byte, 1), 1);
        (void)close(peer);
        (void)close(listener);
        finish(&dial);
    }
}

/* Bound but not listening: the port is ours and refuses. */
static int refusing(struct netaddr *addr)
{
    assert_true(netaddr_from_ip(addr, "127.0.0.1", 0));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, &addr->u.sa, addr->len), errno);
    socklen_t len = sizeof(addr->u);
    assert_return_code(getsockname(fd, &addr->u.sa, &len), errno);
    return fd;
}

static void test_refused(void **state)
{
    (void)state;
    struct netaddr addr;
    int fd = refusing(&addr);
    expect_failure(&addr, 5000, REASON_UPSTREAM_CONNECT_REFUSED, ECONNREFUSED);
    (void)close(fd);
}

static void test_what_cannot_be_reached_has_failed(void **state)
{
    (void)state;
    struct netaddr addr;
    /* TCP has no broadcast. */
    assert_true(netaddr_from_ip(&addr, "255.255.255.255", 9));
    expect_failure(&addr, 5000, REASON_UPSTREAM_CONNECT_FAILED, ENETUNREACH);
}

/* A full queue drops every further SYN, so that connect() hangs. */
enum { FILLERS = 8 };
static int hanging(struct netaddr *addr, int fillers[FILLERS])
{
    int listener = listen_on("127.0.0.1", 0, addr);
    for (size_t i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], &addr->u.sa, addr->len);
    }
    return listener;
}

static void close_hanging(int listener, const int fillers[FILLERS])
{
    for (size_t i = 0; i < FILLERS; i++) {
        (void)close(fillers[i]);
    }
    (void)close(listener);
}

static void test_timeout(void **state)
{
    (void)state;
    struct netaddr addr;
    int fillers[FILLERS];
    int listener = hanging(&addr, fillers);
    struct dial dial;
    start(&dial, &addr, 80);
    uint64_t before = loop_now_ms(dial.loop);
    run_loop(dial.loop);
    assert_int_equal(dial.fd, -1);
    assert_string_equal(reason_label(dial.why), "upstream_connect_timeout");
    assert_true(loop_now_ms(dial.loop) - before >= 79);
    finish(&dial);
    close_hanging(listener, fillers);
}

static void test_cancel_while_connecting_and_after_an_immediate_outcome(void **state)
{
    (void)state;
    struct netaddr slow;
    int fillers[FILLERS];
    int listener = hanging(&slow, fillers);
    struct netaddr unreachable;
    assert_true(netaddr_from_ip(&unreachable, "255.255.255.255", 9));
    const struct netaddr *addresses[] = {&slow, &unreachable};
    for (size_t i = 0; i < 2; i++) {
        struct dial dial;
        start(&dial, addresses[i], 5000);
        dialer_cancel(dial.dialer);
        run_loop_ms(dial.loop, 20);
        assert_int_equal(dial.calls, 0);
        finish(&dial);
    }
    /* Even when the loop never runs again. */
    struct dial dial;
    start(&dial, &unreachable, 5000);
    dialer_cancel(dial.dialer);
    finish(&dial);
    dialer_cancel(NULL);
    close_hanging(listener, fillers);
}

struct chain {
    struct dial dial;
    const struct netaddr *next;
};

static void on_first_done(void *arg, int fd, struct dial_failure failure)
{
    struct chain *chain = arg;
    assert_int_equal(fd, -1);
    assert_int_equal(failure.reason, REASON_UPSTREAM_CONNECT_REFUSED);
    assert_int_equal(failure.error, ECONNREFUSED);
    struct dial_failure start_why;
    assert_int_equal(dialer_start(chain->dial.loop, chain->next, 5000, &options, on_done,
                                  &chain->dial, &chain->dial.dialer, &start_why),
                     0);
}

static void test_the_callback_may_dial_the_next_address(void **state)
{
    (void)state;
    struct netaddr refused;
    struct netaddr good;
    int fd = refusing(&refused);
    int listener = listen_on("127.0.0.1", 5, &good);
    struct chain chain = {.dial = {.loop = new_loop(), .fd = -1}, .next = &good};
    struct dial_failure why;
    assert_int_equal(dialer_start(chain.dial.loop, &refused, 5000, &options, on_first_done, &chain,
                                  &chain.dial.dialer, &why),
                     0);
    run_loop(chain.dial.loop);
    assert_true(chain.dial.fd >= 0);
    (void)close(fd);
    (void)close(listener);
    finish(&chain.dial);
}

/* ---- Unix ---- */

struct place {
    char directory[64];
    char path[96];
    struct netaddr addr;
};

static void make_place(struct place *place)
{
    (void)snprintf(place->directory, sizeof(place->directory), "/tmp/bulkhead-dial-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    (void)snprintf(place->path, sizeof(place->path), "%s/x.sock", place->directory);
    assert_true(netaddr_from_path(&place->addr, place->path));
}

static void remove_place(const struct place *place)
{
    (void)unlink(place->path);
    assert_return_code(rmdir(place->directory), errno);
}

static int listen_unix(const struct place *place, int backlog)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, &place->addr.u.sa, place->addr.len), errno);
    assert_return_code(listen(fd, backlog), errno);
    return fd;
}

static void test_unix_connects_is_missing_or_stale(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    expect_failure(&place.addr, 5000, REASON_UPSTREAM_CONNECT_FAILED, ENOENT); /* no such file */
    int listener = listen_unix(&place, 5);
    struct dial dial;
    start(&dial, &place.addr, 5000);
    run_loop(dial.loop);
    assert_true(dial.fd >= 0);
    finish(&dial);
    (void)close(listener);
    expect_failure(&place.addr, 5000, REASON_UPSTREAM_CONNECT_REFUSED,
                   ECONNREFUSED); /* nobody answers */
    remove_place(&place);
}

struct unblocker {
    int listener;
    int accepted;
};

static void accept_one(void *arg)
{
    struct unblocker *unblocker = arg;
    unblocker->accepted = accept(unblocker->listener, NULL, NULL);
}

static void test_unix_full_queue_is_tried_again_until_the_timeout(void **state)
{
    (void)state;
    struct place place;
    make_place(&place);
    struct unblocker unblocker = {.listener = listen_unix(&place, 0), .accepted = -1};
    int filler = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(connect(filler, &place.addr.u.sa, place.addr.len), errno);
    expect_failure(&place.addr, 50, REASON_UPSTREAM_CONNECT_TIMEOUT, 0);
    struct dial dial;
    start(&dial, &place.addr, 5000);
    struct timer *timer = timer_new(dial.loop, accept_one, &unblocker);
    timer_set(timer, 30);
    run_loop(dial.loop);
    assert_true(dial.fd >= 0);
    assert_true(unblocker.accepted >= 0);
    timer_free(timer);
    (void)close(unblocker.accepted);
    (void)close(filler);
    (void)close(unblocker.listener);
    finish(&dial);
    remove_place(&place);
}

static void test_no_descriptor_is_left(void **state)
{
    (void)state;
    struct netaddr addr;
    assert_true(netaddr_from_ip(&addr, "127.0.0.1", 9));
    pid_t child = fork();
    assert_return_code(child, errno);
    if (child == 0) {
        struct loop *loop = new_loop();
        struct rlimit limit;
        struct dialer *dialer = NULL;
        struct dial_failure failure = {0};
        bool ok = getrlimit(RLIMIT_NOFILE, &limit) == 0;
        limit.rlim_cur = 3; /* the hard limit stays: valgrind lets nobody change it */
        ok = ok && setrlimit(RLIMIT_NOFILE, &limit) == 0 &&
             dialer_start(loop, &addr, 1000, &options, on_done, NULL, &dialer, &failure) == -1 &&
             dialer == NULL && failure.reason == REASON_OUT_OF_DESCRIPTORS &&
             failure.error == EMFILE;
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static bool bring_loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return up;
}

static bool set_ephemeral_ports(const char *range)
{
    int fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
    bool set = fd >= 0 && write(fd, range, strlen(range)) > 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return set;
}

/* Elsewhere it takes some 28,000 dials: in a network of our own with one ephemeral port, connect()
   to that port has no choice but to meet itself. The last test: the process stays in there. */
static void test_a_socket_connected_to_itself_counts_as_refused(void **state)
{
    (void)state;
    if (unshare(CLONE_NEWNET) != 0 || !bring_loopback_up() || !set_ephemeral_ports("40001 40001")) {
        skip(); /* no privilege for it */
    }
    struct netaddr addr;
    assert_true(netaddr_from_ip(&addr, "127.0.0.1", 40001));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(connect(fd, &addr.u.sa, addr.len), errno); /* it does happen */
    socket_set_reset_on_close(fd);                                /* and leaves no TIME_WAIT */
    (void)close(fd);
    expect_failure(&addr, 2000, REASON_UPSTREAM_CONNECT_REFUSED, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connects_over_both_families),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_what_cannot_be_reached_has_failed),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_cancel_while_connecting_and_after_an_immediate_outcome),
        cmocka_unit_test(test_the_callback_may_dial_the_next_address),
        cmocka_unit_test(test_unix_connects_is_missing_or_stale),
        cmocka_unit_test(test_unix_full_queue_is_tried_again_until_the_timeout),
        cmocka_unit_test(test_no_descriptor_is_left),
        cmocka_unit_test(test_a_socket_connected_to_itself_counts_as_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
