/* Patterns: what is accepted, what is refused with which sentence, and what matches. */
#include "policy/id_pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *text;
    bool exact;
    bool tail;
} accepted[] = {
    {"spiffe://prod.example/ns/shop/sa/web", true, false},
    {"spiffe://prod.example/a", true, false},
    {"spiffe://prod.example/A.b-c_9", true, false},
    {"spiffe://prod.example/...", true, false},
    {"spiffe://prod.example/..a", true, false},
    {"spiffe://prod_1.example-x/a", true, false},
    {"spiffe://10.0.0.1/a", true, false},
    {"spiffe://prod.example/*", false, false},
    {"spiffe://prod.example/**", false, true},
    {"spiffe://prod.example/ns/*/sa/web", false, false},
    {"spiffe://prod.example/*/*/*/*/*/*/*/*/*/*", false, false},
    {"spiffe://prod.example/ns/shop/**", false, true},
    {"spiffe://prod.example/*/**", false, true},
};

static void test_id_pattern_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        struct id_pattern pattern;
        const char *why = "unset";
        print_message("%s\n", accepted[i].text);
        assert_int_equal(id_pattern_parse(strview_from(accepted[i].text), &pattern, &why), 0);
        assert_null(why);
        assert_int_equal(pattern.exact, accepted[i].exact);
        assert_int_equal(pattern.tail, accepted[i].tail);
        assert_true(strview_equal_text(pattern.text, accepted[i].text));
        assert_int_equal(pattern.path.ptr[0], '/');
        assert_ptr_equal(pattern.path.ptr + pattern.path.len,
                         accepted[i].text + strlen(accepted[i].text));
    }
}

static const struct {
    const char *text;
    const char *why; /* a part of it */
} refused[] = {
    {"", "is empty; write the ID in full"},
    {" spiffe://prod.example/a", "must start with \"spiffe://\""},
    {"spiffe:/x", "must start with \"spiffe://\""},
    {"spiffe:x", "must start with \"spiffe://\""},
    {"http://prod.example/a", "must start with \"spiffe://\""},
    {"sha256:9f86d081", "must start with \"spiffe://\""},
    {"prod.example/ns/x", "write the ID in full: spiffe://TRUST-DOMAIN/PATH"},
    {"/ns/x", "write the ID in full"},
    {"*", "spiffe://TRUST-DOMAIN/** is every ID of one"},
    {"**", "spiffe://TRUST-DOMAIN/** is every ID of one"},
    {"web", "write the ID in full"},
    {"SPIFFE://prod.example/a", "the scheme is written in lower case"},
    {"Spiffe://prod.example/a", "the scheme is written in lower case"},
    {"group:storefront", "must start with \"spiffe://\""},
    {"spiffe://", "trust domain is empty"},
    {"spiffe:///ns/x", "trust domain is empty"},
    {"spiffe://prod.example", "/** admits the whole trust domain"},
    {"spiffe://prod.example/", "an ID of a workload has a path"},
    {"spiffe://*/ns/x", "no pattern in a trust domain"},
    {"spiffe://**", "no pattern in a trust domain"},
    {"spiffe://*.example/ns/x", "no pattern in a trust domain"},
    {"spiffe://prod.*/x", "no pattern in a trust domain"},
    {"spiffe://Prod.example/x", "lower case"},
    {"spiffe://prod.example:443/x", "colon"},
    {"spiffe://user@prod.example/x", "user information"},
    {"spiffe://prod.example/a/", "leave out the slash at the end"},
    {"spiffe://prod.example/**/", "stands only at the end"},
    {"spiffe://prod.example/a//b", "empty segment; write one slash"},
    {"spiffe://prod.example//a", "empty segment; write one slash"},
    {"spiffe://prod.example//", "empty segment"},
    {"spiffe://prod.example/./a", "\".\" or \"..\" segment"},
    {"spiffe://prod.example/a/..", "\".\" or \"..\" segment"},
    {"spiffe://prod.example/**/a", "`**` stands only at the end"},
    {"spiffe://prod.example/a/**/b/**", "`**` stands only at the end"},
    {"spiffe://prod.example/web-*", "exactly one whole segment"},
    {"spiffe://prod.example/*-web", "exactly one whole segment"},
    {"spiffe://prod.example/a*b", "exactly one whole segment"},
    {"spiffe://prod.example/***", "exactly one whole segment"},
    {"spiffe://prod.example/**x", "exactly one whole segment"},
    {"spiffe://prod.example/a/ * ", "exactly one whole segment"},
    {"spiffe://${trust}/ns/x", "`$` is reserved"},
    {"spiffe://prod.example/$x", "`$` is reserved"},
    {"spiffe://prod.example/%77eb", "percent-encoding"},
    {"spiffe://prod%2eexample/web", "percent-encoding"},
    {"spiffe://prod.example/a b", "letters, digits"},
    {"spiffe://prod.example/a ", "letters, digits"},
    {"spiffe://prod.example/a?x=1", "letters, digits"},
    {"spiffe://prod.example/a#x", "letters, digits"},
    {"spiffe://prod.example/[ab]", "letters, digits"},
    {"spiffe://prod.example/a+", "letters, digits"},
    {"spiffe://prod.example/a\\b", "letters, digits"},
    {"spiffe://prod.example/\xc3\xa4", "letters, digits"},
    {"spiffe://prod.example/a\n", "letters, digits"},
};

static void test_id_pattern_refuses_with_what_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct id_pattern pattern;
        const char *why = NULL;
        print_message("%s\n", refused[i].text);
        assert_int_equal(id_pattern_parse(strview_from(refused[i].text), &pattern, &why), -1);
        assert_non_null(why);
        print_message("    %s\n", why);
        assert_non_null(strstr(why, refused[i].why));
    }
}

static void test_id_pattern_refuses_nul_byte(void **state)
{
    (void)state;
    static const char text[] = "spiffe://prod.example/web\0/x";
    struct id_pattern pattern;
    const char *why = NULL;
    struct strview view = {text, sizeof text - 1};
    assert_int_equal(id_pattern_parse(view, &pattern, &why), -1);
    assert_non_null(strstr(why, "letters, digits"));
}

static void test_id_pattern_refuses_more_than_2048_bytes(void **state)
{
    (void)state;
    char text[SPIFFE_ID_MAX + 2];
    int len = snprintf(text, sizeof text, "spiffe://prod.example/");
    memset(text + len, 'a', sizeof text - (size_t)len);
    struct id_pattern pattern;
    const char *why = NULL;
    struct strview view = {text, SPIFFE_ID_MAX};
    assert_int_equal(id_pattern_parse(view, &pattern, &why), 0);
    view.len++;
    assert_int_equal(id_pattern_parse(view, &pattern, &why), -1);
    assert_non_null(strstr(why, "longer than 2,048 bytes"));
}

static const struct {
    const char *pattern;
    const char *id;
    bool matches;
} pairs[] = {
    {"spiffe://a.example/ns/x", "spiffe://a.example/ns/x", true},
    {"spiffe://a.example/ns/x", "spiffe://b.example/ns/x", false},
    {"spiffe://a.example/ns/x", "spiffe://a.example.evil/ns/x", false},
    {"spiffe://a.example/ns/x", "spiffe://a.exampl/ns/x", false},
    {"spiffe://a.example/ns/x", "spiffe://a.example/ns/X", false},
    {"spiffe://a.example/ns/x", "spiffe://a.example/ns/xx", false},
    {"spiffe://a.example/ns/x", "spiffe://a.example/ns/x/y", false},
    {"spiffe://a.example/ns/x", "spiffe://a.example/ns", false},
    {"spiffe://a.example/ns/x", "spiffe://a.example", false},
    {"spiffe://a.example/ns/x", "spiffe://a.example/x/ns", false},
    {"spiffe://a.example/*", "spiffe://a.example/x", true},
    {"spiffe://a.example/*", "spiffe://a.example", false},
    {"spiffe://a.example/*", "spiffe://a.example/x/y", false},
    {"spiffe://a.example/*", "spiffe://b.example/x", false},
    {"spiffe://a.example/ns/*/sa/web", "spiffe://a.example/ns/shop/sa/web", true},
    {"spiffe://a.example/ns/*/sa/web", "spiffe://a.example/ns/sa/web", false},
    {"spiffe://a.example/ns/*/sa/web", "spiffe://a.example/ns/a/b/sa/web", false},
    {"spiffe://a.example/ns/*/sa/web", "spiffe://a.example/ns/shop/sa/webs", false},
    {"spiffe://a.example/**", "spiffe://a.example/x", true},
    {"spiffe://a.example/**", "spiffe://a.example/x/y/z", true},
    {"spiffe://a.example/**", "spiffe://a.example", false},
    {"spiffe://a.example/**", "spiffe://a.example.b/x", false},
    {"spiffe://a.example/ns/**", "spiffe://a.example/ns/x", true},
    {"spiffe://a.example/ns/**", "spiffe://a.example/ns", false},
    {"spiffe://a.example/ns/**", "spiffe://a.example/nsx/y", false},
    {"spiffe://a.example/*/**", "spiffe://a.example/x", false},
    {"spiffe://a.example/*/**", "spiffe://a.example/x/y", true},
};

static void test_id_pattern_matches(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct id_pattern pattern;
        struct spiffe_id id;
        const char *why = NULL;
        print_message("%s %s\n", pairs[i].pattern, pairs[i].id);
        assert_int_equal(id_pattern_parse(strview_from(pairs[i].pattern), &pattern, &why), 0);
        assert_int_equal(spiffe_id_parse(strview_from(pairs[i].id), &id, &why), 0);
        assert_int_equal(id_pattern_matches(&pattern, &id), pairs[i].matches);
    }
}

/* Every change of one byte of an exact ID is another ID, or none. */
static void test_id_pattern_exact_refuses_every_near_miss(void **state)
{
    (void)state;
    const char *text = "spiffe://prod.example/ns/shop/sa/web";
    struct id_pattern pattern;
    const char *why = NULL;
    assert_int_equal(id_pattern_parse(strview_from(text), &pattern, &why), 0);
    char changed[64];
    unsigned parsed = 0;
    for (size_t at = 0; at < strlen(text); at++) {
        for (int byte = 0; byte < 256; byte++) {
            snprintf(changed, sizeof changed, "%s", text);
            changed[at] = (char)byte;
            struct spiffe_id id;
            struct strview view = {changed, strlen(text)};
            if (changed[at] == text[at] || spiffe_id_parse(view, &id, &why) != 0) {
                continue;
            }
            parsed++;
            assert_false(id_pattern_matches(&pattern, &id));
        }
    }
    assert_true(parsed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_pattern_accepts),
        cmocka_unit_test(test_id_pattern_refuses_with_what_is_right),
        cmocka_unit_test(test_id_pattern_refuses_nul_byte),
        cmocka_unit_test(test_id_pattern_refuses_more_than_2048_bytes),
        cmocka_unit_test(test_id_pattern_matches),
        cmocka_unit_test(test_id_pattern_exact_refuses_every_near_miss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
