/* peer_counts: the cap and what is above it, the order, and many workers that meet new peers. */
#include "telemetry/peer_counts.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void add(struct peer_counts *counts, size_t worker, const char *id, bool allowed)
{
    peer_counts_add(counts, worker, strview_from(id), allowed);
}

static void expect(const struct peer_counts *counts, size_t i, const char *id, uint64_t allowed,
                   uint64_t denied)
{
    struct peer_count count;
    peer_counts_get(counts, i, &count);
    assert_true(strview_equal_text(count.id, id));
    assert_int_equal(count.allowed, allowed);
    assert_int_equal(count.denied, denied);
}

static void test_peers_in_order_and_the_others(void **state)
{
    (void)state;
    struct peer_counts *counts = peer_counts_new(2, 2);
    assert_int_equal(peer_counts_size(counts), 1);
    expect(counts, 0, "", 0, 0);
    add(counts, 0, "spiffe://a/z", true);
    add(counts, 1, "spiffe://a/z", true);
    add(counts, 1, "spiffe://a/z", false);
    add(counts, 1, "spiffe://a/b", false);
    add(counts, 0, "spiffe://a/late", true);
    add(counts, 1, "spiffe://a/later", false);
    add(counts, 0, "spiffe://a/b", true);
    assert_int_equal(peer_counts_size(counts), 3);
    expect(counts, 0, "", 1, 1);
    expect(counts, 1, "spiffe://a/z", 2, 1);
    expect(counts, 2, "spiffe://a/b", 1, 1);
    peer_counts_free(counts);
    peer_counts_free(NULL);
}

static void test_ids_are_compared_whole(void **state)
{
    (void)state;
    struct peer_counts *counts = peer_counts_new(1, 10);
    add(counts, 0, "spiffe://a/b", true);
    add(counts, 0, "spiffe://a/bb", true);
    add(counts, 0, "spiffe://a/", true);
    assert_int_equal(peer_counts_size(counts), 4);
    peer_counts_free(counts);
}

enum { THREADS = 4, PEERS = 300, ROUNDS = 50 };

struct work {
    struct peer_counts *counts;
    size_t worker;
};

static void *count_all(void *arg)
{
    const struct work *work = arg;
    for (int round = 0; round < ROUNDS; round++) {
        for (int peer = 0; peer < PEERS; peer++) {
            char id[64];
            (void)snprintf(id, sizeof(id), "spiffe://a/%d", peer);
            add(work->counts, work->worker, id, round % 2 == 0);
        }
    }
    return NULL;
}

static void run_threads(struct peer_counts *counts)
{
    pthread_t threads[THREADS];
    struct work work[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        work[i] = (struct work){counts, i};
        assert_int_equal(pthread_create(&threads[i], NULL, count_all, &work[i]), 0);
    }
    size_t size = 0;
    for (int look = 0; look < 100; look++) {
        struct peer_count count;
        size_t now = peer_counts_size(counts);
        assert_true(now >= size);
        size = now;
        for (size_t i = 0; i < size; i++) {
            peer_counts_get(counts, i, &count);
        }
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

/* Every peer once, nothing lost. */
static void test_many_workers(void **state)
{
    (void)state;
    struct peer_counts *counts = peer_counts_new(THREADS, PEERS);
    run_threads(counts);
    assert_int_equal(peer_counts_size(counts), PEERS + 1);
    for (size_t i = 1; i <= PEERS; i++) {
        struct peer_count count;
        peer_counts_get(counts, i, &count);
        assert_int_equal(count.allowed, THREADS * ROUNDS / 2);
        assert_int_equal(count.denied, THREADS * ROUNDS / 2);
        for (size_t other = 0; other < i; other++) {
            struct peer_count before;
            peer_counts_get(counts, other, &before);
            assert_false(strview_equal(before.id, count.id));
        }
    }
    expect(counts, 0, "", 0, 0);
    peer_counts_free(counts);
}

/* The cap holds whatever they do at one time, and the sum of all is exact. */
static void test_many_workers_at_the_cap(void **state)
{
    (void)state;
    enum { CAP = 17 };
    struct peer_counts *counts = peer_counts_new(THREADS, CAP);
    uint64_t sum = 0;
    run_threads(counts);
    assert_int_equal(peer_counts_size(counts), CAP + 1);
    for (size_t i = 0; i <= CAP; i++) {
        struct peer_count count;
        peer_counts_get(counts, i, &count);
        sum += count.allowed + count.denied;
    }
    assert_int_equal(sum, THREADS * ROUNDS * PEERS);
    peer_counts_free(counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_in_order_and_the_others),
        cmocka_unit_test(test_ids_are_compared_whole),
        cmocka_unit_test(test_many_workers),
        cmocka_unit_test(test_many_workers_at_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
