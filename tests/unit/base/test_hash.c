/* hash: every bit of key and seed counts, short keys spread evenly, position doesn't matter. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 100 };

static void test_hash_does_not_depend_on_alignment(void **state)
{
    (void)state;
    char key[LONGEST];
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = (char)(i * 7 + 1);
    }
    for (size_t len = 0; len <= sizeof(key); len++) {
        uint64_t expected = hash_bytes(key, len, 42);
        for (size_t shift = 1; shift < 9; shift++) {
            char moved[LONGEST + 9];
            memset(moved, 0x55, sizeof(moved));
            memcpy(moved + shift, key, len);
            assert_true(hash_bytes(moved + shift, len, 42) == expected);
        }
    }
    assert_true(hash_bytes(NULL, 0, 1) == hash_bytes("", 0, 1));
}

static void test_hash_lengths_of_zeros_differ(void **state)
{
    (void)state;
    static const char zeros[LONGEST];
    uint64_t seen[LONGEST];
    for (size_t len = 0; len < LONGEST; len++) {
        seen[len] = hash_bytes(zeros, len, 0);
        for (size_t i = 0; i < len; i++) {
            assert_true(seen[i] != seen[len]);
        }
    }
}

/* Changing one bit of the key (or of the seed) should change each bit of the result half of the
   time; over many keys the mean of changed bits lies near 32. */
static void test_hash_one_bit_changes_half_the_result(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64, 100};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t len = lengths[i];
        double changed = 0;
        double trials = 0;
        for (uint64_t seed = 0; seed < 64; seed++) {
            char key[LONGEST];
            for (size_t k = 0; k < len; k++) {
                key[k] = (char)(seed * 31 + k * k);
            }
            uint64_t base = hash_bytes(key, len, seed);
            changed += __builtin_popcountll(base ^ hash_bytes(key, len, seed ^ (1ULL << seed)));
            trials++;
            for (size_t bit = 0; bit < 8 * len; bit++) {
                key[bit / 8] = (char)(key[bit / 8] ^ (1 << bit % 8));
                uint64_t other = hash_bytes(key, len, seed);
                key[bit / 8] = (char)(key[bit / 8] ^ (1 << bit % 8));
                int bits = __builtin_popcountll(base ^ other);
                assert_true(bits > 4);
                changed += bits;
                trials++;
            }
        }
        double mean = changed / trials;
        assert_true(mean > 31.0 && mean < 33.0);
    }
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x;
    uint64_t y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

enum { KEYS = 1 << 16, BUCKETS = 1 << 12 };

/* Names that differ in a few digits, as SPIFFE IDs do: no two equal, and both the low and the
   high bits fill buckets evenly (chi-squared: mean BUCKETS - 1, deviation sqrt(2 * BUCKETS)). */
static void test_hash_spreads_similar_names(void **state)
{
    (void)state;
    static uint64_t hashes[KEYS];
    static uint32_t low[BUCKETS];
    static uint32_t high[BUCKETS];
    for (size_t i = 0; i < KEYS; i++) {
        char name[64];
        int len = snprintf(name, sizeof(name), "spiffe://example.org/ns/prod/sa/svc-%05zu", i);
        hashes[i] = hash_bytes(name, (size_t)len, 7);
        low[hashes[i] % BUCKETS]++;
        high[hashes[i] >> (64 - 12)]++;
    }
    double buckets = BUCKETS;
    double expected = (double)KEYS / buckets;
    double low_chi = 0;
    double high_chi = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        low_chi += (low[i] - expected) * (low[i] - expected) / expected;
        high_chi += (high[i] - expected) * (high[i] - expected) / expected;
    }
    double deviation = 90.5;
    assert_true(low_chi > buckets - 5 * deviation && low_chi < buckets + 5 * deviation);
    assert_true(high_chi > buckets - 5 * deviation && high_chi < buckets + 5 * deviation);
    qsort(hashes, KEYS, sizeof(hashes[0]), compare_u64);
    for (size_t i = 1; i < KEYS; i++) {
        assert_true(hashes[i] != hashes[i - 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_does_not_depend_on_alignment),
        cmocka_unit_test(test_hash_lengths_of_zeros_differ),
        cmocka_unit_test(test_hash_one_bit_changes_half_the_result),
        cmocka_unit_test(test_hash_spreads_similar_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
