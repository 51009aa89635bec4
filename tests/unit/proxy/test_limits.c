/* limits: the arithmetic of descriptors, and what each bound stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

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

static void reserve(struct fixture *f, size_t listener)
{
    assert_int_equal(limits_reserve(&f->limits, &f->listeners[listener]), LIMITS_NONE);
}

/* Both ways of asking give the same answer, and a refused one takes nothing. */
static void assert_full(struct fixture *f, size_t listener, enum limits_bound bound)
{
    uint64_t sessions = f->limits.process.sessions;
    uint64_t descriptors = f->limits.descriptors;
    uint64_t handshakes = f->limits.process.handshakes;
    uint64_t own = f->limits.listeners[listener].sessions;
    assert_int_equal(limits_check(&f->limits, &f->listeners[listener]), bound);
    assert_int_equal(limits_reserve(&f->limits, &f->listeners[listener]), bound);
    assert_int_equal(f->limits.process.sessions, sessions);
    assert_int_equal(f->limits.descriptors, descriptors);
    assert_int_equal(f->limits.process.handshakes, handshakes);
    assert_int_equal(f->limits.listeners[listener].sessions, own);
}

static void assert_empty(struct fixture *f)
{
    assert_int_equal(f->limits.process.sessions, 0);
    assert_int_equal(f->limits.process.handshakes, 0);
    assert_int_equal(f->limits.descriptors, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(f->limits.listeners[i].sessions, 0);
        assert_int_equal(f->limits.listeners[i].handshakes, 0);
    }
    limits_fini(&f->limits);
}

/* Sessions take two of the 7, each that lingers one; a session more must find its two. */
static void test_limits_count_what_lingers(void **state)
{
    (void)state;
    static const struct {
        unsigned sessions;
        unsigned lingering;
        enum limits_bound full;
    } rows[] = {
        {0, 6, LIMITS_DESCRIPTORS}, {0, 7, LIMITS_DESCRIPTORS}, {0, 100, LIMITS_DESCRIPTORS},
        {1, 4, LIMITS_DESCRIPTORS}, {2, 2, LIMITS_DESCRIPTORS}, {3, 0, LIMITS_DESCRIPTORS},
        {0, 5, LIMITS_NONE},        {1, 3, LIMITS_NONE},        {2, 1, LIMITS_NONE},
        {2, 0, LIMITS_NONE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        fixture_init(&f);
        f.limits.max_sessions = 100;
        f.limits.max_descriptors = 7;
        for (unsigned n = 0; n < rows[i].sessions; n++) {
            reserve(&f, 0);
        }
        f.limits.descriptors += rows[i].lingering;
        assert_int_equal(limits_check(&f.limits, &f.listeners[0]), rows[i].full);
        assert_int_equal(limits_reserve(&f.limits, &f.listeners[1]), rows[i].full);
        limits_fini(&f.limits);
    }
}

/* A refused conn is counted from before its session's end until after it lingers. */
static void test_limits_hold_a_descriptor(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.limits.max_descriptors = 2;
    reserve(&f, 1);
    limits_hold_descriptor(&f.limits);
    limits_session_end(&f.limits, 1);
    assert_full(&f, 1, LIMITS_DESCRIPTORS);
    limits_drop_descriptor(&f.limits);
    reserve(&f, 1);
    limits_cancel(&f.limits, &f.listeners[1]);
    assert_empty(&f);
}

static void test_limits_sessions_of_the_process(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.limits.max_descriptors = 100;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(limits_check(&f.limits, &f.listeners[1]), LIMITS_NONE);
        reserve(&f, 1);
    }
    assert_full(&f, 0, LIMITS_CONNECTIONS);
    assert_full(&f, 1, LIMITS_CONNECTIONS);
    limits_session_end(&f.limits, 1);
    reserve(&f, 0);
    f.limits.max_sessions = 1; /* a reload may go below what is open */
    assert_full(&f, 0, LIMITS_HANDSHAKES);
    assert_full(&f, 1, LIMITS_CONNECTIONS);
    limits_cancel(&f.limits, &f.listeners[0]);
    assert_full(&f, 0, LIMITS_CONNECTIONS);
    limits_session_end(&f.limits, 1);
    limits_session_end(&f.limits, 1);
    assert_empty(&f);
}

/* Half of what the others leave, and one at least; of the listener likewise. */
static void test_limits_handshakes_leave_places_for_sessions(void **state)
{
    (void)state;
    static const struct {
        uint64_t max;
        unsigned sessions;
        uint64_t handshakes;
    } rows[] = {{100, 0, 50}, {100, 20, 40}, {100, 97, 1}, {100, 99, 1},
                {5, 0, 2},    {2, 0, 1},     {1, 0, 1},    {1000, 0, 60}};
    for (size_t own = 0; own < 2; own++) {
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            struct fixture f;
            fixture_init(&f);
            f.limits.max_descriptors = 10000;
            f.limits.max_sessions = own != 0 ? 5000 : rows[i].max;
            f.config.limits.handshakes = own != 0 ? 0 : 60;
            f.config_listeners[0].limits.connections = own != 0 ? rows[i].max : 0;
            f.config_listeners[0].limits.handshakes = own != 0 ? 60 : 0;
            enum limits_bound bound = own != 0 ? LIMITS_LISTENER_HANDSHAKES : LIMITS_HANDSHAKES;
            for (unsigned k = 0; k < rows[i].sessions; k++) {
                reserve(&f, 0);
                limits_handshake_end(&f.limits, 0);
            }
            uint64_t handshakes = 0;
            while (limits_reserve(&f.limits, &f.listeners[0]) == LIMITS_NONE) {
                handshakes++;
            }
            assert_int_equal(handshakes, rows[i].handshakes);
            assert_full(&f, 0, bound);
            assert_int_equal(limits_handshake_bound(&f.limits, &f.listeners[0], bound),
                             rows[i].handshakes);
            enum limits_bound behind = own != 0 ? LIMITS_LISTENER_CONNECTIONS : LIMITS_DESCRIPTORS;
            assert_int_equal(limits_bound_behind(&f.limits, &f.listeners[0], bound),
                             rows[i].handshakes < 60 ? behind : bound);
            f.config.limits.connections = f.limits.max_sessions;
            behind = own != 0 ? LIMITS_LISTENER_CONNECTIONS : LIMITS_CONNECTIONS;
            assert_int_equal(limits_bound_behind(&f.limits, &f.listeners[0], bound),
                             rows[i].handshakes < 60 ? behind : bound);
            limits_fini(&f.limits);
        }
    }
}

static void test_limits_sessions_of_a_listener(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.config_listeners[0].limits.connections = 1;
    reserve(&f, 0);
    limits_handshake_end(&f.limits, 0);
    assert_full(&f, 0, LIMITS_LISTENER_CONNECTIONS);
    reserve(&f, 1);
    limits_session_end(&f.limits, 0);
    limits_session_end(&f.limits, 1);
    assert_empty(&f);
}

static void test_limits_handshakes_only_where_there_are_any(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.limits.max_sessions = 100;
    f.limits.max_descriptors = 200;
    f.config.limits.handshakes = 2;
    reserve(&f, 0);
    assert_int_equal(limits_check(&f.limits, &f.listeners[0]), LIMITS_NONE);
    reserve(&f, 0);
    assert_full(&f, 0, LIMITS_HANDSHAKES);
    /* Listener 1 accepts plaintext: no handshake of its own waits there. */
    reserve(&f, 1);
    assert_int_equal(f.limits.process.handshakes, 2);
    limits_handshake_end(&f.limits, 0);
    reserve(&f, 0);
    /* Both full: the listener's own is named, because room there is room in both. */
    f.config_listeners[0].limits.handshakes = 1;
    assert_full(&f, 0, LIMITS_LISTENER_HANDSHAKES);
    limits_cancel(&f.limits, &f.listeners[0]);
    limits_cancel(&f.limits, &f.listeners[0]);
    limits_session_end(&f.limits, 0);
    limits_cancel(&f.limits, &f.listeners[1]);
    assert_empty(&f);
}

static void test_limits_bounds_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        [LIMITS_NONE] = "none",
        [LIMITS_DESCRIPTORS] = "descriptors",
        [LIMITS_CONNECTIONS] = "connections",
        [LIMITS_LISTENER_CONNECTIONS] = "connections",
        [LIMITS_LISTENER_HANDSHAKES] = "handshakes",
        [LIMITS_HANDSHAKES] = "handshakes",
    };
    for (int i = 0; i <= LIMITS_HANDSHAKES; i++) {
        assert_string_equal(limits_bound_name((enum limits_bound)i), names[i]);
    }
}

/* What every accept writes is a cache line away from what every read of a relay looks at. */
static void test_limits_are_apart_in_memory(void **state)
{
    (void)state;
    static const size_t written[] = {
        offsetof(struct limits, descriptors),
        offsetof(struct limits, process.sessions),
        offsetof(struct limits, process.handshakes),
        offsetof(struct limits, process.short_of_handshakes),
    };
    static const size_t read[] = {
        offsetof(struct limits, max_sessions),
        offsetof(struct limits, listeners),
        offsetof(struct limits, process.buffered_bytes),
    };
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        for (size_t j = 0; j < sizeof(read) / sizeof(read[0]); j++) {
            size_t distance = written[i] < read[j] ? read[j] - written[i] : written[i] - read[j];
            assert_true(distance >= LIMITS_CACHE_LINE);
        }
    }
    assert_true(sizeof(struct limits_counts) - offsetof(struct limits_counts, buffered_bytes) >
                LIMITS_CACHE_LINE);
}

/* Threads race for the last places; each counts what it holds beside the bound. */
enum { RACERS = 4, RACE_ROUNDS = 50000, RACE_BOUND = 2 };

struct race {
    struct fixture *fixture;
    _Atomic unsigned held;
    _Atomic unsigned most;
    _Atomic unsigned taken;
};

static void *race_for_places(void *arg)
{
    struct race *race = arg;
    struct fixture *f = race->fixture;
    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        const struct setup_listener *listener = &f->listeners[i % 2];
        if (limits_reserve(&f->limits, listener) != LIMITS_NONE) {
            continue;
        }
        unsigned held = atomic_fetch_add(&race->held, 1) + 1;
        if (held > atomic_load(&race->most)) {
            atomic_store(&race->most, held);
        }
        atomic_fetch_add(&race->taken, 1);
        atomic_fetch_sub(&race->held, 1);
        limits_cancel(&f->limits, listener);
    }
    return NULL;
}

static void test_limits_are_never_exceeded(void **state)
{
    (void)state;
    struct fixture f;
    struct race race = {.fixture = &f};
    pthread_t threads[RACERS];
    fixture_init(&f);
    f.limits.max_sessions = RACE_BOUND;
    for (size_t i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, race_for_places, &race), 0);
    }
    for (size_t i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_in_range(race.most, 1, RACE_BOUND);
    assert_true(race.taken >= RACE_ROUNDS); /* somebody always gets on */
    assert_empty(&f);
}

static void *race_for_memory(void *arg)
{
    struct race *race = arg;
    struct fixture *f = race->fixture;
    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        const struct setup_listener *listener = &f->listeners[i % 2];
        if (!limits_buffer(&f->limits, listener, 10)) {
            continue;
        }
        unsigned held = atomic_fetch_add(&race->held, 10) + 10;
        if (held > atomic_load(&race->most)) {
            atomic_store(&race->most, held);
        }
        atomic_fetch_sub(&race->held, 10);
        limits_unbuffer(&f->limits, listener->slot, 10);
    }
    return NULL;
}

static void test_limits_of_memory_are_never_exceeded(void **state)
{
    (void)state;
    struct fixture f;
    struct race race = {.fixture = &f};
    pthread_t threads[RACERS];
    fixture_init(&f);
    f.config.limits.buffered_bytes = 15; /* one piece */
    f.config_listeners[1].limits.buffered_bytes = 12;
    for (size_t i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, race_for_memory, &race), 0);
    }
    for (size_t i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(race.most, 10);
    assert_int_equal(f.limits.process.buffered_bytes, 0);
    assert_int_equal(f.limits.listeners[1].buffered_bytes, 0);
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
        cmocka_unit_test(test_limits_hold_a_descriptor),
        cmocka_unit_test(test_limits_sessions_of_the_process),
        cmocka_unit_test(test_limits_handshakes_leave_places_for_sessions),
        cmocka_unit_test(test_limits_sessions_of_a_listener),
        cmocka_unit_test(test_limits_handshakes_only_where_there_are_any),
        cmocka_unit_test(test_limits_bounds_have_names),
        cmocka_unit_test(test_limits_are_apart_in_memory),
        cmocka_unit_test(test_limits_are_never_exceeded),
        cmocka_unit_test(test_limits_of_memory_are_never_exceeded),
        cmocka_unit_test(test_limits_buffered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
