/*
 * A binary heap in an array; each item knows its place, so that moving and removing are O(log n).
 */
#include "proxy/deadline_heap.h"

#include "base/assert.h"
#include "base/memory.h"

enum { FIRST_CAPACITY = 64 };

static void put(struct deadline_heap *heap, size_t index, struct deadline *deadline)
{
    heap->items[index] = deadline;
    deadline->position = index + 1;
}

static void sift_up(struct deadline_heap *heap, size_t index)
{
    struct deadline *deadline = heap->items[index];
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (heap->items[parent]->due_ms <= deadline->due_ms) {
            break;
        }
        put(heap, index, heap->items[parent]);
        index = parent;
    }
    put(heap, index, deadline);
}

static void sift_down(struct deadline_heap *heap, size_t index)
{
    struct deadline *deadline = heap->items[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count &&
            heap->items[child + 1]->due_ms < heap->items[child]->due_ms) {
            child++;
        }
        if (heap->items[child]->due_ms >= deadline->due_ms) {
            break;
        }
        put(heap, index, heap->items[child]);
        index = child;
    }
    put(heap, index, deadline);
}

void deadline_heap_init(struct deadline_heap *heap)
{
    *heap = (struct deadline_heap){.items = NULL};
}

void deadline_heap_fini(struct deadline_heap *heap)
{
    mem_free(heap->items);
    deadline_heap_init(heap);
}

static bool make_room(struct deadline_heap *heap)
{
    if (heap->count < heap->capacity) {
        return true;
    }
    size_t capacity = heap->capacity == 0 ? FIRST_CAPACITY : heap->capacity * 2;
    struct deadline **items = mem_try_alloc(capacity * sizeof(struct deadline *));
    if (items == NULL) {
        return false;
    }
    for (size_t i = 0; i < heap->count; i++) {
        items[i] = heap->items[i];
    }
    mem_free(heap->items);
    heap->items = items;
    heap->capacity = capacity;
    return true;
}

bool deadline_heap_set(struct deadline_heap *heap, struct deadline *deadline, uint64_t due_ms)
{
    if (deadline->position == 0) {
        if (!make_room(heap)) {
            return false;
        }
        put(heap, heap->count++, deadline);
    }
    deadline->due_ms = due_ms;
    sift_up(heap, deadline->position - 1);
    sift_down(heap, deadline->position - 1);
    return true;
}

void deadline_heap_restore(struct deadline_heap *heap)
{
    for (size_t i = heap->count / 2; i > 0; i--) {
        sift_down(heap, i - 1);
    }
}

void deadline_heap_remove(struct deadline_heap *heap, struct deadline *deadline)
{
    if (deadline->position == 0) {
        return;
    }
    size_t index = deadline->position - 1;
    ASSERT(index < heap->count && heap->items[index] == deadline);
    struct deadline *last = heap->items[--heap->count];
    deadline->position = 0;
    if (last != deadline) {
        put(heap, index, last);
        sift_up(heap, index);
        sift_down(heap, last->position - 1);
    }
}

struct deadline *deadline_heap_first(const struct deadline_heap *heap)
{
    return heap->count == 0 ? NULL : heap->items[0];
}
