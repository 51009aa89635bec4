/* IDs that are one slip of the finger apart: which are, which are not, and a naive model. */
#include "base/memory.h"
#include "unit/policy/lint_test.h"

#define A "spiffe://a.example/"

static const struct {
    const char *one;
    const char *other;
    bool slip;
} pairs[] = {
    /* changed, left out, inserted, swapped; at the beginning, in the middle, at the end */
    {"web", "wob", true},
    {"web", "xeb", true},
    {"web", "wex", true},
    {"payments", "payment", true},
    {"payments", "ayments", true},
    {"payments", "paments", true},
    {"payments", "paymentss", true},
    {"payments", "pamyents", true},
    {"payments", "apyments", true},
    {"payments", "paymenst", true},
    {"ns/shop/sa/web", "ns/shpo/sa/web", true},
    {"ns/shop/sa/web", "ns/sho/sa/web", true},
    {"ns/shop/sa/web", "ns/shop/sa/web-", true},
    {"ns/shop", "nss/hop", true},
    {"Web", "web", true},
    {"web-api", "web.api", true},
    /* a letter for a digit, and a digit alone */
    {"job-1O", "job-10", true},
    {"webl", "web1", true},
    {"web", "web1", true},
    {"a1b", "ab1", true},
    /* numbers count */
    {"job-1", "job-2", false},
    {"job-17", "job-18", false},
    {"job-17", "job-71", false},
    {"job-1", "job-10", false},
    {"job-10", "job-110", false},
    {"2024-01", "2025-01", false},
    {"v1/x7", "v2/x7", false},
    /* a segment of one letter in place of another */
    {"zone/a", "zone/b", false},
    {"zone/a/db", "zone/b/db", false},
    /* further away */
    {"web", "web", false},
    {"web", "wxy", false},
    {"web", "webxy", false},
    {"web", "bew", false},
    {"payments", "paymetns1", false},
    {"payments", "yapments", false},
    {"ns/shop/sa/web", "ns/shop/web", false},
    {"abcd", "badc", false},
};

static void test_lint_slips_are_one_letter_away(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        char text[2048];
        char says[256];
        print_message("%s %s\n", pairs[i].one, pairs[i].other);
        (void)snprintf(text, sizeof(text),
                       "%srules:\n- {name: r, from: [" A "%s, " A "%s], to: in}\n",
                       POLICY_HEAD(EXPECT), pairs[i].one, pairs[i].other);
        (void)snprintf(says, sizeof(says),
                       "9:%zu: warning: rules[0].from[1]: \"" A "%s\" is one letter away from "
                       "\"" A "%s\" (f:9): is one of them a slip?",
                       sizeof("- {name: r, from: [" A ", ") + strlen(pairs[i].one), pairs[i].other,
                       pairs[i].one);
        const char *const wanted[] = {pairs[i].slip ? says : NULL, NULL};
        assert_warnings(text, 0, wanted);
    }
}

/* Whatever names an ID counts; what is used less is the slip, and else what comes later. */
static void test_lint_slips_say_where(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "9:19: warning: rules[0].from[0]: \"" A "ns/wob\" is one letter away from \"" A
        "ns/web\" (f:10): is one of them a slip?",
        "11:20: warning: rules[2].from[0]: \"" A "paay\" is one letter away from \"" A
        "pay\" (f:7): is one of them a slip?",
        "13:13: warning: groups.g[0]: \"" A "ns/wweb\" is one letter away from \"" A
        "ns/web\" (f:10): is one of them a slip?",
        "14:14: warning: quarantine: \"" A "wikii\" is one letter away from \"" A
        "wiki\" (f:13): is one of them a slip?",
        NULL};
    assert_warnings(POLICY_HEAD(EXPECT) "rules:\n"
                                        "- {name: a, from: " A "ns/wob, to: in}\n"
                                        "- {name: b, from: [" A "ns/web, group:g], to: in}\n"
                                        "- {name: c, from: [" A "paay, " A "ns/web], to: edge}\n"
                                        "groups:\n"
                                        "  g:       [" A "ns/wweb, " A "wiki, " A "ns/web]\n"
                                        "quarantine: [" A "wikii, " A "wiki, 'sha256:"
                                        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0"
                                        "f00a08']\n",
                    0, wanted);
}

static void test_lint_slips_stay_in_their_trust_domain(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    assert_warnings(POLICY_HEAD(EXPECT) "rules:\n"
                                        "- {name: a, from: [" A "web, spiffe://b.example/wob], "
                                        "to: in}\n"
                                        "- {name: b, from: [" A "x/*, " A "x/y], to: edge}\n",
                    0, none);
}

/* --- against a naive model ---------------------------------------------------------------------
 */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Is b what becomes of a by one change? Tries them all. */
static bool is_one_change(const char *a, const char *b)
{
    size_t len = strlen(a);
    char made[64];
    for (size_t i = 0; i < len; i++) {
        memcpy(made, a, len + 1);
        memmove(made + i, made + i + 1, len - i);
        if (strcmp(made, b) == 0) {
            return true;
        }
        for (char c = 'a'; c <= 'c'; c++) {
            memcpy(made, a, len + 1);
            made[i] = c;
            if (strcmp(made, a) != 0 && strcmp(made, b) == 0) {
                return true;
            }
        }
        memcpy(made, a, len + 1);
        if (i + 1 < len) {
            made[i] = a[i + 1];
            made[i + 1] = a[i];
            if (strcmp(made, a) != 0 && strcmp(made, b) == 0) {
                return true;
            }
        }
    }
    return false;
}

enum { WORDS = 60, WORD_MAX = 7, ROUNDS = 60 };

static size_t write_words(uint64_t *random, char words[WORDS][WORD_MAX + 1])
{
    size_t count = 0;
    for (unsigned i = 0; i < WORDS; i++) {
        char *word = words[count];
        size_t len = 3 + next_random(random) % (WORD_MAX - 2);
        for (size_t k = 0; k < len; k++) {
            word[k] = (char)('a' + next_random(random) % 3);
        }
        word[len] = '\0';
        bool is_new = true;
        for (size_t k = 0; k < count; k++) {
            is_new = is_new && strcmp(words[k], word) != 0;
        }
        count += is_new;
    }
    return count;
}

static void test_lint_slips_are_those_of_a_naive_model(void **state)
{
    (void)state;
    uint64_t random = 0x5eed;
    size_t found = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char words[WORDS][WORD_MAX + 1];
        size_t count = write_words(&random, words);
        char text[8192];
        int len = snprintf(text, sizeof(text), "%srules:\n- name: r\n  to: in\n  from:\n",
                           POLICY_HEAD(EXPECT));
        for (size_t i = 0; i < count; i++) {
            len += snprintf(text + len, sizeof(text) - (size_t)len, "  - " A "%s\n", words[i]);
        }
        struct text_policy p = lint_of(text, 0, LINT_CHECK);
        size_t at = 0;
        for (size_t i = 0; i < count; i++) {
            bool near = false;
            for (size_t k = 0; k < i; k++) {
                near =
                    near || is_one_change(words[i], words[k]) || is_one_change(words[k], words[i]);
            }
            bool told = at < p.diags.count && p.diags.items[at].pos.line == 12 + i;
            if (near != told) {
                fail_msg("round %u: %s: %d", round, words[i], near);
            }
            at += told;
        }
        assert_int_equal(at, p.diags.count);
        found += at;
        policy_end(&p);
    }
    print_message("%zu slips\n", found);
    assert_true(found > ROUNDS);
}

/* Many that are near are told up to a number, with a count of the rest. */
static void test_lint_slips_are_told_up_to_a_number(void **state)
{
    (void)state;
    enum { COUNT = 26 * 26 };
    size_t size = 64 * 1024;
    char *text = mem_alloc(size);
    size_t len = (size_t)snprintf(text, size, "%srules:\n- name: r\n  to: in\n  from:\n",
                                  POLICY_HEAD(EXPECT));
    for (unsigned i = 0; i < COUNT; i++) {
        len += (size_t)snprintf(text + len, size - len, "  - " A "same/%c%c\n", (int)('a' + i / 26),
                                (int)('a' + i % 26));
    }
    struct text_policy p = lint_of(text, 0, LINT_CHECK);
    assert_int_equal(p.diags.warning_count, 100);
    assert_int_equal(p.diags.count, 101);
    assert_int_equal(p.diags.items[0].severity, DIAG_NOTE);
    assert_string_equal(p.diags.items[0].message,
                        "rules: 575 more IDs are one letter away from another");
    policy_end(&p);
    mem_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lint_slips_are_one_letter_away),
        cmocka_unit_test(test_lint_slips_say_where),
        cmocka_unit_test(test_lint_slips_stay_in_their_trust_domain),
        cmocka_unit_test(test_lint_slips_are_those_of_a_naive_model),
        cmocka_unit_test(test_lint_slips_are_told_up_to_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
