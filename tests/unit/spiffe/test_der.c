/* Unit tests of der: what is one value, and what is no DER. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../../src/spiffe/der.h"

static void test_takes_one_value_after_the_other(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x30, 0x03, 0x02, 0x01, 0x05, 0x04, 0x00};
    struct der in = {bytes, sizeof(bytes)};
    struct der_value value;
    assert_true(der_next_is(&in, DER_SEQUENCE));
    assert_false(der_next_tagged(&in, DER_INTEGER, &value));
    assert_int_equal(in.len, sizeof(bytes));
    assert_true(der_next_tagged(&in, DER_SEQUENCE, &value));
    assert_int_equal(value.whole.len, 5);
    assert_ptr_equal(value.whole.ptr, bytes);
    struct der inner = value.body;
    assert_true(der_next_tagged(&inner, DER_INTEGER, &value));
    assert_int_equal(value.body.len, 1);
    assert_int_equal(value.body.ptr[0], 5);
    assert_int_equal(inner.len, 0);
    assert_true(der_next(&in, &value));
    assert_int_equal(value.tag, DER_OCTET_STRING);
    assert_int_equal(value.body.len, 0);
    assert_false(der_next(&in, &value));
    assert_false(der_next_is(&in, 0));
}

static void test_reads_long_lengths(void **state)
{
    (void)state;
    static const size_t lengths[] = {127, 128, 255, 256, 65535, 65536};
    static const struct {
        uint8_t bytes[6];
        size_t len;
    } heads[] = {{{0x04, 0x7f}, 2},
                 {{0x04, 0x81, 0x80}, 3},
                 {{0x04, 0x81, 0xff}, 3},
                 {{0x04, 0x82, 0x01, 0x00}, 4},
                 {{0x04, 0x82, 0xff, 0xff}, 4},
                 {{0x04, 0x83, 0x01, 0x00, 0x00}, 5}};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t total = heads[i].len + lengths[i];
        uint8_t *bytes = calloc(1, total);
        assert_non_null(bytes);
        memcpy(bytes, heads[i].bytes, heads[i].len);
        struct der_value value;
        struct der in = {bytes, total};
        assert_true(der_next(&in, &value));
        assert_int_equal(value.body.len, lengths[i]);
        assert_int_equal(in.len, 0);
        in = (struct der){bytes, total - 1};
        assert_false(der_next(&in, &value));
        free(bytes);
    }
}

static void test_refuses_what_is_no_der(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[8];
        size_t len;
    } cases[] = {
        {{0}, 0},
        {{0x04}, 1},                                           /* no length */
        {{0x04, 0x01}, 2},                                     /* too short */
        {{0x30, 0x80, 0x00, 0x00}, 4},                         /* indefinite */
        {{0x04, 0x81, 0x01, 0x00}, 4},                         /* 1 in the long form */
        {{0x04, 0x82, 0x00, 0x01, 0x00}, 5},                   /* with a leading zero */
        {{0x04, 0x85, 0x01, 0x00, 0x00, 0x00, 0x00}, 7},       /* beyond four bytes */
        {{0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8}, /* reserved */
        {{0x04, 0x84, 0xff, 0xff, 0xff, 0xff}, 6},             /* more than there is */
        {{0x04, 0x84, 0x01}, 3},                               /* the length itself is cut */
        {{0x1f, 0x01, 0x00}, 3},                               /* a tag of several bytes */
        {{0xbf, 0x01, 0x00}, 3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct der in = {cases[i].bytes, cases[i].len};
        struct der_value value;
        if (der_next(&in, &value)) {
            fail_msg("case %zu is accepted", i);
        }
        assert_int_equal(in.len, cases[i].len);
    }
}

static void test_equality_is_of_all_bytes(void **state)
{
    (void)state;
    static const uint8_t a[] = {1, 2, 3};
    static const uint8_t b[] = {1, 2, 4};
    assert_true(der_equal((struct der){a, 2}, (struct der){b, 2}));
    assert_false(der_equal((struct der){a, 3}, (struct der){b, 3}));
    assert_false(der_equal((struct der){a, 2}, (struct der){a, 3}));
    assert_true(der_equal((struct der){NULL, 0}, (struct der){a, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_one_value_after_the_other),
        cmocka_unit_test(test_reads_long_lengths),
        cmocka_unit_test(test_refuses_what_is_no_der),
        cmocka_unit_test(test_equality_is_of_all_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
