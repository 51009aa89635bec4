/*
 * resolver: answers, their time, failures, and what may be done inside callbacks.
 *
 * The clock is the test's: clock_gettime is replaced in this program, for libevent and c-ares too,
 * by the real one plus an offset. So minutes pass in no time.
 */
#include "unit/net/dns_server.h"

#include <ares.h>
#include <sys/syscall.h>
#include <time.h>

#include "net/resolver.h"

static uint64_t clock_offset_ms;

int clock_gettime(clockid_t id, struct timespec *now)
{
    if (syscall(SYS_clock_gettime, id, now) != 0) {
        return -1;
    }
    now->tv_sec += (time_t)(clock_offset_ms / 1000);
    now->tv_nsec += (long)(clock_offset_ms % 1000) * 1000000;
    if (now->tv_nsec >= 1000000000) {
        now->tv_sec++;
        now->tv_nsec -= 1000000000;
    }
    return 0;
}

struct fixture {
    struct loop *loop;
    struct dns_server server;
    struct resolver *resolver;
};

static void set_up(struct fixture *fixture)
{
    struct errbuf err;
    fixture->loop = new_loop();
    dns_server_start(&fixture->server, fixture->loop);
    fixture->resolver = resolver_new_with_servers(fixture->loop, fixture->server.address, &err);
    if (fixture->resolver == NULL) {
        fail_msg("%s", err.text);
    }
}

static void tear_down(struct fixture *fixture)
{
    resolver_free(fixture->resolver);
    dns_server_stop(&fixture->server);
    loop_free(fixture->loop);
}

enum { MAX_TEXTS = 40 };

struct asked {
    struct loop *loop;
    unsigned calls;
    unsigned stop_at; /* 0: the first */
    size_t count;
    char texts[MAX_TEXTS][NETADDR_TEXT_SIZE];
    const char *failure;
};

static void on_done(void *arg, const struct netaddr *addresses, size_t count, const char *failure)
{
    struct asked *asked = arg;
    asked->calls++;
    asked->count = count;
    asked->failure = failure;
    assert_true(count <= RESOLVER_MAX_ADDRESSES);
    assert_true((count > 0) == (failure == NULL));
    for (size_t i = 0; i < count; i++) {
        (void)netaddr_format(&addresses[i], asked->texts[i]);
    }
    if (asked->calls >= asked->stop_at) {
        loop_stop(asked->loop);
    }
}

static struct resolver_query *ask(struct fixture *fixture, struct asked *asked, const char *name)
{
    *asked = (struct asked){.loop = fixture->loop};
    struct resolver_query *query = resolver_start(fixture->resolver, name, 8443, on_done, asked);
    assert_non_null(query);
    assert_int_equal(asked->calls, 0); /* never from inside */
    return query;
}

static void resolve(struct fixture *fixture, struct asked *asked, const char *name)
{
    (void)ask(fixture, asked, name);
    run_loop(fixture->loop);
    assert_int_equal(asked->calls, 1);
}

static void expect_address(struct fixture *fixture, const char *name, const char *address)
{
    struct asked asked;
    resolve(fixture, &asked, name);
    if (asked.count == 0) {
        fail_msg("%s: %s", name, asked.failure);
    }
    assert_string_equal(asked.texts[0], address);
}

static void expect_failure(struct fixture *fixture, const char *name, const char *failure)
{
    struct asked asked;
    resolve(fixture, &asked, name);
    assert_int_equal(asked.count, 0);
    if (strstr(asked.failure, failure) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", name, asked.failure, failure);
    }
}

/* Lets half a second pass every millisecond, for those who wait for a timeout. */
struct hurry {
    struct timer *timer;
};

static void on_hurry(void *arg)
{
    struct hurry *hurry = arg;
    clock_offset_ms += 500;
    timer_set(hurry->timer, 1);
}

static void start_hurry(struct hurry *hurry, struct loop *loop)
{
    hurry->timer = timer_new(loop, on_hurry, hurry);
    timer_set(hurry->timer, 1);
}

static void test_an_answer_has_the_port_and_is_kept(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect_address(&fixture, "orders.test", "10.0.0.1:8443");
    expect_address(&fixture, "orders.test", "10.0.0.1:8443");
    assert_int_equal(fixture.server.a_queries, 1);
    assert_int_equal(fixture.server.aaaa_queries, 1);
    expect_address(&fixture, "payments.test", "10.0.0.1:8443");
    assert_int_equal(fixture.server.a_queries, 2);
    tear_down(&fixture);
}

static void test_ipv6_answers(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.a_count = 0;
    fixture.server.aaaa_count = 1;
    expect_address(&fixture, "six.test", "[fd00::1]:8443");
    fixture.server.a_count = 1;
    struct asked asked;
    resolve(&fixture, &asked, "both.test");
    assert_int_equal(asked.count, 2);
    tear_down(&fixture);
}

static void test_each_asker_gets_its_own_port(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct asked asked[2] = {{.loop = fixture.loop, .stop_at = 2}, {.loop = fixture.loop}};
    assert_non_null(resolver_start(fixture.resolver, "a.test", 1, on_done, &asked[0]));
    assert_non_null(resolver_start(fixture.resolver, "a.test", 2, on_done, &asked[1]));
    run_loop(fixture.loop);
    assert_string_equal(asked[0].texts[0], "10.0.0.1:1");
    assert_string_equal(asked[1].texts[0], "10.0.0.1:2");
    tear_down(&fixture);
}

static void test_time_to_live_is_held_between_1_s_and_5_min(void **state)
{
    (void)state;
    static const struct {
        uint32_t ttl;
        uint32_t cname_ttl;
        uint64_t kept_ms;
    } rows[] = {
        {0, 0, 1000},
        {1, 0, 1000},
        {30, 0, 30000},
        {300, 0, 300000},
        {86400, 0, 300000},
        {0x7fffffff, 0, 300000},
        {0xffffffff, 0, 300000}, /* RFC 8767 4: with the high bit too */
        {20, 0xffffffff, 20000},
        {300, 20, 20000}, /* the shortest-lived record on the way counts */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture fixture;
        set_up(&fixture);
        fixture.server.ttl = rows[i].ttl;
        fixture.server.cname_ttl = rows[i].cname_ttl;
        expect_address(&fixture, "ttl.test", "10.0.0.1:8443");
        clock_offset_ms += rows[i].kept_ms - 500;
        expect_address(&fixture, "ttl.test", "10.0.0.1:8443");
        if (fixture.server.a_queries != 1) {
            fail_msg("row %zu was asked again too early", i);
        }
        clock_offset_ms += 600;
        fixture.server.version = 7;
        expect_address(&fixture, "ttl.test", "10.0.7.1:8443");
        assert_int_equal(fixture.server.a_queries, 2);
        tear_down(&fixture);
    }
}

static void test_many_askers_are_one_question(void **state)
{
    (void)state;
    enum { ASKERS = 50 };
    struct fixture fixture;
    set_up(&fixture);
    struct asked asked = {.loop = fixture.loop, .stop_at = ASKERS};
    for (unsigned i = 0; i < ASKERS; i++) {
        assert_non_null(resolver_start(fixture.resolver, "busy.test", 80, on_done, &asked));
    }
    run_loop(fixture.loop);
    assert_int_equal(asked.calls, ASKERS);
    assert_int_equal(fixture.server.a_queries, 1);
    assert_int_equal(fixture.server.aaaa_queries, 1);
    tear_down(&fixture);
}

static void test_many_addresses_are_cut(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.a_count = 20;
    struct asked asked;
    resolve(&fixture, &asked, "twenty.test");
    assert_int_equal(asked.count, 20);
    fixture.server.a_count = 100;
    resolve(&fixture, &asked, "hundred.test");
    assert_int_equal(asked.count, RESOLVER_MAX_ADDRESSES);
    tear_down(&fixture);
}

static void test_a_truncated_answer_is_fetched_by_tcp(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.mode = DNS_TRUNCATED_BY_UDP;
    fixture.server.a_count = 25;
    struct asked asked;
    resolve(&fixture, &asked, "long.test");
    assert_int_equal(asked.count, 25);
    assert_true(fixture.server.tcp_queries > 0);
    tear_down(&fixture);
}

static void test_failures_have_their_words(void **state)
{
    (void)state;
    static const struct {
        enum dns_mode mode;
        const char *failure;
    } rows[] = {
        {DNS_NXDOMAIN, "no such name"},
        {DNS_SERVFAIL, "every name server failed"},
        {DNS_REFUSED, "every name server failed, refused"},
        {DNS_SILENT, "timeout"},
        {DNS_WRONG_ID, "timeout"},
        {DNS_CUT_SHORT, ""},
        {DNS_POINTER_LOOP, ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture fixture;
        set_up(&fixture);
        struct hurry hurry;
        start_hurry(&hurry, fixture.loop);
        fixture.server.mode = rows[i].mode;
        expect_failure(&fixture, "bad.test", rows[i].failure);
        timer_free(hurry.timer);
        tear_down(&fixture);
    }
}

static void test_a_name_without_addresses_and_a_bad_record(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.a_count = 0;
    expect_failure(&fixture, "empty.test", "no address");
    /* RFC 1035 3.4.1: an A record has four bytes. What has not is no address of anybody. */
    fixture.server.a_count = 1;
    fixture.server.mode = DNS_BAD_LENGTH;
    struct asked asked;
    resolve(&fixture, &asked, "three.test");
    assert_int_equal(asked.count, 0);
    tear_down(&fixture);
}

static void test_no_server_at_all(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct netaddr addr;
    char text[NETADDR_TEXT_SIZE];
    struct errbuf err;
    (void)close(listen_on("127.0.0.1", 1, &addr)); /* a port that nobody has */
    struct resolver *resolver =
        resolver_new_with_servers(fixture.loop, netaddr_format(&addr, text), &err);
    struct resolver *own = fixture.resolver;
    fixture.resolver = resolver;
    struct hurry hurry;
    start_hurry(&hurry, fixture.loop);
    /* c-ares 1.18 tries again until the time is over; 1.34 knows that it was refused. */
    int version = 0;
    (void)ares_version(&version);
    expect_failure(&fixture, "a.test", version < 0x011300 ? "timeout" : "could not be reached");
    timer_free(hurry.timer);
    resolver_free(resolver);
    fixture.resolver = own;
    assert_null(resolver_new_with_servers(fixture.loop, "not an address", &err));
    assert_non_null(strstr(err.text, "not an address"));
    tear_down(&fixture);
}

static void test_names_that_are_none_fail_without_a_question(void **state)
{
    (void)state;
    char label[70];
    char name[300];
    memset(label, 'x', sizeof(label));
    memcpy(label + 64, ".test", 6);
    memset(name, 'y', sizeof(name));
    for (size_t i = 50; i < sizeof(name); i += 50) {
        name[i] = '.';
    }
    name[sizeof(name) - 1] = '\0';
    const char *const names[] = {"", ".", "a..b", ".a", label, name, "hidden.onion"};
    struct fixture fixture;
    set_up(&fixture);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct asked asked;
        resolve(&fixture, &asked, names[i]);
        if (asked.count != 0) {
            fail_msg("\"%s\" has an address", names[i]);
        }
    }
    assert_int_equal(fixture.server.a_queries, 0);
    tear_down(&fixture);
}

static void test_a_failure_is_kept_for_a_second(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.mode = DNS_NXDOMAIN;
    expect_failure(&fixture, "later.test", "no such name");
    unsigned queries = fixture.server.a_queries;
    expect_failure(&fixture, "later.test", "no such name");
    assert_int_equal(fixture.server.a_queries, queries);
    fixture.server.mode = DNS_ANSWER;
    clock_offset_ms += 1100;
    expect_address(&fixture, "later.test", "10.0.0.1:8443");
    tear_down(&fixture);
}

static void test_a_stale_answer_serves_while_the_server_fails(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect_address(&fixture, "stale.test", "10.0.0.1:8443");
    clock_offset_ms += 3600 * 1000;
    fixture.server.mode = DNS_SERVFAIL;
    expect_address(&fixture, "stale.test", "10.0.0.1:8443");
    unsigned queries = fixture.server.a_queries;
    assert_true(queries > 1); /* it did ask */
    expect_address(&fixture, "stale.test", "10.0.0.1:8443");
    assert_int_equal(fixture.server.a_queries, queries); /* but not at once again */
    /* Failing, it answers at once and asks behind the askers' backs until all is well. */
    clock_offset_ms += 1100;
    fixture.server.mode = DNS_ANSWER;
    fixture.server.version = 2;
    expect_address(&fixture, "stale.test", "10.0.0.1:8443");
    run_loop_ms(fixture.loop, 20);
    expect_address(&fixture, "stale.test", "10.0.2.1:8443");
    tear_down(&fixture);
}

static void test_a_stale_answer_serves_soon_while_the_server_is_silent(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    expect_address(&fixture, "stale.test", "10.0.0.1:8443");
    clock_offset_ms += 3600 * 1000;
    fixture.server.mode = DNS_SILENT;
    struct hurry hurry;
    start_hurry(&hurry, fixture.loop);
    uint64_t before = loop_now_ms(fixture.loop);
    expect_address(&fixture, "stale.test", "10.0.0.1:8443");
    uint64_t waited = loop_now_ms(fixture.loop) - before;
    assert_true(waited >= 1800 && waited < 3000); /* RFC 8767 5; not the 7 s of c-ares */
    timer_free(hurry.timer);
    /* The next one does not wait at all, nor does it ask another time. */
    unsigned queries = fixture.server.a_queries;
    before = loop_now_ms(fixture.loop);
    expect_address(&fixture, "stale.test", "10.0.0.1:8443");
    assert_true(loop_now_ms(fixture.loop) - before < 1000);
    assert_true(fixture.server.a_queries <= queries + 1); /* a retry of c-ares may fall in */
    tear_down(&fixture);
}

static void test_no_such_name_ends_a_stale_answer(void **state)
{
    (void)state;
    static const struct {
        enum dns_mode mode;
        unsigned a_count;
    } rows[] = {{DNS_NXDOMAIN, 1}, {DNS_ANSWER, 0}};
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture;
        set_up(&fixture);
        expect_address(&fixture, "gone.test", "10.0.0.1:8443");
        clock_offset_ms += 3600 * 1000;
        fixture.server.mode = rows[i].mode;
        fixture.server.a_count = rows[i].a_count;
        expect_failure(&fixture, "gone.test", "");
        clock_offset_ms += 1100;
        fixture.server.mode = DNS_SERVFAIL;
        expect_failure(&fixture, "gone.test", "failed"); /* nothing stale is left */
        tear_down(&fixture);
    }
}

static void test_a_cancelled_asker_hears_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct asked cancelled;
    struct asked kept;
    struct resolver_query *query = ask(&fixture, &cancelled, "c.test");
    (void)ask(&fixture, &kept, "c.test");
    resolver_cancel(query);
    run_loop(fixture.loop);
    assert_int_equal(cancelled.calls, 0);
    assert_int_equal(kept.calls, 1);
    /* Also between the answer and its delivery. */
    query = ask(&fixture, &cancelled, "c.test");
    resolver_cancel(query);
    run_loop_ms(fixture.loop, 5);
    assert_int_equal(cancelled.calls, 0);
    /* The answer to a question without askers is kept all the same. */
    query = ask(&fixture, &cancelled, "d.test");
    resolver_cancel(query);
    run_loop_ms(fixture.loop, 20);
    unsigned queries = fixture.server.a_queries;
    expect_address(&fixture, "d.test", "10.0.0.1:8443");
    assert_int_equal(fixture.server.a_queries, queries);
    resolver_cancel(NULL);
    tear_down(&fixture);
}

static void test_freeing_with_questions_under_way(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct asked asked[3];
    expect_address(&fixture, "known.test", "10.0.0.1:8443");
    (void)ask(&fixture, &asked[0], "a.test");
    (void)ask(&fixture, &asked[1], "b.test");
    (void)ask(&fixture, &asked[2], "known.test"); /* its delivery is deferred */
    resolver_free(fixture.resolver);
    fixture.resolver = NULL;
    run_loop_ms(fixture.loop, 10);
    assert_int_equal(asked[0].calls + asked[1].calls + asked[2].calls, 0);
    resolver_free(NULL);
    tear_down(&fixture);
}

enum nested_action { NESTED_START, NESTED_CANCEL, NESTED_FREE };

struct nested {
    struct fixture fixture;
    struct asked inner;
    struct resolver_query *other;
    enum nested_action what;
    unsigned calls;
};

static void on_nested(void *arg, const struct netaddr *addresses, size_t count, const char *failure)
{
    struct nested *nested = arg;
    (void)failure;
    nested->calls++;
    assert_int_equal(count, 1);
    switch (nested->what) {
    case NESTED_START:
        (void)ask(&nested->fixture, &nested->inner, "n.test");
        break;
    case NESTED_CANCEL:
        resolver_cancel(nested->other);
        loop_stop(nested->fixture.loop);
        break;
    case NESTED_FREE:
        resolver_free(nested->fixture.resolver);
        nested->fixture.resolver = NULL;
        loop_stop(nested->fixture.loop);
        break;
    }
    assert_int_equal(netaddr_port(&addresses[0]), 8443); /* still ours to read */
}

static void test_callbacks_may_start_cancel_and_free(void **state)
{
    (void)state;
    for (enum nested_action what = NESTED_START; what <= NESTED_FREE; what++) {
        struct nested nested = {.what = what};
        set_up(&nested.fixture);
        assert_non_null(
            resolver_start(nested.fixture.resolver, "n.test", 8443, on_nested, &nested));
        struct asked second = {.loop = nested.fixture.loop, .stop_at = 2};
        nested.other = resolver_start(nested.fixture.resolver, "n.test", 8443, on_done, &second);
        run_loop(nested.fixture.loop);
        assert_int_equal(nested.calls, 1);
        assert_int_equal(second.calls, what == NESTED_START ? 1 : 0);
        assert_int_equal(nested.inner.calls, what == NESTED_START ? 1 : 0);
        tear_down(&nested.fixture);
    }
}

/* RFC 6761 6.3: whatever a server would say. */
static void test_localhost_is_the_loopback(void **state)
{
    (void)state;
    static const char *const names[] = {"localhost", "LocalHost.", "shop.localhost",
                                        "a.b.localhost."};
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.mode = DNS_SILENT;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct asked asked;
        resolve(&fixture, &asked, names[i]);
        assert_int_equal(asked.count, 2);
        assert_string_equal(asked.texts[0], "127.0.0.1:8443");
        assert_string_equal(asked.texts[1], "[::1]:8443");
    }
    tear_down(&fixture);
}

static void test_addresses_and_the_hosts_file_need_no_server(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.mode = DNS_SILENT;
    expect_address(&fixture, "127.0.0.1", "127.0.0.1:8443");
    expect_address(&fixture, "::1", "[::1]:8443");
    struct asked asked;
    resolve(&fixture, &asked, "localhost");
    assert_true(asked.count > 0);
    for (size_t i = 0; i < asked.count; i++) {
        struct netaddr addr;
        char text[NETADDR_TEXT_SIZE];
        assert_true(netaddr_from_ip(&addr, "127.0.0.1", 8443));
        bool is_v4 = strcmp(asked.texts[i], netaddr_format(&addr, text)) == 0;
        assert_true(is_v4 || strcmp(asked.texts[i], "[::1]:8443") == 0);
    }
    assert_int_equal(fixture.server.a_queries + fixture.server.aaaa_queries, 0);
    tear_down(&fixture);
}

static void test_the_cache_is_bounded_and_forgets_the_oldest(void **state)
{
    (void)state;
    enum { NAMES = 1030 };
    struct fixture fixture;
    set_up(&fixture);
    fixture.server.ttl = 300;
    char name[32];
    expect_address(&fixture, "used.test", "10.0.0.1:8443");
    for (unsigned i = 0; i < NAMES; i++) {
        (void)snprintf(name, sizeof(name), "name-%u.test", i);
        expect_address(&fixture, name, "10.0.0.1:8443");
        if (i % 100 == 0) {
            expect_address(&fixture, "used.test", "10.0.0.1:8443");
        }
    }
    assert_int_equal(fixture.server.a_queries, NAMES + 1);
    expect_address(&fixture, name, "10.0.0.1:8443");
    expect_address(&fixture, "used.test", "10.0.0.1:8443");
    assert_int_equal(fixture.server.a_queries, NAMES + 1);
    expect_address(&fixture, "name-0.test", "10.0.0.1:8443");
    assert_int_equal(fixture.server.a_queries, NAMES + 2);
    tear_down(&fixture);
}

static void test_the_system_configuration_is_taken(void **state)
{
    (void)state;
    struct errbuf err;
    struct loop *loop = new_loop();
    struct resolver *resolver = resolver_new(loop, &err);
    assert_non_null(resolver);
    struct asked asked = {.loop = loop};
    assert_non_null(resolver_start(resolver, "127.0.0.1", 1, on_done, &asked));
    run_loop(loop);
    assert_int_equal(asked.count, 1);
    resolver_free(resolver);
    loop_free(loop);
    assert_non_null(strchr(resolver_build_version(), '.'));
    assert_non_null(strchr(resolver_run_version(), '.'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_has_the_port_and_is_kept),
        cmocka_unit_test(test_ipv6_answers),
        cmocka_unit_test(test_each_asker_gets_its_own_port),
        cmocka_unit_test(test_time_to_live_is_held_between_1_s_and_5_min),
        cmocka_unit_test(test_many_askers_are_one_question),
        cmocka_unit_test(test_many_addresses_are_cut),
        cmocka_unit_test(test_a_truncated_answer_is_fetched_by_tcp),
        cmocka_unit_test(test_failures_have_their_words),
        cmocka_unit_test(test_a_name_without_addresses_and_a_bad_record),
        cmocka_unit_test(test_no_server_at_all),
        cmocka_unit_test(test_names_that_are_none_fail_without_a_question),
        cmocka_unit_test(test_a_failure_is_kept_for_a_second),
        cmocka_unit_test(test_a_stale_answer_serves_while_the_server_fails),
        cmocka_unit_test(test_a_stale_answer_serves_soon_while_the_server_is_silent),
        cmocka_unit_test(test_no_such_name_ends_a_stale_answer),
        cmocka_unit_test(test_a_cancelled_asker_hears_nothing),
        cmocka_unit_test(test_freeing_with_questions_under_way),
        cmocka_unit_test(test_callbacks_may_start_cancel_and_free),
        cmocka_unit_test(test_localhost_is_the_loopback),
        cmocka_unit_test(test_addresses_and_the_hosts_file_need_no_server),
        cmocka_unit_test(test_the_cache_is_bounded_and_forgets_the_oldest),
        cmocka_unit_test(test_the_system_configuration_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
