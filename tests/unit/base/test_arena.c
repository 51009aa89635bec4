/* Pieces of every size: zeroed, aligned, apart from each other, freed together. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { PIECES = 3000 };

static size_t size_of(size_t i)
{
    return i % 100 == 99 ? 70000 + i : i % 7 == 0 ? 0 : (i * 37) % 300;
}

static void test_arena_gives_zeroed_pieces_apart_from_each_other(void **state)
{
    (void)state;
    struct arena arena = {.blocks = NULL};
    unsigned char *pieces[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = arena_alloc(&arena, size_of(i));
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < size_of(i); k++) {
            assert_int_equal(pieces[i][k], 0);
        }
        memset(pieces[i], (int)(i % 256), size_of(i));
    }
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t k = 0; k < size_of(i); k++) {
            assert_int_equal(pieces[i][k], i % 256);
        }
    }
    arena_free(&arena);
    assert_null(arena.blocks);
    assert_non_null(arena_alloc(&arena, 1));
    arena_free(&arena);
    arena_free(&arena);
}

static void test_arena_copies_texts(void **state)
{
    (void)state;
    struct arena arena = {.blocks = NULL};
    char *copy = arena_strndup(&arena, "text and more", 4);
    assert_string_equal(copy, "text");
    assert_string_equal(arena_strndup(&arena, NULL, 0), "");
    assert_memory_equal(arena_strndup(&arena, "a\0b", 3), "a\0b", 4);
    assert_string_equal(copy, "text");
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_gives_zeroed_pieces_apart_from_each_other),
        cmocka_unit_test(test_arena_copies_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
