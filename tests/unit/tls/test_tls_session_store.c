/*
 * The store of sessions by itself: its bounds, who goes first, times, generations, and threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ssl.h>
#include <pthread.h>

#include "../../../src/tls/tls_session_store_private.h"

enum { NOW = 1000000 };

static struct tls_session_store *new_store(size_t sessions, size_t per_peer)
{
    return tls_session_store_new(&(struct tls_session_limits){sessions, per_peer, 3600});
}

/* Key and session ID of number n. */
static void set_key(uint8_t key[TLS_SESSION_KEY_SIZE], uint64_t n)
{
    memset(key, 0, TLS_SESSION_KEY_SIZE);
    memcpy(key, &n, sizeof(n));
    key[8] = (uint8_t)n; /* spreads over the shards, as random keys do */
}

static SSL_SESSION *new_session(uint64_t n)
{
    uint8_t id[TLS_SESSION_KEY_SIZE];
    set_key(id, n);
    SSL_SESSION *session = SSL_SESSION_new();
    assert_non_null(session);
    assert_int_equal(SSL_SESSION_set1_id(session, id, sizeof(id)), 1);
    return session;
}

static struct tls_session_facts facts_of(uint64_t n, const char *peer)
{
    struct tls_session_facts facts = {.role = TLS_SESSION_SERVER,
                                      .peer = strview_from(peer),
                                      .generation = 1,
                                      .from_s = NOW,
                                      .until_s = NOW + 60};
    set_key(facts.key, n);
    return facts;
}

static void put(struct tls_session_store *store, uint64_t n, const char *peer)
{
    struct tls_session_facts facts = facts_of(n, peer);
    tls_session_store_put(store, &facts, new_session(n));
}

static bool finds_at(struct tls_session_store *store, enum tls_session_role role, uint64_t n,
                     int64_t now_s)
{
    uint8_t key[TLS_SESSION_KEY_SIZE];
    set_key(key, n);
    SSL_SESSION *session = tls_session_store_find(store, role, key, now_s);
    if (session == NULL) {
        return false;
    }
    unsigned len = 0;
    assert_memory_equal(SSL_SESSION_get_id(session, &len), key, sizeof(key));
    SSL_SESSION_free(session);
    return true;
}

static bool finds(struct tls_session_store *store, uint64_t n)
{
    return finds_at(store, TLS_SESSION_SERVER, n, NOW);
}

static void test_finds_what_was_put_as_often_as_wanted(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(100, 100);
    put(store, 1, "a");
    assert_true(finds(store, 1));
    assert_true(finds(store, 1));
    assert_false(finds(store, 2));
    assert_int_equal(tls_session_store_count(store), 1);
    tls_session_store_unref(store);
}

static void test_roles_share_nothing(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(100, 100);
    put(store, 1, "a");
    assert_false(finds_at(store, TLS_SESSION_CLIENT, 1, NOW));
    uint8_t key[TLS_SESSION_KEY_SIZE];
    set_key(key, 1);
    assert_null(tls_session_store_take(store, TLS_SESSION_CLIENT, key, NOW));
    SSL_SESSION *same = new_session(1);
    tls_session_store_drop(store, TLS_SESSION_CLIENT, key, same);
    assert_true(finds(store, 1));
    SSL_SESSION_free(same);
    tls_session_store_unref(store);
}

static void test_takes_once_and_the_newest(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(100, 100);
    struct tls_session_facts facts = facts_of(7, "server");
    facts.role = TLS_SESSION_CLIENT;
    SSL_SESSION *first = new_session(1);
    SSL_SESSION *second = new_session(2);
    tls_session_store_put(store, &facts, first);
    tls_session_store_put(store, &facts, second);
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *taken = tls_session_store_take(store, TLS_SESSION_CLIENT, facts.key, NOW);
        assert_ptr_equal(taken, i == 0 ? second : first);
        SSL_SESSION_free(taken);
    }
    assert_null(tls_session_store_take(store, TLS_SESSION_CLIENT, facts.key, NOW));
    assert_int_equal(tls_session_store_count(store), 0);
    tls_session_store_unref(store);
}

static void test_gives_nothing_out_of_its_time(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(100, 100);
    put(store, 1, "a");
    assert_true(finds_at(store, TLS_SESSION_SERVER, 1, NOW + 59));
    assert_false(finds_at(store, TLS_SESSION_SERVER, 1, NOW + 60));
    assert_int_equal(tls_session_store_count(store), 0); /* and it is gone */
    /* A clock that was stepped back would make it live longer. */
    put(store, 2, "a");
    assert_false(finds_at(store, TLS_SESSION_SERVER, 2, NOW - 1));
    assert_false(finds(store, 2));
    tls_session_store_unref(store);
}

static void test_what_has_been_used_goes_first_then_the_oldest(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(3, 3);
    put(store, 1, "a");
    put(store, 2, "b");
    put(store, 3, "c");
    assert_true(finds(store, 2));
    assert_true(finds(store, 2)); /* several at once may use one */
    put(store, 4, "d");
    put(store, 5, "e");
    assert_false(finds(store, 2));
    assert_false(finds(store, 1));
    assert_true(finds(store, 3));
    assert_true(finds(store, 4));
    assert_true(finds(store, 5));
    assert_int_equal(tls_session_store_count(store), 3);
    tls_session_store_unref(store);
}

/* Few clients of one identity, each with the ticket of its last connection, never miss. */
static void test_a_ticket_that_waits_outlives_those_that_were_used(void **state)
{
    (void)state;
    enum { ROUNDS = 100, BOUND = 8 };
    struct tls_session_store *store = new_store(BOUND, BOUND);
    put(store, 1, "a"); /* waits all the time */
    uint64_t last = 2;
    put(store, last, "a");
    for (uint64_t n = 3; n < ROUNDS; n++) {
        assert_true(finds(store, last));
        put(store, n, "a");
        last = n;
    }
    assert_true(finds(store, 1));
    tls_session_store_unref(store);
}

static void test_a_peer_takes_no_place_from_others(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(10, 2);
    put(store, 1, "quiet");
    for (uint64_t n = 2; n < 100; n++) {
        put(store, n, "busy");
    }
    assert_true(finds(store, 1));
    assert_false(finds(store, 97));
    assert_true(finds(store, 98));
    assert_true(finds(store, 99));
    assert_int_equal(tls_session_store_count(store), 3);
    /* One that begins with the same letters is another. */
    put(store, 100, "busybody");
    assert_true(finds(store, 98));
    tls_session_store_unref(store);
}

static void test_the_bounds_hold_over_all_shards(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(2000, 160);
    for (uint64_t n = 1; n <= 20000; n++) {
        char peer[32];
        (void)snprintf(peer, sizeof(peer), "peer-%d", (int)(n % 1000));
        put(store, n, peer);
    }
    size_t count = tls_session_store_count(store);
    assert_in_range(count, 1900, 2000);
    for (uint64_t n = 30000; n < 40000; n++) {
        put(store, n, "busy");
    }
    size_t busy = 0;
    for (uint64_t n = 30000; n < 40000; n++) {
        busy += finds(store, n);
    }
    assert_in_range(busy, 150, 160);
    assert_true(tls_session_store_count(store) <= 2000);
    tls_session_store_unref(store);
}

static void test_clear_drops_what_is_older_and_takes_no_more_of_it(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(2000, 2000);
    for (uint64_t n = 0; n < 300; n++) {
        struct tls_session_facts facts = facts_of(n, "a");
        facts.generation = n < 200 ? 4 : 5;
        tls_session_store_put(store, &facts, new_session(n));
    }
    tls_session_store_clear(store, 5);
    assert_int_equal(tls_session_store_count(store), 100);
    assert_false(finds(store, 199));
    assert_true(finds(store, 200));
    /* A worker that has not seen the new credentials yet. */
    struct tls_session_facts late = facts_of(1000, "a");
    late.generation = 4;
    tls_session_store_put(store, &late, new_session(1000));
    assert_false(finds(store, 1000));
    /* An old order changes nothing. */
    tls_session_store_clear(store, 3);
    tls_session_store_put(store, &late, new_session(1000));
    assert_int_equal(tls_session_store_count(store), 100);
    tls_session_store_unref(store);
}

static void test_drops_one_by_its_id(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(100, 100);
    struct tls_session_facts facts = facts_of(7, "server");
    facts.role = TLS_SESSION_CLIENT;
    tls_session_store_put(store, &facts, new_session(1));
    tls_session_store_put(store, &facts, new_session(2));
    SSL_SESSION *like = new_session(2);
    tls_session_store_drop(store, TLS_SESSION_CLIENT, facts.key, like);
    tls_session_store_drop(store, TLS_SESSION_CLIENT, facts.key, like);
    SSL_SESSION *left = tls_session_store_take(store, TLS_SESSION_CLIENT, facts.key, NOW);
    assert_non_null(left);
    assert_null(tls_session_store_take(store, TLS_SESSION_CLIENT, facts.key, NOW));
    SSL_SESSION_free(like);
    SSL_SESSION_free(left);
    tls_session_store_unref(store);
}

struct hammer {
    struct tls_session_store *store;
    uint64_t first;
};

static void *hammer(void *arg)
{
    const struct hammer *me = arg;
    for (uint64_t i = 0; i < 4000; i++) {
        uint64_t n = me->first + i % 500;
        put(me->store, n, i % 3 == 0 ? "x" : "y");
        (void)finds(me->store, (n + 37) % 2000);
        if (i % 5 == 0) {
            uint8_t key[TLS_SESSION_KEY_SIZE];
            set_key(key, n);
            SSL_SESSION_free(tls_session_store_take(me->store, TLS_SESSION_SERVER, key, NOW));
        }
        if (i % 1000 == 999) {
            tls_session_store_clear(me->store, 1);
        }
    }
    return NULL;
}

static void test_threads_share_it(void **state)
{
    (void)state;
    struct tls_session_store *store = new_store(1024, 640);
    struct hammer hammers[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        hammers[i] = (struct hammer){store, i * 500};
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &hammers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(tls_session_store_count(store) <= 1024);
    tls_session_store_unref(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_was_put_as_often_as_wanted),
        cmocka_unit_test(test_roles_share_nothing),
        cmocka_unit_test(test_takes_once_and_the_newest),
        cmocka_unit_test(test_gives_nothing_out_of_its_time),
        cmocka_unit_test(test_what_has_been_used_goes_first_then_the_oldest),
        cmocka_unit_test(test_a_ticket_that_waits_outlives_those_that_were_used),
        cmocka_unit_test(test_a_peer_takes_no_place_from_others),
        cmocka_unit_test(test_the_bounds_hold_over_all_shards),
        cmocka_unit_test(test_clear_drops_what_is_older_and_takes_no_more_of_it),
        cmocka_unit_test(test_drops_one_by_its_id),
        cmocka_unit_test(test_threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
