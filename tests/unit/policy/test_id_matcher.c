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
    struct naive_grant grant = {.pattern = pattern, .key = key, .rank = rank, .effect = effect};
    assert_true(naive_add(matcher, &grant));
}

static struct id_match match_of(const struct id_matcher *matcher, const char *text, uint32_t key)
{
    struct spiffe_id id = id_of(text);
    struct id_match match;
    id_matcher_match(matcher, &id, key, 0, &match);
    return match;
}

static void test_id_matcher_empty_matches_nothing(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    assert_true(id_matcher_freeze(matcher));
    struct spiffe_id id = id_of("spiffe://a.example/x");
    struct id_match match = match_of(matcher, "spiffe://a.example/x", 1);
    assert_int_equal(match.rank[ID_EFFECT_ALLOW], ID_RANK_NONE);
    assert_int_equal(match.rank[ID_EFFECT_DENY], ID_RANK_NONE);
    struct id_near near;
    id_matcher_near(matcher, &id, 1, 0, &near);
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
    assert_true(id_matcher_freeze(matcher));
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
        assert_int_equal(match.rank[ID_EFFECT_ALLOW], cases[i].allow);
        assert_int_equal(match.rank[ID_EFFECT_DENY], cases[i].deny);
    }
    id_matcher_free(matcher);
}

/* An ID can hold no `*`, but a matcher must not let a segment's text stand for an edge. */
/* A node keeps a short segment itself and points at a long one: 32 bytes is the last that is short.
 */
static void test_id_matcher_compares_segments_of_every_length(void **state)
{
    (void)state;
    enum { LONGEST = 70 };
    char ids[LONGEST + 1][100];
    struct id_matcher *matcher = id_matcher_new();
    for (uint32_t len = 1; len <= LONGEST; len++) {
        (void)snprintf(ids[len], sizeof ids[len], "spiffe://a.example/%0*u", (int)len, 7);
        add(matcher, ids[len], 1, len, ID_EFFECT_ALLOW);
    }
    assert_true(id_matcher_freeze(matcher));
    for (uint32_t len = 1; len <= LONGEST; len++) {
        struct spiffe_id id = id_of(ids[len]);
        struct id_near near;
        assert_int_equal(match_of(matcher, ids[len], 1).rank[ID_EFFECT_ALLOW], len);
        char *last = &ids[len][strlen(ids[len]) - 1];
        *last = '8';
        assert_int_equal(match_of(matcher, ids[len], 1).rank[ID_EFFECT_ALLOW], ID_RANK_NONE);
        id_matcher_near(matcher, &id, 1, 0, &near);
        assert_true(near.found);
        assert_int_equal(near.wanted.len, 1); /* of the lowest rank */
        assert_int_equal(near.wanted.ptr[0], '7');
        *last = '7';
    }
    char longer[100];
    (void)snprintf(longer, sizeof longer, "spiffe://a.example/%0*u", LONGEST + 1, 7);
    assert_int_equal(match_of(matcher, longer, 1).rank[ID_EFFECT_ALLOW], ID_RANK_NONE);
    id_matcher_free(matcher);
}

static void test_id_matcher_star_is_no_text(void **state)
{
    (void)state;
    struct id_matcher *matcher = id_matcher_new();
    add(matcher, "spiffe://a.example/x", 1, 0, ID_EFFECT_ALLOW);
    assert_true(id_matcher_freeze(matcher));
    static const char text[] = "spiffe://a.example/*";
    struct spiffe_id id = {strview_from(text), {text + 9, 9}, {text + 18, 2}};
    struct id_match match;
    id_matcher_match(matcher, &id, 1, 0, &match);
    assert_int_equal(match.rank[ID_EFFECT_ALLOW], ID_RANK_NONE);
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
    assert_true(id_matcher_freeze(matcher));
    for (size_t i = 0; i < COUNT_OF(near_cases); i++) {
        struct spiffe_id id = id_of(near_cases[i].id);
        struct id_near near;
        print_message("%s key %u\n", near_cases[i].id, near_cases[i].key);
        id_matcher_near(matcher, &id, near_cases[i].key, 0, &near);
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
    assert_true(id_matcher_freeze(matcher));
    struct spiffe_id id = id_of("spiffe://a.example/ns/x");
    struct id_near near;
    id_matcher_near(matcher, &id, 1, 0, &near);
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
    assert_true(id_matcher_freeze(matcher));
    struct id_match match = match_of(matcher, "spiffe://a.example/a/a/a/a/a/a", 1);
    assert_int_equal(match.rank[ID_EFFECT_ALLOW], 0);
    match = match_of(matcher, "spiffe://a.example/a/a/a/a/a/b", 1);
    assert_int_equal(match.rank[ID_EFFECT_ALLOW], 0);
    match = match_of(matcher, "spiffe://a.example/a/a/a/a/a", 1);
    assert_int_equal(match.rank[ID_EFFECT_ALLOW], ID_RANK_NONE);
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
        struct naive_grant grant = {.pattern = pattern, .key = 1, .rank = stars};
        taken += naive_add(matcher, &grant);
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
    assert_true(id_matcher_freeze(matcher));
    assert_true(id_matcher_freeze(roomy));
    char id[2048];
    int len = snprintf(id, sizeof id, "spiffe://a.example");
    while (len < 2040) {
        len += snprintf(id + len, sizeof id - (size_t)len, "/a");
    }
    struct id_match match = match_of(matcher, id, 1);
    assert_int_equal(match.rank[ID_EFFECT_ALLOW], ID_RANK_NONE);
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

enum {
    RANDOM_RUNS = 400,
    RANDOM_SETS = 8,
    RANDOM_PATTERNS = 24,
    RANDOM_GRANTS = 24,
    RANDOM_IDS = 150,
    RANDOM_KEYS = 3,
    RANDOM_TIMES = 4,
    MODEL_MAX = RANDOM_PATTERNS * RANDOM_GRANTS
};

/* Sets within sets, and what each pattern comes to be granted, for the model. */
struct random_world {
    struct id_matcher *matcher;
    size_t set_count;
    bool inside[RANDOM_SETS][RANDOM_SETS]; /* [inner][outer], over any number of steps */
    char texts[RANDOM_PATTERNS][64];
    struct {
        struct naive_grant grant; /* but its pattern */
        size_t set;
    } grants[RANDOM_GRANTS];
    size_t grant_count;
    struct naive_grant model[MODEL_MAX];
    size_t model_count;
};

static void add_random_sets(struct random_world *world, uint64_t *random)
{
    world->set_count = 1 + next_random(random) % RANDOM_SETS;
    for (uint32_t set = 0; set < world->set_count; set++) {
        assert_int_equal(id_matcher_set_new(world->matcher), set);
        world->inside[set][set] = true;
        for (uint32_t outer = 0; outer < set; outer++) {
            if (next_random(random) % 4 != 0) {
                continue;
            }
            id_matcher_set_join(world->matcher, set, outer);
            for (size_t k = 0; k < world->set_count; k++) {
                world->inside[set][k] |= world->inside[outer][k];
            }
        }
    }
}

static void add_random_grants(struct random_world *world, uint64_t *random)
{
    world->grant_count = 1 + next_random(random) % RANDOM_GRANTS;
    for (size_t i = 0; i < world->grant_count; i++) {
        struct naive_grant grant = {
            .key = next_random(random) % (RANDOM_KEYS + 1),
            .rank = next_random(random) % 20,
            .effect = next_random(random) % ID_EFFECTS,
            .ends_s = next_random(random) % (RANDOM_TIMES + 1),
        };
        world->grants[i].grant = grant;
        world->grants[i].set = next_random(random) % world->set_count;
        id_matcher_set_grant(world->matcher, (uint32_t)world->grants[i].set, grant.key, grant.rank,
                             grant.effect, grant.ends_s == 0 ? ID_ENDS_NEVER : grant.ends_s);
    }
}

static void add_random_patterns(struct random_world *world, uint64_t *random)
{
    size_t count = 1 + next_random(random) % RANDOM_PATTERNS;
    for (size_t i = 0; i < count; i++) {
        write_random(random, true, world->texts[i], sizeof world->texts[i]);
        struct id_pattern pattern = pattern_of(world->texts[i]);
        size_t set = next_random(random) % world->set_count;
        assert_true(id_matcher_set_add(world->matcher, (uint32_t)set, &pattern));
        for (size_t k = 0; k < world->grant_count; k++) {
            if (world->inside[set][world->grants[k].set]) {
                world->model[world->model_count] = world->grants[k].grant;
                world->model[world->model_count++].pattern = pattern;
            }
        }
    }
}

static void ask_random(const struct random_world *world, const struct spiffe_id *id, uint32_t key,
                       int64_t now_s)
{
    struct id_match wanted = naive_match(world->model, world->model_count, id, key, now_s);
    struct id_match got;
    id_matcher_match(world->matcher, id, key, now_s, &got);
    assert_memory_equal(got.rank, wanted.rank, sizeof(got.rank));
    if (got.rank[ID_EFFECT_ALLOW] == ID_RANK_NONE) {
        struct id_near near;
        id_matcher_near(world->matcher, id, key, now_s, &near);
        assert_true(naive_agrees_near(world->model, world->model_count, id, key, now_s, &near));
    }
}

static void check_random_set(uint64_t *random)
{
    static struct random_world world;
    memset(&world, 0, sizeof(world));
    world.matcher = id_matcher_new();
    add_random_sets(&world, random);
    add_random_grants(&world, random);
    add_random_patterns(&world, random);
    assert_true(id_matcher_freeze(world.matcher));
    for (unsigned i = 0; i < RANDOM_IDS; i++) {
        char text[64];
        write_random(random, false, text, sizeof text);
        struct spiffe_id id = id_of(text);
        for (uint32_t key = 1; key <= RANDOM_KEYS; key++) {
            ask_random(&world, &id, key, (int64_t)(next_random(random) % (RANDOM_TIMES + 2)));
        }
    }
    id_matcher_free(world.matcher);
}

static void test_id_matcher_agrees_with_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= RANDOM_RUNS; seed++) {
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
    assert_true(id_matcher_freeze(matcher));
    uint64_t sum = 0;
    for (unsigned i = 0; i < SAMPLE; i++) {
        char text[ID_TEXT_MAX];
        unsigned known = (unsigned)((uint64_t)i * rules / SAMPLE);
        write_service(text, known);
        struct id_match match = match_of(matcher, text, 1 + known % 8);
        assert_int_equal(match.rank[ID_EFFECT_ALLOW], known);
        assert_true(match.probes < 200);
        sum += match.probes;
        write_service(text, rules + i);
        match = match_of(matcher, text, 1);
        assert_int_equal(match.rank[ID_EFFECT_ALLOW], ID_RANK_NONE);
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
        cmocka_unit_test(test_id_matcher_compares_segments_of_every_length),
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
