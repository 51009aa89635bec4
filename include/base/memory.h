/*
 * memory: allocation in two kinds, by what out of memory means at the call.
 *
 * mem_*     cold paths (start, load): never return NULL, the process aborts with a message.
 * mem_try_* serving: return NULL, and the caller ends that one session.
 * Both give zeroed memory; both are freed with mem_free (NULL is fine). Any thread.
 */
#ifndef BULKHEAD_BASE_MEMORY_H
#define BULKHEAD_BASE_MEMORY_H

#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((returns_nonnull, warn_unused_result));
void *mem_alloc_array(size_t count, size_t size)
    __attribute__((returns_nonnull, warn_unused_result));
/* The same, at an address that is a multiple of alignment, a power of two. */
void *mem_alloc_aligned_array(size_t alignment, size_t count, size_t size)
    __attribute__((returns_nonnull, warn_unused_result));
/* Grows an array of `count` elements to `new_count`; what is added is zero. */
void *mem_grow_array(void *old, size_t count, size_t new_count, size_t size)
    __attribute__((returns_nonnull, warn_unused_result));
char *mem_strdup(const char *text) __attribute__((returns_nonnull, warn_unused_result));
/* A NUL-terminated copy of len bytes. */
char *mem_strndup(const char *text, size_t len)
    __attribute__((returns_nonnull, warn_unused_result));
void *mem_try_alloc(size_t size) __attribute__((warn_unused_result));
void mem_free(void *memory);

#endif
