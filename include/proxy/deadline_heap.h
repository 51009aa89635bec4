/*
 * deadline_heap: objects by the time at which something is due, the earliest first. Each object
 * embeds a struct deadline. One thread.
 */
#ifndef BULKHEAD_PROXY_DEADLINE_HEAP_H
#define BULKHEAD_PROXY_DEADLINE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct deadline {
    uint64_t due_ms;
    size_t position; /* 1 + index in the heap; 0: not in it */
};

struct deadline_heap {
    struct deadline **items;
    size_t count;
    size_t capacity;
};

void deadline_heap_init(struct deadline_heap *heap);
/* Whatever is in it belongs to others. */
void deadline_heap_fini(struct deadline_heap *heap);
/* Puts it in, or moves it when it is there. False: memory is out, and it is not in. */
bool deadline_heap_set(struct deadline_heap *heap, struct deadline *deadline, uint64_t due_ms)
    __attribute__((warn_unused_result));
/* After due_ms of any of them was changed in place. */
void deadline_heap_restore(struct deadline_heap *heap);
/* Fine when it is not in. */
void deadline_heap_remove(struct deadline_heap *heap, struct deadline *deadline);
/* The earliest, or NULL. */
struct deadline *deadline_heap_first(const struct deadline_heap *heap);

#endif
