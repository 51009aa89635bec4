/* The quarantine by itself: what an entry may say, whom it holds, and what counts as the same. */
#include "policy/quarantine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "policy/id_matcher.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define A               "spiffe://a.example/"
#define HEX             "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
#define HEX_UPPER       "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
#define HEX_COLONS                                                                         \
    "9F:86:D0:81:88:4C:7D:65:9A:2F:EA:A0:C5:5A:D0:15:A3:BF:4F:1B:2B:0B:82:2C:D1:5D:6C:15:" \
    "B0:F0:0A:08"

static const uint8_t LEAF[QUARANTINE_SHA256_SIZE] = {
    0x9f, 0x86, 0xd0, 0x81, 0x88, 0x4c, 0x7d, 0x65, 0x9a, 0x2f, 0xea, 0xa0, 0xc5, 0x5a, 0xd0, 0x15,
    0xa3, 0xbf, 0x4f, 0x1b, 0x2b, 0x0b, 0x82, 0x2c, 0xd1, 0x5d, 0x6c, 0x15, 0xb0, 0xf0, 0x0a, 0x08};

static const char *find(const struct quarantine *quarantine, const char *text)
{
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(text), &id, &why), 0);
    return quarantine_find(quarantine, &id, NULL);
}

static void test_quarantine_item_takes_fingerprints_as_tools_print_them(void **state)
{
    (void)state;
    static const char *const texts[] = {"sha256:" HEX, "sha256:" HEX_UPPER, "sha256:" HEX_COLONS};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct quarantine_item item;
        const char *why = NULL;
        assert_int_equal(quarantine_item_parse(strview_from(texts[i]), &item, &why), 0);
        assert_true(item.is_certificate);
        assert_memory_equal(item.sha256, LEAF, sizeof(LEAF));
    }
}

static void test_quarantine_item_refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "sha256",
        "sha256:",
        "sha256:9f",
        "SHA256:" HEX,
        "sha256: " HEX,
        "sha256:" HEX "0",
        "sha256:" HEX "00",
        "sha256:" HEX ":",
        "sha256::" HEX,
        "sha256:" HEX_COLONS ":",
        "sha256:9f::86:d0:81884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sha256:9:f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sha256:gf86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a0",
        "sha1:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        HEX,
        "a.example/x",
        "spiffe://a.example",
        "spiffe://a.example/",
        "spiffe://*/x",
        "spiffe://a.example/x*",
        "spiffe://a.example/**/x",
        "group:web",
        "*",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct quarantine_item item;
        const char *why = NULL;
        print_message("%s\n", texts[i]);
        assert_int_equal(quarantine_item_parse(strview_from(texts[i]), &item, &why), -1);
        assert_non_null(why);
    }
}

/* In an incident nobody has time to look the form up. */
static void test_quarantine_item_says_what_would_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } rows[] = {
        {"sha256:9f", "must be \"sha256:\" and the 64 hexadecimal digits"},
        {"SHA256:" HEX, "a certificate is written as \"sha256:\" and the 64"},
        {"sha1:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "a certificate is written as"},
        {"SHA256 Fingerprint=9F:86", "a certificate is written as"},
        {HEX, "a certificate is written as"},
        {HEX_COLONS, "a certificate is written as"},
        {"group:web", "a group has no place here; write its IDs and patterns"},
        {"a.example/x", "must start with \"spiffe://\"; write the ID in full"},
        {A "x*", "`*` stands for exactly one whole segment"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct quarantine_item item;
        const char *why = "";
        print_message("%s\n", rows[i].text);
        assert_int_equal(quarantine_item_parse(strview_from(rows[i].text), &item, &why), -1);
        assert_memory_equal(why, rows[i].why, strlen(rows[i].why));
    }
}

static void test_quarantine_holds_what_it_names(void **state)
{
    (void)state;
    static const char *const entries[] = {A "wiki", A "ns/*/job", A "tree/**", ("sha256:" HEX)};
    struct quarantine *quarantine = quarantine_build(entries, COUNT_OF(entries));
    assert_int_equal(quarantine_count(quarantine), 4);
    assert_string_equal(find(quarantine, A "wiki"), A "wiki");
    assert_string_equal(find(quarantine, A "ns/x/job"), A "ns/*/job");
    assert_string_equal(find(quarantine, A "tree/x/y/z"), A "tree/**");
    assert_string_equal(quarantine_find(quarantine, NULL, LEAF), "sha256:" HEX);
    static const char *const others[] = {
        A "wik",
        A "wikj",
        A "wikis",
        A "wiki/x",
        A "ns/job",
        A "ns/x/y/job",
        A "ns/x/jo",
        A "tree",
        A "tre/x",
        A "trees/x",
        A "Wiki",
        "spiffe://b.example/wiki",
        "spiffe://aa.example/wiki",
        "spiffe://a.example",
    };
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        print_message("%s\n", others[i]);
        assert_null(find(quarantine, others[i]));
    }
    quarantine_unref(quarantine);
}

static void test_quarantine_holds_single_certificates(void **state)
{
    (void)state;
    static const char *const entries[] = {
        ("sha256:" HEX_COLONS),
        "sha256:ff86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ("sha256:00"
         "86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")};
    struct quarantine *quarantine = quarantine_build(entries, COUNT_OF(entries));
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(A "x"), &id, &why), 0);
    assert_string_equal(quarantine_find(quarantine, &id, LEAF), "sha256:" HEX_COLONS);
    for (size_t i = 0; i < sizeof(LEAF); i++) {
        uint8_t other[QUARANTINE_SHA256_SIZE];
        memcpy(other, LEAF, sizeof(other));
        other[i] ^= 1;
        assert_null(quarantine_find(quarantine, &id, other));
    }
    assert_null(quarantine_find(quarantine, &id, NULL));
    assert_null(quarantine_find(quarantine, NULL, NULL));
    quarantine_unref(quarantine);
}

static void test_quarantine_without_entries_holds_nobody(void **state)
{
    (void)state;
    struct spiffe_id id;
    const char *why = NULL;
    assert_int_equal(spiffe_id_parse(strview_from(A "x"), &id, &why), 0);
    assert_null(quarantine_find(NULL, &id, LEAF));
    struct quarantine *quarantine = quarantine_build(NULL, 0);
    assert_int_equal(quarantine_count(quarantine), 0);
    assert_null(quarantine_find(quarantine, &id, LEAF));
    quarantine_unref(quarantine);
    quarantine_unref(NULL);
}

/* What can't be read is left out, and takes nothing else along. */
static void test_quarantine_takes_what_it_can_read(void **state)
{
    (void)state;
    static const char *const entries[] = {"",          A "b", "nonsense",    A "a",
                                          "sha256:12", A "b", "spiffe://*/x"};
    struct quarantine *quarantine = quarantine_build(entries, COUNT_OF(entries));
    assert_int_equal(quarantine_count(quarantine), 2);
    assert_string_equal(quarantine_entry(quarantine, 0), A "a");
    assert_string_equal(quarantine_entry(quarantine, 1), A "b");
    assert_string_equal(find(quarantine, A "b"), A "b");
    quarantine_unref(quarantine);
}

static void test_quarantine_same_is_of_what_it_holds(void **state)
{
    (void)state;
    static const char *const one[] = {A "a", A "b"};
    static const char *const turned[] = {A "b", A "a", A "a", "broken"};
    static const char *const less[] = {A "a"};
    static const char *const other[] = {A "a", A "c"};
    struct quarantine *a = quarantine_build(one, COUNT_OF(one));
    struct quarantine *b = quarantine_build(turned, COUNT_OF(turned));
    struct quarantine *c = quarantine_build(less, COUNT_OF(less));
    struct quarantine *d = quarantine_build(other, COUNT_OF(other));
    assert_true(quarantine_same(a, b));
    assert_false(quarantine_same(a, c));
    assert_false(quarantine_same(c, a));
    assert_false(quarantine_same(a, d));
    quarantine_unref(a);
    quarantine_unref(b);
    quarantine_unref(c);
    quarantine_unref(d);
}

static void test_quarantine_copies_its_entries(void **state)
{
    (void)state;
    char text[] = A "wiki";
    const char *const entries[] = {text};
    struct quarantine *quarantine = quarantine_build(entries, 1);
    memset(text, 'x', strlen(text));
    assert_string_equal(find(quarantine, A "wiki"), A "wiki");
    struct quarantine *same = quarantine_ref(quarantine);
    quarantine_unref(quarantine);
    assert_string_equal(find(same, A "wiki"), A "wiki");
    quarantine_unref(same);
}

/* The ID that differs from every arrangement of its own pattern only where that has `*`. */
enum { ARRANGED = 7, ALL = 1 << ARRANGED };

static void write_arranged(char *out, size_t size, unsigned stars, const char *instead)
{
    int len = snprintf(out, size, "spiffe://a.example");
    for (unsigned bit = 0; bit < ARRANGED; bit++) {
        bool star = ((stars >> bit) & 1) != 0;
        len += snprintf(out + len, size - (size_t)len, "/%s", star ? instead : "x");
    }
    /* So that each is its own pattern: */
    (void)snprintf(out + len, size - (size_t)len, "/%u", stars);
}

/* Seven segments have 128 arrangements of `*`, twice what the matcher takes. */
static void test_quarantine_holds_patterns_past_the_matchers_bound(void **state)
{
    (void)state;
    static char texts[ALL][96];
    const char *entries[ALL];
    for (unsigned i = 0; i < ALL; i++) {
        write_arranged(texts[i], sizeof(texts[i]), i, "*");
        entries[i] = texts[i];
    }
    struct quarantine *quarantine = quarantine_build(entries, ALL);
    assert_int_equal(quarantine_count(quarantine), ALL);
    for (unsigned i = 0; i < ALL; i++) {
        char id[96];
        write_arranged(id, sizeof(id), i, "y");
        assert_string_equal(find(quarantine, id), texts[i]);
        strcat(id, "0");
        /* "…/x/7" and "…/x/70" are different entries, except that 70 is one too. */
        const char *found = find(quarantine, id);
        assert_true(found == NULL || strcmp(found, texts[i]) != 0);
    }
    quarantine_unref(quarantine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quarantine_item_takes_fingerprints_as_tools_print_them),
        cmocka_unit_test(test_quarantine_item_refuses_what_is_none),
        cmocka_unit_test(test_quarantine_item_says_what_would_be_right),
        cmocka_unit_test(test_quarantine_holds_what_it_names),
        cmocka_unit_test(test_quarantine_holds_single_certificates),
        cmocka_unit_test(test_quarantine_without_entries_holds_nobody),
        cmocka_unit_test(test_quarantine_takes_what_it_can_read),
        cmocka_unit_test(test_quarantine_same_is_of_what_it_holds),
        cmocka_unit_test(test_quarantine_copies_its_entries),
        cmocka_unit_test(test_quarantine_holds_patterns_past_the_matchers_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
