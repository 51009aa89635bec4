/* Rules beside each other: over which a deny stands, which change or add nothing; and the lookup of
   a pattern that finds them, against its definition. */
#include "base/memory.h"
#include "policy/id_matcher.h"
#include "unit/policy/lint_test.h"

/* 2027-01-31T00:00:00Z */
#define END INT64_C(1801353600)

/* The first rule is in line 9. */
#define RULES                POLICY_HEAD(EXPECT) "rules:\n"
#define TO(name, id, to)     "- {name: " name ", from: '" id "', to: " to "}\n"
#define DENY(name, id, to)   "- {name: " name ", action: deny, from: '" id "', to: " to "}\n"
#define SHADOW(name, id, to) "- {name: " name ", mode: shadow, from: '" id "', to: " to "}\n"
#define SHADOW_DENY(name, id, to) \
    "- {name: " name ", action: deny, mode: shadow, from: '" id "', to: " to "}\n"
#define A "spiffe://a.example/"

static const struct {
    const char *rules;
    const char *says[3];
} effects[] = {
    /* a deny over all of it */
    {DENY("no", A "ns/**", "all") TO("r", A "ns/x", "in"),
     {"10:3: warning: rules[1]: rule \"r\" lets nobody in: deny rule \"no\" (f:9) stands over all "
      "of it"}},
    {TO("r", A "ns/*", "[in, edge]") DENY("no", A "ns/*", "in") DENY("no2", A "*/*", "edge"),
     {"9:3: warning: rules[0]: rule \"r\" lets nobody in: deny rules such as \"no\" (f:10) stand "
      "over all of it"}},
    {TO("r", A "ns/*/**", "all") DENY("no", A "ns/**", "in") DENY("no2", A "**", "edge"),
     {"9:3: warning: rules[0]: rule \"r\" lets nobody in: deny rules such as \"no\" (f:10) stand "
      "over all of it"}},
    {"- {name: r, from: group:g, to: in}\n" DENY(
         "no", A "**", "in") "groups: {g: [spiffe://a.example/long/one, group:h], h: "
                             "spiffe://a.example/other/two}\n",
     {"9:3: warning: rules[0]: rule \"r\" lets nobody in: deny rule \"no\" (f:10) stands over all "
      "of it"}},
    {DENY("no", A "x",
          "in") "- {name: r, from: spiffe://a.example/x, to: in, expires: 2027-06-01}\n",
     {"10:3: warning: rules[1]: rule \"r\" lets nobody in"}},
    /* not over all of it */
    {DENY("no", A "ns/x", "in") TO("r", A "ns/*", "in"), {NULL}},
    {DENY("no", A "ns/*", "in") TO("r", A "ns/**", "in"), {NULL}},
    {DENY("no", A "ns/*/x", "in") TO("r", A "ns/*/*", "in"), {NULL}},
    {DENY("no", A "ns/**", "in") TO("r", A "ns/x", "[in, edge]"), {NULL}},
    {DENY("no", A "ns/**", "in") TO("r", A "ns/x", "all"), {NULL}},
    {DENY("no", A "ns/**", "all") TO("r", A "ns", "in"), {NULL}},
    {DENY("no", "spiffe://b.example/**", "all") TO("r", A "x/y", "in"), {NULL}},
    {SHADOW_DENY("no", "spiffe://b.example/*", "all") TO("r", "spiffe://b.example/**", "all"),
     {"10:19: warning: rules[1].from[0]"}},
    {"- {name: 'no', action: deny, mode: disabled, from: spiffe://a.example/x, to: in}\n" TO(
         "r", A "x", "in"),
     {NULL}},
    {"- {name: r, from: [spiffe://a.example/first, spiffe://a.example/second/x], to: in}\n" DENY(
         "no", A "first", "in"),
     {NULL}},
    /* what ends sooner does not stand over what lasts */
    {"- {name: 'no', action: deny, from: spiffe://a.example/x, to: in, expires: 2027-06-01}\n" TO(
         "r", A "x", "in"),
     {NULL}},
    /* shadow rules */
    {SHADOW("try", A "x/y", "in") TO("r", A "x/*", "in"),
     {"9:3: warning: rules[0]: rule \"try\" would let nobody in who is not let in or denied "
      "already: allow rule \"r\" (f:10) lets in all of it"}},
    {SHADOW("try", A "x/y", "in") DENY("no", A "x/*", "in"),
     {"9:3: warning: rules[0]: rule \"try\" would let nobody in who is not let in or denied "
      "already: deny rule \"no\" (f:10) stands over all of it"}},
    {SHADOW("try", A "x/*", "in") TO("r", A "x/y", "in"), {NULL}},
    {SHADOW("try", A "x/y", "[in, edge]") TO("r", A "x/*", "in"), {NULL}},
    {SHADOW_DENY("try", A "x/y", "in") TO("r", A "x/*", "in"), {NULL}},
    {SHADOW_DENY("try", A "x/y", "in") DENY("no", A "x/*", "in") TO("r", A "x/*/z", "in"),
     {"9:3: warning: rules[0]: rule \"try\" would take nothing from anybody: deny rule \"no\" "
      "(f:10) stands over all of it"}},
    {SHADOW_DENY("try", A "x/y", "in") TO("r", A "z/z", "in"),
     {"9:3: warning: rules[0]: rule \"try\" would take nothing from anybody: no rule lets them "
      "in"}},
    {SHADOW_DENY("try", A "x/*", "in") TO("r", A "z/z", "in"), {NULL}}, /* may be anybody */
};

static void test_lint_tells_rules_without_effect(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(effects); i++) {
        char text[4096];
        (void)snprintf(text, sizeof(text), "%s%s", RULES, effects[i].rules);
        print_message("row %zu\n%s", i, effects[i].rules);
        assert_warnings(text, END, effects[i].says);
    }
}

/* Audit lets in whom no rule matches: there a shadow deny would take something. */
static void test_lint_knows_that_audit_lets_in(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    assert_lint("enforcement: audit\n" RULES SHADOW_DENY("try", A "x/y", "in"), END, LINT_CHECK,
                none);
}

static const struct {
    const char *rules;
    const char *says[3];
} covers[] = {
    {TO("wide", A "ns/**", "all") TO("r", A "ns/x", "in"),
     {"10:3: warning: rules[1]: rule \"r\" adds nothing: rule \"wide\" (f:9) lets in all of it"}},
    {TO("r", A "ns/x", "in") TO("wide", A "ns/**", "all"),
     {"9:3: warning: rules[0]: rule \"r\" adds nothing: rule \"wide\" (f:10) lets in all of it"}},
    /* of two that say the same, the second */
    {TO("a", A "ns/*", "[in, edge]") TO("b", A "ns/*", "[edge, in]"),
     {"10:3: warning: rules[1]: rule \"b\" adds nothing: rule \"a\" (f:9) lets in all of it"}},
    {TO("a", A "ns/x", "in") TO("b", A "ns/x", "[in, edge]"),
     {"9:3: warning: rules[0]: rule \"a\" adds nothing: rule \"b\" (f:10) lets in all of it"}},
    /* hidden behind itself in the order of the file */
    {"- {name: a, from: [spiffe://a.example/x/first], to: in}\n"
     "- {name: b, from: [spiffe://a.example/y/second, spiffe://a.example/x/first], to: in}\n",
     {"9:3: warning: rules[0]: rule \"a\" adds nothing: rule \"b\" (f:10) lets in all of it"}},
    /* groups: as a whole, by their members, nested */
    {"- {name: a, from: group:g, to: in}\n- {name: b, from: [group:g, spiffe://a.example/more/x], "
     "to: all}\ngroups: {g: [spiffe://a.example/g/one, spiffe://a.example/g/two]}\n",
     {"9:3: warning: rules[0]: rule \"a\" adds nothing: rule \"b\" (f:10) lets in all of it"}},
    {"- {name: a, from: [spiffe://a.example/g/two, spiffe://a.example/g/one], to: in}\n"
     "- {name: b, from: [group:outer], to: in}\n"
     "groups: {g: [spiffe://a.example/g/one, spiffe://a.example/g/two], outer: [group:g, "
     "spiffe://a.example/more/x]}\n",
     {"9:3: warning: rules[0]: rule \"a\" adds nothing: rule \"b\" (f:10) lets in all of it"}},
    {"- {name: a, from: group:g, to: in}\n- {name: b, from: 'spiffe://a.example/g/*', to: in}\n"
     "groups: {g: [spiffe://a.example/g/one, group:h], h: spiffe://a.example/g/two}\n",
     {"9:3: warning: rules[0]: rule \"a\" adds nothing: rule \"b\" (f:10) lets in all of it"}},
    {"- {name: a, from: spiffe://a.example/x, to: in, expires: 2027-06-01}\n" TO("b", A "x", "in"),
     {"9:3: warning: rules[0]: rule \"a\" adds nothing: rule \"b\" (f:10) lets in all of it"}},
    /* not covered, or not by one rule alone */
    {TO("a", A "ns/x", "in") TO("b", A "ns/x", "edge"), {NULL}},
    {TO("a", A "ns/x", "all") TO("b", A "ns/x", "[in, edge]"),
     {"10:3: warning: rules[1]: rule \"b\" adds nothing"}}, /* and "a" is not told */
    {TO("a", A "ns/*", "in") TO("b", A "ns/*/**", "in"), {NULL}},
    {TO("a", A "ns/**", "in") TO("b", A "ns/*", "edge"), {NULL}},
    {"- {name: a, from: [spiffe://a.example/x/one, spiffe://a.example/y/two], to: in}\n"
     "- {name: b, from: [spiffe://a.example/x/one, spiffe://a.example/z/three], to: in}\n",
     {NULL}},
    {"- {name: a, from: group:g, to: in}\n- {name: b, from: spiffe://a.example/g/one, to: all}\n"
     "groups: {g: [spiffe://a.example/g/one, spiffe://a.example/g/two]}\n",
     {NULL}},
    {SHADOW("a", A "x/one", "in") TO("b", A "y/two", "in"), {NULL}},
    {"- {name: a, from: spiffe://a.example/x, to: in, mode: disabled}\n" TO("b", A "x", "in"),
     {NULL}},
    {"- {name: a, from: spiffe://a.example/x, to: in, mode: disabled}\n"
     "- {name: b, from: spiffe://a.example/x, to: in, expires: 2027-06-01}\n" TO("c", A "x",
                                                                                 "edge"),
     {NULL}},
    {TO("b", A "x", "in") "- {name: a, from: spiffe://a.example/x, to: [in, edge], expires: "
                          "2027-06-01}\n",
     {NULL}},
    /* a deny is no allow */
    {TO("a", A "x/one", "in") DENY("b", A "y/**", "in") DENY("c", A "y/one", "in"), {NULL}},
};

static void test_lint_tells_rules_that_add_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(covers); i++) {
        char text[4096];
        (void)snprintf(text, sizeof(text), "%s%s", RULES, covers[i].rules);
        print_message("row %zu\n%s", i, covers[i].rules);
        assert_warnings(text, END, covers[i].says);
    }
}

/* At a load only what costs nothing is said. */
static void test_lint_compares_for_check_alone(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    assert_lint(RULES TO("wide", A "ns/**", "all") TO("r", A "ns/x", "in") TO("s", A "ns/y", "in")
                    DENY("no", A "ns/**", "all"),
                END, LINT_LOAD, none);
}

/* Many rules of one ID and one group: the work stays bounded, and what is missed is said. */
static void test_lint_bounds_its_work(void **state)
{
    (void)state;
    enum { RULE_COUNT = 3000, MEMBERS = 3000, LINE = 96 };
    size_t size = sizeof(RULES) + (RULE_COUNT + MEMBERS + 4) * (size_t)LINE;
    char *text = mem_alloc(size);
    size_t len = (size_t)snprintf(text, size, "%s", RULES);
    for (unsigned i = 0; i < RULE_COUNT; i++) {
        len += (size_t)snprintf(text + len, size - len,
                                "- {name: r%u, from: [group:g%u], to: in}\n", i, i % 2);
    }
    len += (size_t)snprintf(text + len, size - len, "- {name: w, from: '" A "**', to: edge}\n");
    for (unsigned group = 0; group < 2; group++) {
        len += (size_t)snprintf(text + len, size - len, "%s  g%u:\n", group == 0 ? "groups:\n" : "",
                                group);
        for (unsigned i = 0; i < MEMBERS / 2; i++) {
            len += (size_t)snprintf(text + len, size - len, "  - " A "member/%u/of/%u\n", i, group);
        }
    }
    struct text_policy p = policy_of(text);
    assert_non_null(p.policy);
    diag_list_fini(&p.diags);
    diag_list_init(&p.diags);
    lint_run(p.policy, 0, LINT_CHECK, &p.diags);
    /* all but the first of each group, or the note that says that not all are told */
    size_t told = 0;
    bool noted = false;
    for (size_t i = 0; i < p.diags.count; i++) {
        told += strstr(p.diags.items[i].message, "adds nothing") != NULL;
        noted |= strstr(p.diags.items[i].message, "too many") != NULL;
    }
    assert_true(told == RULE_COUNT - 2 || noted);
    policy_end(&p);
    mem_free(text);
}

/* --- the lookup of a pattern, against its definition ------------------------------------------ */

enum { SEGMENTS_MAX = 4, LETTERS = 3 };

/* All IDs of up to four segments of three letters: enough to tell apart patterns of up to three
   segments of two. */
static bool covers_by_definition(const struct id_pattern *wide, const struct id_pattern *narrow)
{
    for (unsigned length = 1; length <= SEGMENTS_MAX; length++) {
        unsigned all = 1;
        for (unsigned i = 0; i < length; i++) {
            all *= LETTERS;
        }
        for (unsigned number = 0; number < all; number++) {
            char text[64];
            int len = snprintf(text, sizeof(text), "spiffe://a");
            for (unsigned i = 0, rest = number; i < length; i++, rest /= LETTERS) {
                len += snprintf(text + len, sizeof(text) - (size_t)len, "/%c",
                                (int)('x' + rest % LETTERS));
            }
            struct spiffe_id id;
            const char *why = NULL;
            assert_int_equal(spiffe_id_parse(strview_from(text), &id, &why), 0);
            if (id_pattern_matches(narrow, &id) && !id_pattern_matches(wide, &id)) {
                return false;
            }
        }
    }
    return true;
}

enum { PATTERNS_MAX = 256, TEXT_SIZE = 32 };

/* Of up to three segments, each x, y or `*`, with and without a final `**`. */
static size_t write_patterns(char texts[PATTERNS_MAX][TEXT_SIZE])
{
    static const char *const segments[] = {"x", "y", "*"};
    size_t count = 0;
    for (unsigned length = 0; length <= 3; length++) {
        unsigned all = length == 0 ? 1 : length == 1 ? 3 : length == 2 ? 9 : 27;
        for (unsigned number = 0; number < all; number++) {
            for (int tail = length == 0; tail <= 1; tail++) {
                int len = snprintf(texts[count], TEXT_SIZE, "spiffe://a");
                for (unsigned i = 0, rest = number; i < length; i++, rest /= 3) {
                    len += snprintf(texts[count] + len, TEXT_SIZE - (size_t)len, "/%s",
                                    segments[rest % 3]);
                }
                (void)snprintf(texts[count] + len, TEXT_SIZE - (size_t)len, "%s",
                               tail ? "/**" : "");
                count++;
            }
        }
    }
    return count;
}

static void collect_rank(void *arg, uint32_t rank)
{
    bool *seen = arg;
    assert_false(seen[rank]);
    seen[rank] = true;
}

static void test_id_matcher_finds_what_covers_a_pattern(void **state)
{
    (void)state;
    static char texts[PATTERNS_MAX][TEXT_SIZE];
    static struct id_pattern patterns[PATTERNS_MAX];
    size_t count = write_patterns(texts);
    struct id_matcher *matcher = id_matcher_new();
    for (size_t i = 0; i < count; i++) {
        const char *why = NULL;
        assert_int_equal(id_pattern_parse(strview_from(texts[i]), &patterns[i], &why), 0);
        uint32_t set = id_matcher_set_new(matcher);
        assert_true(id_matcher_set_add(matcher, set, &patterns[i]));
        id_matcher_set_grant(matcher, set, 1 + i % 2, (uint32_t)i, ID_EFFECT_ALLOW, ID_ENDS_NEVER);
    }
    assert_true(id_matcher_freeze(matcher));
    size_t pairs = 0;
    for (size_t i = 0; i < count; i++) {
        bool seen[PATTERNS_MAX] = {false};
        uint32_t lowest = ID_RANK_NONE;
        id_matcher_each_cover(matcher, &patterns[i], collect_rank, seen);
        for (size_t k = 0; k < count; k++) {
            bool covered = covers_by_definition(&patterns[k], &patterns[i]);
            if (seen[k] != covered) {
                fail_msg("%s covers %s: %d", texts[k], texts[i], covered);
            }
            pairs += covered;
            if (covered && k % 2 == 0 && lowest == ID_RANK_NONE) {
                lowest = (uint32_t)k;
            }
        }
        struct id_match match;
        id_matcher_match_pattern(matcher, &patterns[i], 1, 0, &match);
        assert_int_equal(match.rank[ID_EFFECT_ALLOW], lowest);
        assert_int_equal(match.rank[ID_EFFECT_DENY], ID_RANK_NONE);
    }
    print_message("%zu patterns, %zu pairs\n", count, pairs);
    assert_true(pairs > count);
    id_matcher_free(matcher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lint_tells_rules_without_effect),
        cmocka_unit_test(test_lint_knows_that_audit_lets_in),
        cmocka_unit_test(test_lint_tells_rules_that_add_nothing),
        cmocka_unit_test(test_lint_compares_for_check_alone),
        cmocka_unit_test(test_lint_bounds_its_work),
        cmocka_unit_test(test_id_matcher_finds_what_covers_a_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
