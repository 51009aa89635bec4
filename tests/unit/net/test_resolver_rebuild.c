/*
 * resolver: new servers and a new /etc/resolv.conf in the middle of everything.
 *
 * fopen, connect and recvfrom are replaced in this program, for c-ares too: /etc/resolv.conf is a
 * file of the test's, and port 53 of 127.0.0.1 is the test's server (c-ares 1.34 looks where an
 * answer comes from, port and all).
 */
#include "unit/net/dns_server.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "net/resolver.h"

static const char *resolv_conf;
static unsigned resolv_conf_reads;
static in_port_t port_53;

FILE *fopen(const char *path, const char *mode)
{
    static FILE *(*real)(const char *, const char *);
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "fopen");
    }
    if (resolv_conf != NULL && strcmp(path, "/etc/resolv.conf") == 0) {
        resolv_conf_reads++;
        path = resolv_conf;
    }
    return real(path, mode);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t len)
{
    const struct sockaddr *addr = to.__sockaddr__;
    struct sockaddr_in in;
    if (port_53 != 0 && addr->sa_family == AF_INET && len >= sizeof(in)) {
        memcpy(&in, addr, sizeof(in));
        if (ntohs(in.sin_port) == 53 && in.sin_addr.s_addr != htonl(INADDR_LOOPBACK)) {
            errno = ECONNREFUSED;
            return -1;
        }
        if (ntohs(in.sin_port) == 53) {
            in.sin_port = htons(port_53);
        }
        return (int)syscall(SYS_connect, fd, &in, sizeof(in));
    }
    return (int)syscall(SYS_connect, fd, addr, len);
}

ssize_t recvfrom(int fd, void *data, size_t len, int flags, __SOCKADDR_ARG from,
                 socklen_t *from_len)
{
    struct sockaddr *addr = from.__sockaddr__;
    ssize_t got = syscall(SYS_recvfrom, fd, data, len, flags, addr, from_len);
    struct sockaddr_in in;
    if (got >= 0 && port_53 != 0 && addr != NULL && *from_len == sizeof(in)) {
        memcpy(&in, addr, sizeof(in));
        if (in.sin_family == AF_INET && ntohs(in.sin_port) == port_53) {
            in.sin_port = htons(53);
            memcpy(addr, &in, sizeof(in));
        }
    }
    return got;
}

struct fixture {
    struct loop *loop;
    struct dns_server former;
    struct dns_server latter;
    struct resolver *resolver;
    struct errbuf err;
    unsigned calls;
    char text[NETADDR_TEXT_SIZE]; /* the first address, or why there is none */
};

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){.loop = new_loop()};
    dns_server_start(&fixture->former, fixture->loop);
    dns_server_start(&fixture->latter, fixture->loop);
    fixture->former.version = 1;
    fixture->latter.version = 2;
    fixture->resolver =
        resolver_new_with_servers(fixture->loop, fixture->former.address, &fixture->err);
    assert_non_null(fixture->resolver);
}

static void tear_down(struct fixture *fixture)
{
    resolver_free(fixture->resolver);
    dns_server_stop(&fixture->former);
    dns_server_stop(&fixture->latter);
    loop_free(fixture->loop);
}

static void change_servers(struct fixture *fixture)
{
    assert_int_equal(
        resolver_rebuild_with_servers(fixture->resolver, fixture->latter.address, &fixture->err),
        0);
}

static void rebuild(struct fixture *fixture)
{
    assert_int_equal(resolver_rebuild(fixture->resolver, &fixture->err), 0);
}

static void on_done(void *arg, const struct netaddr *addresses, size_t count, const char *failure)
{
    struct fixture *fixture = arg;
    fixture->calls++;
    if (count > 0) {
        (void)netaddr_format(&addresses[0], fixture->text);
    } else {
        (void)snprintf(fixture->text, sizeof(fixture->text), "%s", failure);
    }
    loop_stop(fixture->loop);
}

static struct resolver_query *ask(struct fixture *fixture, const char *name)
{
    struct resolver_query *query = resolver_start(fixture->resolver, name, 8443, on_done, fixture);
    assert_non_null(query);
    return query;
}

static void expect(struct fixture *fixture, const char *name, const char *text)
{
    unsigned calls = fixture->calls;
    (void)ask(fixture, name);
    run_loop(fixture->loop);
    assert_int_equal(fixture->calls, calls + 1);
    if (strstr(fixture->text, text) == NULL) {
        fail_msg("%s: \"%s\" instead of \"%s\"", name, fixture->text, text);
    }
}

static void test_new_servers_answer_from_then_on(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect(&fixture, "a.test", "10.0.1.1:8443");
    change_servers(&fixture);
    expect(&fixture, "a.test", "10.0.2.1:8443"); /* fresh, but of before */
    expect(&fixture, "b.test", "10.0.2.1:8443");
    assert_int_equal(fixture.former.a_queries, 1);
    rebuild(&fixture); /* keeps the latter ones */
    expect(&fixture, "a.test", "10.0.2.1:8443");
    assert_int_equal(fixture.former.a_queries, 1);
    assert_int_equal(fixture.latter.a_queries, 3);
    tear_down(&fixture);
}

static void test_a_rebuild_asks_again_though_an_answer_was_fresh(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect(&fixture, "a.test", "10.0.1.1:8443");
    expect(&fixture, "127.0.0.1", "127.0.0.1:8443");
    fixture.former.version = 7;
    expect(&fixture, "a.test", "10.0.1.1:8443");
    rebuild(&fixture);
    expect(&fixture, "a.test", "10.0.7.1:8443");
    expect(&fixture, "127.0.0.1", "127.0.0.1:8443");
    fixture.former.mode = DNS_NXDOMAIN;
    expect(&fixture, "none.test", "no such name");
    fixture.former.mode = DNS_ANSWER;
    expect(&fixture, "none.test", "no such name"); /* kept for a second */
    rebuild(&fixture);
    expect(&fixture, "none.test", "10.0.7.1:8443");
    tear_down(&fixture);
}

static void test_stale_answers_serve_when_the_new_servers_fail(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect(&fixture, "a.test", "10.0.1.1:8443");
    fixture.latter.mode = DNS_SERVFAIL;
    change_servers(&fixture);
    expect(&fixture, "a.test", "10.0.1.1:8443");
    assert_true(fixture.latter.a_queries > 0);
    expect(&fixture, "b.test", "failed");
    /* Silent ones: after the patience of 1.8 s. */
    fixture.latter.mode = DNS_SILENT;
    rebuild(&fixture);
    uint64_t start = clock_mono_ms();
    expect(&fixture, "a.test", "10.0.1.1:8443");
    uint64_t took = clock_mono_ms() - start;
    assert_true(took >= 1700 && took < 5000);
    tear_down(&fixture);
}

static void test_those_who_wait_are_answered_by_the_new_servers(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.former.mode = DNS_SILENT;
    (void)ask(&fixture, "a.test");
    (void)ask(&fixture, "a.test");
    (void)ask(&fixture, "127.0.0.1"); /* its delivery is deferred */
    struct resolver_query *cancelled = ask(&fixture, "b.test");
    resolver_cancel(cancelled);
    run_loop(fixture.loop);
    assert_int_equal(fixture.calls, 1);
    run_loop_ms(fixture.loop, 20);
    assert_int_equal(fixture.former.a_queries, 2);
    uint64_t start = clock_mono_ms();
    change_servers(&fixture);
    while (fixture.calls < 3) {
        run_loop(fixture.loop);
    }
    assert_true(clock_mono_ms() - start < 900); /* not after a timeout of the former ones */
    assert_string_equal(fixture.text, "10.0.2.1:8443");
    assert_int_equal(fixture.latter.a_queries, 1); /* nobody waits for b.test */
    tear_down(&fixture);
}

/* The address for one family has come, the other's has not: the former servers' half is void. */
static void test_half_an_answer_of_the_former_servers_does_not_count(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.former.aaaa_count = 0;
    (void)ask(&fixture, "a.test");
    uint8_t query[512];
    uint8_t answer[1024];
    struct sockaddr_storage peer;
    /* The test's own server: answers A and keeps silent on AAAA. */
    io_watch_free(fixture.former.udp_watch);
    fixture.former.udp_watch = NULL;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(wait_for(fixture.former.udp, POLLIN), POLLIN);
        socklen_t peer_len = sizeof(peer);
        ssize_t got = recvfrom(fixture.former.udp, query, sizeof(query), 0,
                               (struct sockaddr *)&peer, &peer_len);
        assert_true(got > DNS_HEADER);
        unsigned before = fixture.former.a_queries;
        size_t len =
            dns_answer(&fixture.former, query, (size_t)got, answer, sizeof(answer), DNS_OVER_UDP);
        if (fixture.former.a_queries > before) {
            assert_int_equal(
                sendto(fixture.former.udp, answer, len, 0, (struct sockaddr *)&peer, peer_len),
                len);
        }
    }
    run_loop_ms(fixture.loop, 50);
    assert_int_equal(fixture.calls, 0);
    change_servers(&fixture);
    run_loop(fixture.loop);
    assert_string_equal(fixture.text, "10.0.2.1:8443");
    expect(&fixture, "a.test", "10.0.2.1:8443");
    tear_down(&fixture);
}

static void test_servers_that_are_none_change_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect(&fixture, "a.test", "10.0.1.1:8443");
    assert_int_equal(
        resolver_rebuild_with_servers(fixture.resolver, "not an address", &fixture.err), -1);
    assert_non_null(strstr(fixture.err.text, "\"not an address\""));
    fixture.former.version = 9;
    expect(&fixture, "a.test", "10.0.1.1:8443"); /* still fresh */
    expect(&fixture, "b.test", "10.0.9.1:8443");
    tear_down(&fixture);
}

static void on_done_rebuild(void *arg, const struct netaddr *addresses, size_t count,
                            const char *failure)
{
    struct fixture *fixture = arg;
    (void)failure;
    change_servers(fixture);
    assert_int_equal(count, 1);
    assert_int_equal(netaddr_port(&addresses[0]), 8443); /* still ours to read */
    (void)ask(fixture, "a.test");
}

static void test_a_callback_may_rebuild(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_non_null(resolver_start(fixture.resolver, "a.test", 8443, on_done_rebuild, &fixture));
    run_loop(fixture.loop);
    assert_string_equal(fixture.text, "10.0.2.1:8443");
    tear_down(&fixture);
}

static unsigned count_open_files(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    assert_return_code(closedir(dir), errno);
    return count;
}

static void test_nothing_is_left_of_many_rebuilds(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect(&fixture, "a.test", "10.0.1.1:8443");
    unsigned files = count_open_files();
    fixture.former.mode = DNS_SILENT;
    for (unsigned i = 0; i < 1000; i++) {
        (void)ask(&fixture, i % 2 == 0 ? "a.test" : "b.test");
        rebuild(&fixture);
    }
    fixture.former.mode = DNS_ANSWER;
    rebuild(&fixture);
    while (fixture.calls < 1001) {
        run_loop(fixture.loop);
    }
    assert_int_equal(count_open_files(), files);
    tear_down(&fixture);
}

static void write_resolv_conf(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_return_code(fclose(file), errno);
}

static void test_the_system_configuration_is_read_anew(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct netaddr addr = {.len = sizeof(addr.u)};
    socklen_t len = sizeof(addr.u);
    assert_return_code(getsockname(fixture.latter.udp, &addr.u.sa, &len), errno);
    char path[256];
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(path, sizeof(path), "%s/bulkhead-resolv-XXXXXX", tmp != NULL ? tmp : "/tmp");
    int fd = mkstemp(path);
    assert_return_code(fd, errno);
    assert_return_code(close(fd), errno);
    write_resolv_conf(path, "nameserver 127.0.0.77\n");
    resolv_conf = path;
    port_53 = netaddr_port(&addr);

    struct resolver *with_servers = fixture.resolver;
    fixture.resolver = resolver_new(fixture.loop, &fixture.err);
    assert_non_null(fixture.resolver);
    expect(&fixture, "a.test", "could not be reached");
    write_resolv_conf(path, "nameserver 127.0.0.1\n");
    expect(&fixture, "b.test", "could not be reached");
    unsigned reads = resolv_conf_reads;
    rebuild(&fixture);
    assert_true(resolv_conf_reads > reads);
    expect(&fixture, "a.test", "10.0.2.1:8443");

    resolv_conf = NULL;
    port_53 = 0;
    resolver_free(with_servers);
    assert_return_code(unlink(path), errno);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_servers_answer_from_then_on),
        cmocka_unit_test(test_a_rebuild_asks_again_though_an_answer_was_fresh),
        cmocka_unit_test(test_stale_answers_serve_when_the_new_servers_fail),
        cmocka_unit_test(test_those_who_wait_are_answered_by_the_new_servers),
        cmocka_unit_test(test_half_an_answer_of_the_former_servers_does_not_count),
        cmocka_unit_test(test_servers_that_are_none_change_nothing),
        cmocka_unit_test(test_a_callback_may_rebuild),
        cmocka_unit_test(test_nothing_is_left_of_many_rebuilds),
        cmocka_unit_test(test_the_system_configuration_is_read_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
