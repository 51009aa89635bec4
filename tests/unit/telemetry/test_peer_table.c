/* peer_table: what is news; the cap and what is above it, the order, and many workers that meet new
 * peers. */
#include "telemetry/peer_table.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static enum peer_news note(struct peer_table *table, const char *id, bool calls, bool allowed,
                           uint64_t now_ms)
{
    const struct peer_sight sight = {
        .id = strview_from(id), .calls = calls, .allowed = allowed, .now_ms = now_ms};
    return peer_table_note(table, &sight);
}

static void add(struct peer_table *counts, const char *id, bool allowed)
{
    (void)note(counts, id, true, allowed, 1000);
}

static void expect(const struct peer_table *counts, size_t i, const char *id, uint64_t allowed,
                   uint64_t denied)
{
    struct peer_record count;
    peer_table_get(counts, i, &count);
    assert_true(strview_equal_text(count.id, id));
    assert_int_equal(count.allowed, allowed);
    assert_int_equal(count.denied, denied);
}

static void test_peers_in_order_and_the_others(void **state)
{
    (void)state;
    struct peer_table *counts = peer_table_new(2);
    assert_int_equal(peer_table_size(counts), 1);
    expect(counts, 0, "", 0, 0);
    add(counts, "spiffe://a/z", true);
    add(counts, "spiffe://a/z", true);
    add(counts, "spiffe://a/z", false);
    add(counts, "spiffe://a/b", false);
    add(counts, "spiffe://a/late", true);
    add(counts, "spiffe://a/later", false);
    add(counts, "spiffe://a/b", true);
    assert_int_equal(peer_table_size(counts), 3);
    expect(counts, 0, "", 1, 1);
    expect(counts, 1, "spiffe://a/z", 2, 1);
    expect(counts, 2, "spiffe://a/b", 1, 1);
    peer_table_free(counts);
    peer_table_free(NULL);
}

static void test_ids_are_compared_whole(void **state)
{
    (void)state;
    struct peer_table *counts = peer_table_new(10);
    add(counts, "spiffe://a/b", true);
    add(counts, "spiffe://a/bb", true);
    add(counts, "spiffe://a/", true);
    assert_int_equal(peer_table_size(counts), 4);
    peer_table_free(counts);
}

enum { THREADS = 4, PEERS = 300, ROUNDS = 50 };

struct work {
    struct peer_table *counts;
    unsigned news[PEER_NEWS_FULL + 1];
};

static void *count_all(void *arg)
{
    struct work *work = arg;
    for (int round = 0; round < ROUNDS; round++) {
        for (int peer = 0; peer < PEERS; peer++) {
            char id[64];
            (void)snprintf(id, sizeof(id), "spiffe://a/%d", peer);
            work->news[note(work->counts, id, true, round % 2 == 0, 1000)]++;
        }
    }
    return NULL;
}

/* news: how often they were told of each kind. */
static void run_threads(struct peer_table *counts, unsigned news[PEER_NEWS_FULL + 1])
{
    pthread_t threads[THREADS];
    struct work work[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        work[i] = (struct work){.counts = counts};
        assert_int_equal(pthread_create(&threads[i], NULL, count_all, &work[i]), 0);
    }
    size_t size = 0;
    for (int look = 0; look < 100; look++) {
        struct peer_record count;
        size_t now = peer_table_size(counts);
        assert_true(now >= size);
        size = now;
        for (size_t i = 0; i < size; i++) {
            peer_table_get(counts, i, &count);
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int kind = 0; kind <= PEER_NEWS_FULL; kind++) {
            news[kind] += work[i].news[kind];
        }
    }
}

/* Every peer once, nothing lost. */
static void test_many_workers(void **state)
{
    (void)state;
    struct peer_table *counts = peer_table_new(PEERS);
    unsigned news[PEER_NEWS_FULL + 1] = {0};
    run_threads(counts, news);
    assert_int_equal(news[PEER_NEWS_FIRST_CALL], PEERS);
    assert_int_equal(news[PEER_NEWS_FIRST_DENIAL], PEERS);
    assert_int_equal(news[PEER_NEWS_FULL], 0);
    assert_int_equal(peer_table_changes(counts), 2 * PEERS);
    assert_int_equal(peer_table_size(counts), PEERS + 1);
    for (size_t i = 1; i <= PEERS; i++) {
        struct peer_record count;
        peer_table_get(counts, i, &count);
        assert_int_equal(count.allowed, THREADS * ROUNDS / 2);
        assert_int_equal(count.denied, THREADS * ROUNDS / 2);
        for (size_t other = 0; other < i; other++) {
            struct peer_record before;
            peer_table_get(counts, other, &before);
            assert_false(strview_equal(before.id, count.id));
        }
    }
    expect(counts, 0, "", 0, 0);
    peer_table_free(counts);
}

/* The cap holds whatever they do at one time, and the sum of all is exact. */
static void test_many_workers_at_the_cap(void **state)
{
    (void)state;
    enum { CAP = 17 };
    struct peer_table *counts = peer_table_new(CAP);
    uint64_t sum = 0;
    unsigned news[PEER_NEWS_FULL + 1] = {0};
    run_threads(counts, news);
    assert_int_equal(news[PEER_NEWS_FULL], 1);
    assert_in_range(news[PEER_NEWS_FIRST_CALL], CAP, CAP + THREADS - 1);
    assert_int_equal(peer_table_size(counts), CAP + 1);
    for (size_t i = 0; i <= CAP; i++) {
        struct peer_record count;
        peer_table_get(counts, i, &count);
        sum += count.allowed + count.denied;
    }
    assert_int_equal(sum, THREADS * ROUNDS * PEERS);
    peer_table_free(counts);
}

static void test_what_is_news(void **state)
{
    (void)state;
    struct peer_table *table = peer_table_new(10);
    struct peer_record peer;
    assert_int_equal(note(table, "spiffe://a/web", true, true, 10), PEER_NEWS_FIRST_CALL);
    assert_int_equal(note(table, "spiffe://a/web", true, true, 20), PEER_NEWS_NONE);
    assert_int_equal(note(table, "spiffe://a/web", true, false, 30), PEER_NEWS_FIRST_DENIAL);
    assert_int_equal(note(table, "spiffe://a/web", true, false, 40), PEER_NEWS_NONE);
    /* One that is denied at once is told of once. */
    assert_int_equal(note(table, "spiffe://a/x", true, false, 50), PEER_NEWS_FIRST_CALL);
    assert_int_equal(note(table, "spiffe://a/x", true, false, 60), PEER_NEWS_NONE);
    /* Whom we dial does not call, until it does. */
    assert_int_equal(note(table, "spiffe://a/db", false, false, 70), PEER_NEWS_NONE);
    assert_int_equal(peer_table_changes(table), 3);
    peer_table_get(table, 3, &peer);
    assert_true(!peer.has_called && peer.first_ms == 70 && peer.first_denied_ms == 0);
    assert_int_equal(note(table, "spiffe://a/db", true, true, 80), PEER_NEWS_FIRST_CALL);
    peer_table_get(table, 1, &peer);
    assert_true(peer.has_called && peer.first_ms == 10 && peer.last_ms == 40);
    assert_true(peer.first_denied_ms == 30 && peer.allowed == 2 && peer.denied == 2);
    peer_table_free(table);
}

static void test_what_is_known_is_no_news(void **state)
{
    (void)state;
    struct peer_table *table = peer_table_new(3);
    struct peer_record peer;
    assert_true(peer_table_know(table, strview_from("spiffe://a/old"), 5, 0));
    assert_true(peer_table_know(table, strview_from("spiffe://a/bad"), 6, 7));
    assert_false(peer_table_know(table, strview_from("spiffe://a/old"), 8, 0));
    assert_int_equal(peer_table_known(table), 2);
    assert_int_equal(peer_table_size(table), 1); /* none has come since the start */
    assert_int_equal(note(table, "spiffe://a/new", true, true, 100), PEER_NEWS_FIRST_CALL);
    assert_int_equal(note(table, "spiffe://a/old", true, true, 100), PEER_NEWS_NONE);
    assert_int_equal(note(table, "spiffe://a/old", true, false, 110), PEER_NEWS_FIRST_DENIAL);
    assert_int_equal(note(table, "spiffe://a/bad", true, false, 120), PEER_NEWS_NONE);
    assert_int_equal(note(table, "spiffe://a/more", true, false, 130), PEER_NEWS_FULL);
    assert_int_equal(note(table, "spiffe://a/most", true, false, 130), PEER_NEWS_NONE);
    assert_false(peer_table_know(table, strview_from("spiffe://a/late"), 9, 0));
    assert_int_equal(peer_table_changes(table), 2);
    assert_int_equal(peer_table_size(table), 4);
    assert_false(peer_table_was_known(table, 1));
    assert_true(peer_table_was_known(table, 2));
    peer_table_get(table, 2, &peer);
    assert_true(peer.first_ms == 5 && peer.first_denied_ms == 110 && peer.last_ms == 110);
    peer_table_get_known(table, 1, &peer);
    assert_true(strview_equal_text(peer.id, "spiffe://a/bad"));
    assert_true(peer.first_ms == 6 && peer.first_denied_ms == 7 && peer.denied == 1);
    peer_table_rest(table, 2, &peer);
    assert_true(peer.allowed == 1 && peer.denied == 4);
    peer_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_in_order_and_the_others),
        cmocka_unit_test(test_ids_are_compared_whole),
        cmocka_unit_test(test_what_is_news),
        cmocka_unit_test(test_what_is_known_is_no_news),
        cmocka_unit_test(test_many_workers),
        cmocka_unit_test(test_many_workers_at_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
