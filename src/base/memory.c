/*
 * memory: calloc and friends with one rule for "no memory" each (see the header).
 */
#include "base/memory.h"

#include "base/assert.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t count, size_t size)
{
    (void)fprintf(stderr, "bulkhead: out of memory: %zu times %zu bytes\n", count, size);
    abort();
}

/* A size of zero gets a byte, so that NULL always means "no memory". */
static size_t at_least_one(size_t size)
{
    return size > 0 ? size : 1;
}

void *mem_alloc_array(size_t count, size_t size)
{
    /* calloc checks the multiplication by itself; this check keeps the abort independent of how an
       allocator (a sanitizer's, for one) reports it. */
    if (size > 0 && count > SIZE_MAX / size) {
        out_of_memory(count, size);
    }
    void *memory = calloc(at_least_one(count), at_least_one(size));
    if (memory == NULL) {
        out_of_memory(count, size);
    }
    return memory;
}

void *mem_alloc_aligned_array(size_t alignment, size_t count, size_t size)
{
    void *memory = NULL;
    if ((size > 0 && count > SIZE_MAX / size) ||
        posix_memalign(&memory, alignment, at_least_one(count * size)) != 0) {
        out_of_memory(count, size);
    }
    memset(memory, 0, count * size);
    return memory;
}

void *mem_alloc(size_t size)
{
    return mem_alloc_array(1, size);
}

void *mem_grow_array(void *old, size_t count, size_t new_count, size_t size)
{
    ASSERT(new_count >= count);
    if (size > 0 && new_count > SIZE_MAX / size) {
        out_of_memory(new_count, size);
    }
    char *memory = realloc(old, at_least_one(new_count * size));
    if (memory == NULL) {
        out_of_memory(new_count, size);
    }
    memset(memory + count * size, 0, (new_count - count) * size);
    return memory;
}

char *mem_strndup(const char *text, size_t len)
{
    if (len == SIZE_MAX) {
        out_of_memory(1, len);
    }
    char *copy = malloc(len + 1); /* all of it is written */
    if (copy == NULL) {
        out_of_memory(1, len + 1);
    }
    if (len > 0) {
        memcpy(copy, text, len);
    }
    copy[len] = '\0';
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

void *mem_try_alloc(size_t size)
{
    return calloc(1, at_least_one(size));
}

void mem_free(void *memory)
{
    free(memory);
}
