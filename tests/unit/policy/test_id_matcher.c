/* The trie: keys, effects, ranks, what came near, the bound on its work, and a naive model. */
#include "policy/id_matcher.h"

#include "base/memory.h"
#include "unit/policy/naive_matcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct id_pattern pattern_of(const char *text)
{
    struct id_pattern pattern;
    const char *why = NULL;
    if (id_pattern_parse(strview_from(text), &pattern, &why) != 0) {
        fail_msg("%s: %s", text, why);
    }
    return pattern;
}

static struct spiffe_id id_of(const char *text)
{
    struct spiffe_id id;
    const char *why = NULL;
    if (spiffe_id_parse(strview_from(text), &id, &why) != 0) {
        fail_msg("%s: %s", text, why);
    }
    return id;
}

static void add(struct id_matcher *matcher, const char *text, uint32_t key, uint32_t rank,
                enum id_effect effect)
{
    struct id_pattern pattern = pattern_of(text);
    assert_true(id_matcher_add(matcher, &pattern, key, rank, effect));
}

static struct id_match match_of(const struct id_matcher *matcher, const char *text, uint32_t key)
{
    struct spiffe_id id = id_of(text);
    struct id_match match;
    id_matcher_match(matcher, &id, key, &match);
    return match;
}

static void test_id_matcher_empty_matches_nothing(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    id_matcher_freeze(matcher);
    struct spiffe_id id = id_of("spiffe://a.example/x");
    struct id_match match = match_of(matcher, "spiffe://a.example/x", 1);
    assert_int_equal(match.allow, ID_RANK_NONE);
    assert_int_equal(match.deny, ID_RANK_NONE);
    struct id_near near;
    id_matcher_near(matcher, &id, 1, &near);
    assert_false(near.found);
    id_matcher_free(matcher);
    id_matcher_free(NULL);
}

static void test_id_matcher_is_freed_unfrozen(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    add(matcher, "spiffe://a.example/*/x", 1, 0, ID_EFFECT_ALLOW);
    id_matcher_free(matcher);
}

static void test_id_matcher_keys_effects_and_ranks(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    add(matcher, "spiffe://a.example/ns/x", 2, 7, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/ns/x", 2, 3, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/ns/x", 1, 1, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/*/x", 2, 2, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/ns/**", ID_MATCHER_KEY_ALL, 9, ID_EFFECT_DENY);
    add(matcher, "spiffe://a.example/ns/x", 2, 8, ID_EFFECT_DENY);
    add(matcher, "spiffe://a.example/**", 5, 5, ID_EFFECT_ALLOW);
    id_matcher_freeze(matcher);
    static const struct {
        const char *id;
        uint32_t key;
        uint32_t allow;
        uint32_t deny;
    } cases[] = {
        {"spiffe://a.example/ns/x", 1, 1, 9},
        {"spiffe://a.example/ns/x", 2, 2, 8},
        {"spiffe://a.example/ns/x", 3, ID_RANK_NONE, 9},
        {"spiffe://a.example/ns/x", 5, 5, 9},
        {"spiffe://a.example/ns", 5, 5, ID_RANK_NONE},
        {"spiffe://a.example/ns/y", 2, ID_RANK_NONE, 9},
        {"spiffe://a.example/zz/x", 2, 2, ID_RANK_NONE},
        {"spiffe://a.example/zz/x", 1, ID_RANK_NONE, ID_RANK_NONE},
        {"spiffe://a.example", 5, ID_RANK_NONE, ID_RANK_NONE},
        {"spiffe://b.example/ns/x", 5, ID_RANK_NONE, ID_RANK_NONE},
        {"spiffe://ns/x", 5, ID_RANK_NONE, ID_RANK_NONE},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        print_message("%s key %u\n", cases[i].id, cases[i].key);
        struct id_match match = match_of(matcher, cases[i].id, cases[i].key);
        assert_int_equal(match.allow, cases[i].allow);
        assert_int_equal(match.deny, cases[i].deny);
    }
    id_matcher_free(matcher);
}

/* An ID can hold no `*`, but a matcher must not let a segment's text stand for an edge. */
static void test_id_matcher_star_is_no_text(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    add(matcher, "spiffe://a.example/x", 1, 0, ID_EFFECT_ALLOW);
    id_matcher_freeze(matcher);
    static const char text[] = "spiffe://a.example/*";
    struct spiffe_id id = {strview_from(text), {text + 9, 9}, {text + 18, 2}};
    struct id_match match;
    id_matcher_match(matcher, &id, 1, &match);
    assert_int_equal(match.allow, ID_RANK_NONE);
    id_matcher_free(matcher);
}

static const struct {
    const char *id;
    uint32_t key;
    bool found;
    uint32_t rank;
    bool wrong_key;
    unsigned segment; /* 0: the trust domain */
    const char *wanted;
    const char *got;
} near_cases[] = {
    {"spiffe://a.example/ns/shop/sa/web-canary", 1, true, 1, false, 4, "web", "web-canary"},
    {"spiffe://a.example/ns/shop/sa/web", 2, true, 1, true, 0, "", ""},
    {"spiffe://a.example/ns/shop/xx/web", 1, true, 1, false, 3, "sa", "xx"},
    {"spiffe://a.example/ns/shop/sa", 1, true, 1, false, 4, "web", ""},
    {"spiffe://a.example/ns/shop/sa/web/x", 1, true, 1, false, 5, "", "x"},
    {"spiffe://a.example/ns/other/sa/web", 1, true, 1, false, 2, "shop", "other"},
    {"spiffe://a.example/zz/shop/sa/web", 1, true, 1, false, 1, "ns", "zz"},
    {"spiffe://a.example", 1, true, 1, false, 1, "ns", ""},
    {"spiffe://c.example/ns/shop/sa/web", 1, true, 1, false, 0, "a.example", "c.example"},
    {"spiffe://a.example/batch/j/run", 2, true, 3, false, 3, "job", "run"},
    {"spiffe://a.example/batch/j/job/x", 2, true, 3, false, 4, "", "x"},
    {"spiffe://a.example/batch", 2, true, 3, false, 2, "*", ""},
    {"spiffe://a.example/tree", 2, true, 4, false, 2, "**", ""},
    {"spiffe://a.example/tree", 1, true, 1, false, 1, "ns", "tree"},
    {"spiffe://a.example/batch/j/job", 1, true, 3, true, 0, "", ""},
    {"spiffe://a.example/free/x", 3, true, 5, false, 2, "y", "x"},
    {"spiffe://a.example/denied/x", 9, true, 5, false, 1, "free", "denied"},
};

static void test_id_matcher_near_names_the_first_difference(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    add(matcher, "spiffe://a.example/denied/y", 9, 0, ID_EFFECT_DENY);
    add(matcher, "spiffe://a.example/ns/shop/sa/web", 1, 1, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/ns/shop/sa/mobile", 1, 2, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/batch/*/job", 2, 3, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/tree/**", 2, 4, ID_EFFECT_ALLOW);
    add(matcher, "spiffe://a.example/free/y", ID_MATCHER_KEY_ALL, 5, ID_EFFECT_ALLOW);
    id_matcher_freeze(matcher);
    for (size_t i = 0; i < COUNT_OF(near_cases); i++) {
        struct spiffe_id id = id_of(near_cases[i].id);
        struct id_near near;
        print_message("%s key %u\n", near_cases[i].id, near_cases[i].key);
        id_matcher_near(matcher, &id, near_cases[i].key, &near);
        assert_int_equal(near.found, near_cases[i].found);
        assert_int_equal(near.rank, near_cases[i].rank);
        assert_int_equal(near.wrong_key, near_cases[i].wrong_key);
        assert_int_equal(near.segment, near_cases[i].segment);
        assert_int_equal(near.trust_domain, near_cases[i].segment == 0 && !near_cases[i].wrong_key);
        assert_true(strview_equal_text(near.wanted, near_cases[i].wanted));
        assert_true(strview_equal_text(near.got, near_cases[i].got));
    }
    id_matcher_free(matcher);
}

static void test_id_matcher_near_sees_allows_only(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    add(matcher, "spiffe://a.example/ns/x", 1, 0, ID_EFFECT_DENY);
    id_matcher_freeze(matcher);
    struct spiffe_id id = id_of("spiffe://a.example/ns/x");
    struct id_near near;
    id_matcher_near(matcher, &id, 1, &near);
    assert_false(near.found);
    id_matcher_free(matcher);
}

/* spiffe://DOMAIN/s0/s1/…: bit i of stars makes segment i a `*`. */
static void write_pattern(char *out, size_t size, const char *domain, unsigned segments,
                          unsigned stars)
{
    int len = snprintf(out, size, "spiffe://%s", domain);
    for (unsigned i = 0; i < segments; i++) {
        len += snprintf(out + len, size - (size_t)len, "/%s", (stars >> i) & 1 ? "*" : "a");
    }
}

static void test_id_matcher_takes_every_arrangement_of_six_segments(void **state)
{
    (void)state;
    static char texts[64][64];
    struct id_matcher *matcher = id_matcher_new();
    for (unsigned stars = 0; stars < 64; stars++) {
        write_pattern(texts[stars], sizeof texts[stars], "a.example", 6, stars);
        add(matcher, texts[stars], 1, 63 - stars, ID_EFFECT_ALLOW);
    }
    id_matcher_freeze(matcher);
    struct id_match match = match_of(matcher, "spiffe://a.example/a/a/a/a/a/a", 1);
    assert_int_equal(match.allow, 0);
    match = match_of(matcher, "spiffe://a.example/a/a/a/a/a/b", 1);
    assert_int_equal(match.allow, 0);
    match = match_of(matcher, "spiffe://a.example/a/a/a/a/a", 1);
    assert_int_equal(match.allow, ID_RANK_NONE);
    id_matcher_free(matcher);
}

/* The rule set that would make the frontier double with each segment. */
static void test_id_matcher_bounds_its_frontier(void **state)
{
    (void)state;
    static char texts[4096][128];
    struct id_matcher *matcher = id_matcher_new();
    unsigned taken = 0;
    for (unsigned stars = 0; stars < 4096; stars++) {
        write_pattern(texts[stars], sizeof texts[stars], "a.example", 12, stars);
        struct id_pattern pattern = pattern_of(texts[stars]);
        taken += id_matcher_add(matcher, &pattern, 1, stars, ID_EFFECT_ALLOW);
    }
    assert_true(taken > 0 && taken <= ID_MATCHER_FRONTIER_MAX);
    /* The same arrangements with other plain segments cost nothing. */
    static char other[64][128];
    struct id_matcher *roomy = id_matcher_new();
    for (unsigned i = 0; i < COUNT_OF(other); i++) {
        snprintf(other[i], sizeof other[i], "spiffe://a.example/n%u/*/*/*/*/*/*/*/*/*/*/x", i);
        add(roomy, other[i], 1, i, ID_EFFECT_ALLOW);
        add(roomy, other[i], 2, i, ID_EFFECT_ALLOW);
    }
    /* Another trust domain has arrangements of its own. */
    add(matcher, "spiffe://b.example/a/a/a/a/a/a/a/a/*/*", 1, 5000, ID_EFFECT_ALLOW);
    id_matcher_freeze(matcher);
    id_matcher_freeze(roomy);
    char id[2048];
    int len = snprintf(id, sizeof id, "spiffe://a.example");
    while (len < 2040) {
        len += snprintf(id + len, sizeof id - (size_t)len, "/a");
    }
    struct id_match match = match_of(matcher, id, 1);
    assert_int_equal(match.allow, ID_RANK_NONE);
    assert_true(match.probes < 13 * ID_MATCHER_FRONTIER_MAX * 16);
    id_matcher_free(matcher);
    id_matcher_free(roomy);
}

/* A fixed sequence (xorshift64*), so that a failure can be had again. */
static uint32_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545f4914f6cdd1dU) >> 32);
}

static void write_random(uint64_t *random, bool pattern, char *out, size_t size)
{
    static const char *const domains[] = {"a.example", "b.example"};
    static const char *const segments[] = {"a", "b", "ab", "c", "*", "*"};
    int len = snprintf(out, size, "spiffe://%s", domains[next_random(random) % 2]);
    unsigned count = 1 + next_random(random) % 5;
    for (unsigned i = 0; i < count; i++) {
        const char *segment = segments[next_random(random) % (pattern ? 6 : 4)];
        if (pattern && i + 1 == count && next_random(random) % 5 == 0) {
            segment = "**";
        }
        len += snprintf(out + len, size - (size_t)len, "/%s", segment);
    }
}

enum { RANDOM_SETS = 300, RANDOM_GRANTS = 24, RANDOM_IDS = 150, RANDOM_KEYS = 3 };

static void check_random_set(uint64_t *random)
{
    char texts[RANDOM_GRANTS][64];
    struct naive_grant grants[RANDOM_GRANTS];
    struct id_matcher *matcher = id_matcher_new();
    size_t count = 1 + next_random(random) % RANDOM_GRANTS;
    for (size_t i = 0; i < count; i++) {
        write_random(random, true, texts[i], sizeof texts[i]);
        grants[i] = (struct naive_grant){
            .pattern = pattern_of(texts[i]),
            .key = next_random(random) % (RANDOM_KEYS + 1),
            .rank = next_random(random) % 20,
            .effect = next_random(random) % 4 == 0 ? ID_EFFECT_DENY : ID_EFFECT_ALLOW,
        };
        assert_true(id_matcher_add(matcher, &grants[i].pattern, grants[i].key, grants[i].rank,
                                   grants[i].effect));
    }
    id_matcher_freeze(matcher);
    for (unsigned i = 0; i < RANDOM_IDS; i++) {
        char text[64];
        write_random(random, false, text, sizeof text);
        struct spiffe_id id = id_of(text);
        for (uint32_t key = 1; key <= RANDOM_KEYS; key++) {
            struct id_match wanted = naive_match(grants, count, &id, key);
            struct id_match got;
            id_matcher_match(matcher, &id, key, &got);
            assert_int_equal(got.allow, wanted.allow);
            assert_int_equal(got.deny, wanted.deny);
            struct id_near near;
            if (got.allow == ID_RANK_NONE) {
                id_matcher_near(matcher, &id, key, &near);
                assert_true(naive_agrees_near(grants, count, &id, key, &near));
            }
        }
    }
    id_matcher_free(matcher);
}

static void test_id_matcher_agrees_with_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= RANDOM_SETS; seed++) {
        uint64_t random = seed * 0x9e3779b97f4a7c15U;
        check_random_set(&random);
    }
}

enum { ID_TEXT_MAX = 72, SAMPLE = 1000 };

static void write_service(char *out, unsigned i)
{
    snprintf(out, ID_TEXT_MAX, "spiffe://prod.example/ns/n%u/sa/s%u", i % 1000, i);
}

/* The slots that a thousand lookups of IDs with a rule, and as many without, look at. */
static uint64_t probes_with_rules(unsigned rules)
{
    char(*texts)[ID_TEXT_MAX] = mem_alloc_array(rules, sizeof *texts);
    struct id_matcher *matcher = id_matcher_new();
    for (unsigned i = 0; i < rules; i++) {
        write_service(texts[i], i);
        add(matcher, texts[i], 1 + i % 8, i, ID_EFFECT_ALLOW);
    }
    id_matcher_freeze(matcher);
    uint64_t sum = 0;
    for (unsigned i = 0; i < SAMPLE; i++) {
        char text[ID_TEXT_MAX];
        unsigned known = (unsigned)((uint64_t)i * rules / SAMPLE);
        write_service(text, known);
        struct id_match match = match_of(matcher, text, 1 + known % 8);
        assert_int_equal(match.allow, known);
        assert_true(match.probes < 200);
        sum += match.probes;
        write_service(text, rules + i);
        match = match_of(matcher, text, 1);
        assert_int_equal(match.allow, ID_RANK_NONE);
        assert_true(match.probes < 200);
        sum += match.probes;
    }
    id_matcher_free(matcher);
    mem_free(texts);
    return sum;
}

static void test_id_matcher_work_does_not_grow_with_rules(void **state)
{
    (void)state;
    uint64_t few = probes_with_rules(100);
    uint64_t many = probes_with_rules(100000);
    print_message("probes of %u lookups: %llu with 100 rules, %llu with 100,000\n", 2 * SAMPLE,
                  (unsigned long long)few, (unsigned long long)many);
    /* A table is between a quarter and half full; a probe more or less for each segment. */
    assert_true(many < few * 2);
    assert_true(many < 2 * SAMPLE * 6 * 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_matcher_empty_matches_nothing),
        cmocka_unit_test(test_id_matcher_is_freed_unfrozen),
        cmocka_unit_test(test_id_matcher_keys_effects_and_ranks),
        cmocka_unit_test(test_id_matcher_star_is_no_text),
        cmocka_unit_test(test_id_matcher_near_names_the_first_difference),
        cmocka_unit_test(test_id_matcher_near_sees_allows_only),
        cmocka_unit_test(test_id_matcher_takes_every_arrangement_of_six_segments),
        cmocka_unit_test(test_id_matcher_bounds_its_frontier),
        cmocka_unit_test(test_id_matcher_agrees_with_naive_model),
        cmocka_unit_test(test_id_matcher_work_does_not_grow_with_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
