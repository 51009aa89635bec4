/* limits: the arithmetic of descriptors, and what each bound stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/limits.h"
#include "proxy/setup.h"

struct tls_context;

struct fixture {
    struct config config;
    struct config_listener config_listeners[2];
    struct setup_listener listeners[2];
    struct setup setup;
    struct limits limits;
};

static int token; /* stands for "this listener speaks mtls": limits only looks whether it is set */

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){.config = {.listener_count = 2}};
    f->config.listeners = f->config_listeners;
    f->listeners[0].server = (struct tls_context *)(void *)&token;
    f->setup.config = &f->config;
    for (size_t i = 0; i < 2; i++) {
        f->listeners[i].setup = &f->setup;
        f->listeners[i].config = &f->config_listeners[i];
        f->listeners[i].slot = i;
    }
    limits_init(&f->limits);
    f->limits.max_sessions = 3;
    f->limits.max_descriptors = 6;
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
    assert_int_equal(limits_descriptors(64, 19), 13);
    assert_int_equal(limits_descriptors(52, 20), 0);
    assert_int_equal(limits_descriptors(51, 20), 0);
}

/* Sessions take two of the 7, each that lingers one; a session more must find its two. */
static void test_limits_count_what_lingers(void **state)
{
    (void)state;
    static const struct {
        unsigned sessions;
        unsigned lingering;
        enum limits_verdict verdict;
    } rows[] = {
        {0, 6, LIMITS_SESSIONS_FULL}, {0, 7, LIMITS_SESSIONS_FULL}, {0, 100, LIMITS_SESSIONS_FULL},
        {1, 4, LIMITS_SESSIONS_FULL}, {2, 2, LIMITS_SESSIONS_FULL}, {0, 5, LIMITS_OPEN},
        {1, 3, LIMITS_OPEN},          {2, 1, LIMITS_OPEN},          {2, 0, LIMITS_OPEN},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        fixture_init(&f);
        f.limits.max_sessions = 100;
        f.limits.max_descriptors = 7;
        for (unsigned n = 0; n < rows[i].sessions; n++) {
            limits_session_begin(&f.limits, 0);
        }
        f.limits.lingering = rows[i].lingering;
        assert_int_equal(limits_check(&f.limits, &f.listeners[0]), rows[i].verdict);
        assert_int_equal(limits_check(&f.limits, &f.listeners[1]), rows[i].verdict);
        limits_fini(&f.limits);
    }
}

static void test_limits_sessions_of_the_process(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(limits_check(&f.limits, &f.listeners[0]), LIMITS_OPEN);
        limits_session_begin(&f.limits, 0);
    }
    assert_int_equal(limits_check(&f.limits, &f.listeners[0]), LIMITS_SESSIONS_FULL);
    assert_int_equal(limits_check(&f.limits, &f.listeners[1]), LIMITS_SESSIONS_FULL);
    limits_session_end(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.listeners[1]), LIMITS_OPEN);
    limits_fini(&f.limits);
}

static void test_limits_sessions_of_a_listener(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.config_listeners[0].limits.connections = 1;
    limits_session_begin(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.listeners[0]), LIMITS_SESSIONS_FULL);
    assert_int_equal(limits_check(&f.limits, &f.listeners[1]), LIMITS_OPEN);
    limits_fini(&f.limits);
}

static void test_limits_handshakes_only_where_there_are_any(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.config.limits.handshakes = 2;
    limits_handshake_begin(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.listeners[0]), LIMITS_OPEN);
    limits_handshake_begin(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.listeners[0]), LIMITS_HANDSHAKES_FULL);
    /* Listener 1 accepts plaintext: no handshake of its own waits there. */
    assert_int_equal(limits_check(&f.limits, &f.listeners[1]), LIMITS_OPEN);
    limits_handshake_end(&f.limits, 0);
    assert_int_equal(limits_check(&f.limits, &f.listeners[0]), LIMITS_OPEN);
    limits_fini(&f.limits);
}

static void test_limits_buffered(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.config.limits.buffered_bytes = 100;
    f.config_listeners[1].limits.buffered_bytes = 30;
    assert_true(limits_buffer(&f.limits, &f.listeners[0], 50));
    assert_false(limits_buffer_is_tight(&f.limits, &f.listeners[0]));
    assert_true(limits_buffer(&f.limits, &f.listeners[1], 30));
    assert_true(limits_buffer_is_tight(&f.limits, &f.listeners[0]));
    assert_false(limits_buffer(&f.limits, &f.listeners[1], 1));  /* the listener's bound */
    assert_false(limits_buffer(&f.limits, &f.listeners[0], 21)); /* the process's */
    assert_true(limits_buffer(&f.limits, &f.listeners[0], 20));
    limits_unbuffer(&f.limits, 1, 30);
    assert_true(limits_buffer(&f.limits, &f.listeners[0], 30));
    limits_fini(&f.limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_descriptors),
        cmocka_unit_test(test_limits_count_what_lingers),
        cmocka_unit_test(test_limits_sessions_of_the_process),
        cmocka_unit_test(test_limits_sessions_of_a_listener),
        cmocka_unit_test(test_limits_handshakes_only_where_there_are_any),
        cmocka_unit_test(test_limits_buffered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
