/* Unit tests of spiffe_id: the grammar of SPIFFE-ID 2, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spiffe/spiffe_id.h"

static int parse(const char *text, size_t len, struct spiffe_id *id, const char **why)
{
    struct strview view = {text, len};
    *why = NULL;
    return spiffe_id_parse(view, id, why);
}

static void test_accepts_valid_ids(void **state)
{
    (void)state;
    static const struct {
        const char *text, *domain, *path;
    } cases[] = {
        {"spiffe://example.org", "example.org", ""},
        {"spiffe://prod.example/ns/shop/sa/web", "prod.example", "/ns/shop/sa/web"},
        {"spiffe://a", "a", ""},
        {"spiffe://a/b", "a", "/b"},
        {"spiffe://td_with-all.0123456789/A-Z_a.z09", "td_with-all.0123456789", "/A-Z_a.z09"},
        /* Names that are no DNS names are valid (SPIFFE-ID 2.1). */
        {"spiffe://1.2.3.4/x", "1.2.3.4", "/x"},
        {"spiffe://example..org/x", "example..org", "/x"},
        {"spiffe://.a/x", ".a", "/x"},
        {"spiffe://a./x", "a.", "/x"},
        {"spiffe://-a/x", "-a", "/x"},
        {"spiffe://../x", "..", "/x"},
        {"spiffe://td/...", "td", "/..."},
        {"spiffe://td/.a", "td", "/.a"},
        {"spiffe://td/..a/a..", "td", "/..a/a.."},
        {"spiffe://td/Web", "td", "/Web"},
        {"spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web",
         "11111111-2222-3333-4444-555555555555.consul", "/ns/default/dc/dc1/svc/web"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spiffe_id id;
        const char *why;
        assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &id, &why), 0);
        assert_true(strview_equal_text(id.text, cases[i].text));
        assert_true(strview_equal_text(id.trust_domain, cases[i].domain));
        assert_true(strview_equal_text(id.path, cases[i].path));
    }
}

static void test_rejects_invalid_ids(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why; /* a part of the sentence */
    } cases[] = {
        {"", "empty"},
        {"spiffe", "scheme"},
        {"spiffe:", "scheme"},
        {"spiffe:/", "scheme"},
        {"spiffe:/td/x", "scheme"},
        {"http://td/x", "scheme"},
        {"spiffes://td/x", "scheme"},
        {" spiffe://td/x", "scheme"},
        {"SPIFFE://td/x", "lower case"},
        {"Spiffe://td/x", "lower case"},
        {"spiffe://", "empty"},
        {"spiffe:///x", "trust domain is empty"},
        {"spiffe://Prod.example/x", "upper case"},
        {"spiffe://prod.examplE/x", "upper case"},
        {"spiffe://td:80/x", "port"},
        {"spiffe://user@td/x", "user"},
        {"spiffe://t%64/x", "percent"},
        {"spiffe://[::1]/x", "may hold"},
        {"spiffe://t d/x", "may hold"},
        {"spiffe://td\xc3\xa9/x", "may hold"},
        {"spiffe://*/x", "wildcard"},
        {"spiffe://*.example/x", "wildcard"},
        {"spiffe://td?q", "query"},
        {"spiffe://td#f", "fragment"},
        {"spiffe://td/", "'/' at the end"},
        {"spiffe://td//", "empty path segment"},
        {"spiffe://td//x", "empty path segment"},
        {"spiffe://td/x/", "'/' at the end"},
        {"spiffe://td/x//y", "empty path segment"},
        {"spiffe://td/.", "\".\""},
        {"spiffe://td/..", "\"..\""},
        {"spiffe://td/./x", "\".\""},
        {"spiffe://td/x/../y", "\"..\""},
        {"spiffe://td/x/..", "\"..\""},
        {"spiffe://td/x%2Fy", "percent"},
        {"spiffe://td/%2e%2e", "percent"},
        {"spiffe://td/x?q=1", "query"},
        {"spiffe://td/x#f", "fragment"},
        {"spiffe://td/x y", "may hold"},
        {"spiffe://td/x:y", "may hold"},
        {"spiffe://td/x@y", "may hold"},
        {"spiffe://td/*", "may hold"},
        {"spiffe://td/x\ty", "may hold"},
        {"spiffe://td/x\ny", "may hold"},
        {"spiffe://td/\xc3\xa9", "may hold"},
        {"spiffe://td/x\\y", "may hold"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spiffe_id id;
        const char *why;
        if (parse(cases[i].text, strlen(cases[i].text), &id, &why) != -1 || why == NULL ||
            strstr(why, cases[i].why) == NULL) {
            fail_msg("\"%s\": %s", cases[i].text, why != NULL ? why : "accepted");
        }
    }
}

/* CVE-2009-2408: what a C string would end at. */
static void test_rejects_nul_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {
        {"spiffe://td/x\0", 14},      {"spiffe://td/x\0.evil", 19}, {"spiffe://td\0/x", 14},
        {"spiffe://td\0.evil/x", 19}, {"spiffe://td/\0", 13},       {"\0spiffe://td/x", 14},
        {"spiffe\0://td/x", 14},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spiffe_id id;
        const char *why;
        assert_int_equal(parse(cases[i].text, cases[i].len, &id, &why), -1);
    }
}

static void test_every_other_byte_is_refused_in_path_and_domain(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char text[] = "spiffe://tXd/aXb";
        struct spiffe_id id;
        const char *why;
        bool lower = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '.' ||
                     byte == '-' || byte == '_';
        bool segment = lower || (byte >= 'A' && byte <= 'Z');
        assert_int_equal(spiffe_segment_char((char)byte), segment);
        text[10] = (char)byte;
        text[14] = 'x';
        /* A slash ends the domain: then "d/axb" is a path. */
        assert_int_equal(parse(text, 16, &id, &why), lower || byte == '/' ? 0 : -1);
        text[10] = 'x';
        text[14] = (char)byte;
        assert_int_equal(parse(text, 16, &id, &why), segment || byte == '/' ? 0 : -1);
    }
}

static void test_bounds_of_length(void **state)
{
    (void)state;
    char *text = malloc(3000);
    struct spiffe_id id;
    const char *why;
    memset(text, 'a', 3000);
    memcpy(text, "spiffe://td/", 12);
    assert_int_equal(parse(text, 2048, &id, &why), 0);
    assert_int_equal(parse(text, 2049, &id, &why), -1);
    assert_non_null(strstr(why, "2048"));

    memset(text, 'a', 3000);
    memcpy(text, "spiffe://", 9);
    assert_int_equal(parse(text, 9 + 255, &id, &why), 0);
    assert_int_equal(id.trust_domain.len, 255);
    assert_int_equal(parse(text, 9 + 256, &id, &why), -1);
    assert_non_null(strstr(why, "255"));
    text[9 + 255] = '/';
    assert_int_equal(parse(text, 9 + 257, &id, &why), 0);
    free(text);
}

/* The views end where the bytes end: the parser needs no terminator. */
static void test_reads_no_byte_behind_the_end(void **state)
{
    (void)state;
    static const char whole[] = "spiffe://td/a";
    for (size_t len = 0; len < sizeof(whole); len++) {
        char *exact = malloc(len > 0 ? len : 1); /* the sanitizer watches its end */
        struct spiffe_id id;
        const char *why;
        memcpy(exact, whole, len);
        int expected = (len >= 10 && len <= 11) || len == 13 ? 0 : -1;
        assert_int_equal(parse(exact, len, &id, &why), expected);
        free(exact);
    }
}

static void test_walks_segments(void **state)
{
    (void)state;
    static const char text[] = "spiffe://td/ns/shop/sa/web";
    static const char *const expected[] = {"ns", "shop", "sa", "web"};
    struct spiffe_id id;
    const char *why;
    assert_int_equal(parse(text, strlen(text), &id, &why), 0);
    size_t cursor = 0;
    struct strview segment;
    for (size_t i = 0; i < 4; i++) {
        assert_true(spiffe_id_next_segment(&id, &cursor, &segment));
        assert_true(strview_equal_text(segment, expected[i]));
    }
    assert_false(spiffe_id_next_segment(&id, &cursor, &segment));

    assert_int_equal(parse("spiffe://td", 11, &id, &why), 0);
    cursor = 0;
    assert_false(spiffe_id_next_segment(&id, &cursor, &segment));
}

static void test_trust_domain_check(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "Prod",      "a/b", "spiffe://a", "a:1",
                                      "a b", "a\xc3\xa9", "*",   "a%20"};
    const char *why = NULL;
    assert_int_equal(spiffe_trust_domain_check(strview_from("prod.example"), &why), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why = NULL;
        assert_int_equal(spiffe_trust_domain_check(strview_from(bad[i]), &why), -1);
        assert_non_null(why);
    }
    assert_int_equal(spiffe_trust_domain_check(strview_from("spiffe://a"), &why), -1);
    assert_non_null(strstr(why, "without spiffe://"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_valid_ids),
        cmocka_unit_test(test_rejects_invalid_ids),
        cmocka_unit_test(test_rejects_nul_bytes),
        cmocka_unit_test(test_every_other_byte_is_refused_in_path_and_domain),
        cmocka_unit_test(test_bounds_of_length),
        cmocka_unit_test(test_reads_no_byte_behind_the_end),
        cmocka_unit_test(test_walks_segments),
        cmocka_unit_test(test_trust_domain_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
