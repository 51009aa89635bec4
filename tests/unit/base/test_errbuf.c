/* errbuf: texts are cut, never overrun, and arguments may be the struct itself. */
#include "base/errbuf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_errbuf_set_replaces(void **state)
{
    (void)state;
    struct errbuf err;
    errbuf_set(&err, "first, and longer");
    errbuf_set(&err, "%s=%d", "x", 7);
    assert_string_equal(err.text, "x=7");
}

static void test_errbuf_prefix_comes_before(void **state)
{
    (void)state;
    struct errbuf err;
    errbuf_set(&err, "no such key");
    errbuf_prefix(&err, "%s:%d", "a.yaml", 3);
    assert_string_equal(err.text, "a.yaml:3: no such key");
}

static void test_errbuf_set_errno_adds_the_reason(void **state)
{
    (void)state;
    struct errbuf err;
    errno = ENOENT;
    errbuf_set_errno(&err, "can't open \"%s\"", "/x");
    assert_string_equal(err.text, "can't open \"/x\": No such file or directory");
    assert_int_equal(errno, ENOENT);
}

static void test_errbuf_arguments_may_be_its_own_text(void **state)
{
    (void)state;
    struct errbuf err;
    errbuf_set(&err, "inner");
    errbuf_set(&err, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
    errbuf_prefix(&err, "%s", err.text);
    assert_string_equal(err.text, "outer (inner): outer (inner)");
    errno = EACCES;
    errbuf_set_errno(&err, "%s", err.text);
    assert_string_equal(err.text, "outer (inner): outer (inner): Permission denied");
}

static void test_errbuf_long_texts_are_cut(void **state)
{
    (void)state;
    struct {
        struct errbuf err;
        char guard[16];
    } held;
    char text[3 * sizeof(held.err.text)];
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    memset(held.guard, 'g', sizeof(held.guard));
    errbuf_set(&held.err, "%s", text);
    assert_int_equal(strlen(held.err.text), sizeof(held.err.text) - 1);
    errbuf_prefix(&held.err, "where");
    assert_int_equal(strlen(held.err.text), sizeof(held.err.text) - 1);
    assert_memory_equal(held.err.text, "where: aaa", 10);
    errbuf_prefix(&held.err, "%s", text);
    assert_int_equal(strlen(held.err.text), sizeof(held.err.text) - 1);
    errno = ENOENT;
    errbuf_set_errno(&held.err, "%s", text);
    assert_int_equal(strlen(held.err.text), sizeof(held.err.text) - 1);
    for (size_t i = 0; i < sizeof(held.guard); i++) {
        assert_int_equal(held.guard[i], 'g');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errbuf_set_replaces),
        cmocka_unit_test(test_errbuf_prefix_comes_before),
        cmocka_unit_test(test_errbuf_set_errno_adds_the_reason),
        cmocka_unit_test(test_errbuf_arguments_may_be_its_own_text),
        cmocka_unit_test(test_errbuf_long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
