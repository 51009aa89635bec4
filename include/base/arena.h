/*
 * arena: many small pieces of memory that are freed together. Cold paths: out of memory aborts.
 *
 * One thread at a time. In a build with ASan each piece is an allocation of its own, so that a
 * byte too many is found.
 */
#ifndef BULKHEAD_BASE_ARENA_H
#define BULKHEAD_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

/* Starts zeroed. */
struct arena {
    struct arena_block *blocks;
    char *next;
    size_t left;
};

/* Zeroed, aligned for anything. */
void *arena_alloc(struct arena *arena, size_t size)
    __attribute__((returns_nonnull, warn_unused_result));
/* A copy with a NUL behind it. */
char *arena_strndup(struct arena *arena, const char *text, size_t len)
    __attribute__((returns_nonnull, warn_unused_result));
/* All of it; then the arena is as at its start. */
void arena_free(struct arena *arena);

#endif
