/* limits: the arithmetic of descriptors, and what each bound stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/limits.h"
#include "proxy/snapshot.h"

struct tls_context;

struct fixture {
    struct config config;
    struct config_listener config_listeners[2];
    struct snapshot_listener listeners[2];
    struct snapshot snapshot;
    struct limits limits;
};

static int token; /* stands for "this listener speaks mtls": limits only looks whether it is set */

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){.config = {.listener_count = 2}};
    f->config.listeners = f->config_listeners;
    f->listeners[0].server = (struct tls_context *)(void *)&token;
    f->snapshot.config = &f->config;
    f->snapshot.listeners = f->listeners;
    limits_init(&f->limits, 2);
    f->limits.max_sessions = 3;
}

static void test_limits_descriptors(void **state)
{
    (void)state;
    static const struct {
        uint64_t limit;
        uint64_t used;
        uint64_t sessions;
    } rows[] = {
        {64, 20, 6}, {1024, 24, 484}, {20000, 30, 9969}, {54, 20, 1}, {53, 20, 0},
        {52, 20, 0}, {10, 20, 0},     {0, 0, 0},         {34, 0, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(limits_sessions_by_descriptors(rows[i].limit, rows[i].used),
                         rows[i].sessions);
    }
}

static void test_limits_sessions_of_the_process(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(limits_check(&f.limits, &f.snapshot, 0), LIMITS_OPEN);
        limits_session_begin(&f.limits, 0);
    }
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 0), LIMITS_SESSIONS_FULL);
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 1), LIMITS_SESSIONS_FULL);
    limits_session_end(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 1), LIMITS_OPEN);
    limits_fini(&f.limits);
}

static void test_limits_sessions_of_a_listener(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.config_listeners[0].limits.connections = 1;
    limits_session_begin(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 0), LIMITS_SESSIONS_FULL);
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 1), LIMITS_OPEN);
    limits_fini(&f.limits);
}

static void test_limits_handshakes_only_where_there_are_any(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.config.limits.handshakes = 2;
    limits_handshake_begin(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 0), LIMITS_OPEN);
    limits_handshake_begin(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 0), LIMITS_HANDSHAKES_FULL);
    /* Listener 1 accepts plaintext: no handshake of its own waits there. */
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 1), LIMITS_OPEN);
    limits_handshake_end(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.snapshot, 0), LIMITS_OPEN);
    limits_fini(&f.limits);
}

static void test_limits_buffered(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.config.limits.buffered_bytes = 100;
    f.config_listeners[1].limits.buffered_bytes = 30;
    assert_true(limits_buffer(&f.limits, &f.snapshot, 0, 50));
    assert_false(limits_buffer_is_tight(&f.limits, &f.snapshot));
    assert_true(limits_buffer(&f.limits, &f.snapshot, 1, 30));
    assert_true(limits_buffer_is_tight(&f.limits, &f.snapshot));
    assert_false(limits_buffer(&f.limits, &f.snapshot, 1, 1));  /* the listener's bound */
    assert_false(limits_buffer(&f.limits, &f.snapshot, 0, 21)); /* the process's */
    assert_true(limits_buffer(&f.limits, &f.snapshot, 0, 20));
    limits_unbuffer(&f.limits, 1, 30);
    assert_true(limits_buffer(&f.limits, &f.snapshot, 0, 30));
    limits_fini(&f.limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_descriptors),
        cmocka_unit_test(test_limits_sessions_of_the_process),
        cmocka_unit_test(test_limits_sessions_of_a_listener),
        cmocka_unit_test(test_limits_handshakes_only_where_there_are_any),
        cmocka_unit_test(test_limits_buffered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
