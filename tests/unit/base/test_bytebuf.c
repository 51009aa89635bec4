/* bytebuf: against a model, and that it owns nothing when empty. */
#include "base/bytebuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_bytebuf_empty_owns_nothing(void **state)
{
    (void)state;
    struct bytebuf buf = {0};
    assert_int_equal(bytebuf_len(&buf), 0);
    assert_null(bytebuf_data(&buf));
    assert_true(bytebuf_append(&buf, NULL, 0));
    assert_null(buf.memory);
    assert_true(bytebuf_append(&buf, "abc", 3));
    assert_non_null(buf.memory);
    bytebuf_consume(&buf, 1);
    assert_memory_equal(bytebuf_data(&buf), "bc", 2);
    bytebuf_consume(&buf, 2);
    assert_null(buf.memory);
    assert_int_equal(buf.capacity, 0);
    bytebuf_consume(&buf, 0);
    bytebuf_clear(&buf);
}

static void test_bytebuf_moves_to_the_front_before_it_grows(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    struct bytebuf buf = {0};
    assert_true(bytebuf_append(&buf, zeros, 4095));
    assert_true(bytebuf_append(&buf, "x", 1));
    assert_int_equal(buf.capacity, 4096);
    bytebuf_consume(&buf, 4095);
    assert_true(bytebuf_append(&buf, zeros, 4095));
    assert_int_equal(buf.capacity, 4096);
    assert_memory_equal(bytebuf_data(&buf), "x", 1);
    assert_true(bytebuf_append(&buf, "y", 1));
    assert_int_equal(buf.capacity, 8192);
    assert_int_equal(bytebuf_len(&buf), 4097);
    assert_memory_equal(bytebuf_data(&buf) + 4096, "y", 1);
    bytebuf_clear(&buf);
}

static void test_bytebuf_refuses_what_cannot_be(void **state)
{
    (void)state;
    struct bytebuf buf = {0};
    assert_true(bytebuf_append(&buf, "abc", 3));
    /* Nothing of this size exists; it must be refused before anything is read. */
    volatile size_t huge = SIZE_MAX - 1;
    assert_false(bytebuf_append(&buf, "abc", huge));
    huge = SIZE_MAX / 2 + 2;
    assert_false(bytebuf_append(&buf, "abc", huge));
    assert_int_equal(bytebuf_len(&buf), 3);
    assert_memory_equal(bytebuf_data(&buf), "abc", 3);
    bytebuf_clear(&buf);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void test_bytebuf_is_a_queue(void **state)
{
    (void)state;
    struct bytebuf buf = {0};
    uint32_t seed = 1;
    uint8_t put = 0;
    uint8_t taken = 0;
    for (size_t round = 0; round < 2000; round++) {
        uint8_t chunk[3000];
        size_t len = next_random(&seed) % (sizeof(chunk) + 1);
        for (size_t i = 0; i < len; i++) {
            chunk[i] = put++;
        }
        assert_true(bytebuf_append(&buf, chunk, len));
        size_t left = bytebuf_len(&buf);
        size_t take = left > 40000 ? left : next_random(&seed) % (left + 1);
        for (size_t i = 0; i < take; i++) {
            assert_int_equal(bytebuf_data(&buf)[i], taken++);
        }
        bytebuf_consume(&buf, take);
        assert_int_equal(bytebuf_len(&buf) == 0, buf.memory == NULL);
        assert_true(buf.capacity <= 128 * 1024);
    }
    bytebuf_clear(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytebuf_empty_owns_nothing),
        cmocka_unit_test(test_bytebuf_moves_to_the_front_before_it_grows),
        cmocka_unit_test(test_bytebuf_refuses_what_cannot_be),
        cmocka_unit_test(test_bytebuf_is_a_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
