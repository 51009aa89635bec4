/* deadline_heap: against a plain array, by thousands of random steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proxy/deadline_heap.h"

enum { ITEMS = 300, STEPS = 20000 };

static void assert_sound(const struct deadline_heap *heap, const struct deadline *items,
                         size_t count)
{
    size_t in = 0;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (items[i].position != 0) {
            assert_ptr_equal(heap->items[items[i].position - 1], &items[i]);
            least = items[i].due_ms < least ? items[i].due_ms : least;
            in++;
        }
    }
    assert_int_equal(in, heap->count);
    const struct deadline *first = deadline_heap_first(heap);
    assert_int_equal(first == NULL, in == 0);
    if (first != NULL) {
        assert_int_equal(first->due_ms, least);
    }
}

static void test_deadline_heap_random_steps(void **state)
{
    (void)state;
    static struct deadline items[ITEMS];
    struct deadline_heap heap;
    deadline_heap_init(&heap);
    assert_null(deadline_heap_first(&heap));
    srandom(7);
    for (int step = 0; step < STEPS; step++) {
        struct deadline *item = &items[random() % ITEMS];
        long what = random() % 8;
        if (what < 5) {
            assert_true(deadline_heap_set(&heap, item, (uint64_t)(random() % 1000)));
        } else if (what < 7) {
            deadline_heap_remove(&heap, item); /* also when it is not in */
            assert_int_equal(item->position, 0);
        } else if (deadline_heap_first(&heap) != NULL) {
            deadline_heap_remove(&heap, deadline_heap_first(&heap));
        }
        assert_sound(&heap, items, ITEMS);
    }
    deadline_heap_fini(&heap);
}

static void test_deadline_heap_restore(void **state)
{
    (void)state;
    static struct deadline items[ITEMS];
    struct deadline_heap heap;
    deadline_heap_init(&heap);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_true(deadline_heap_set(&heap, &items[i], i));
    }
    for (size_t i = 0; i < ITEMS; i++) {
        items[i].due_ms = (i * 7919) % ITEMS; /* all of them, in place */
    }
    deadline_heap_restore(&heap);
    for (uint64_t due = 0; due < ITEMS; due++) {
        struct deadline *first = deadline_heap_first(&heap);
        assert_int_equal(first->due_ms, due);
        deadline_heap_remove(&heap, first);
        assert_sound(&heap, items, ITEMS);
    }
    deadline_heap_restore(&heap); /* of nothing */
    deadline_heap_fini(&heap);
}

static void test_deadline_heap_ends_of_time(void **state)
{
    (void)state;
    struct deadline items[3] = {{0}};
    struct deadline_heap heap;
    deadline_heap_init(&heap);
    assert_true(deadline_heap_set(&heap, &items[0], UINT64_MAX));
    assert_true(deadline_heap_set(&heap, &items[1], 0));
    assert_true(deadline_heap_set(&heap, &items[2], UINT64_MAX - 1));
    assert_ptr_equal(deadline_heap_first(&heap), &items[1]);
    deadline_heap_remove(&heap, &items[1]);
    assert_ptr_equal(deadline_heap_first(&heap), &items[2]);
    assert_true(deadline_heap_set(&heap, &items[0], 5)); /* moves, and is in once */
    assert_int_equal(heap.count, 2);
    assert_ptr_equal(deadline_heap_first(&heap), &items[0]);
    deadline_heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline_heap_random_steps),
        cmocka_unit_test(test_deadline_heap_restore),
        cmocka_unit_test(test_deadline_heap_ends_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
