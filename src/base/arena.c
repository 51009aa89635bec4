/*
 * Blocks from calloc, used up from the front. A piece that would use up a good part of a block has
 * one to itself.
 */
#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define APART 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define APART 1
#endif
#ifndef APART
#define APART 0
#endif

enum { BLOCK_SIZE = 256 * 1024, ALIGNMENT = _Alignof(max_align_t) };

struct arena_block {
    struct arena_block *next;
    max_align_t memory[];
};

static void *add_block(struct arena *arena, size_t size)
{
    ASSERT(size <= SIZE_MAX - sizeof(struct arena_block));
    struct arena_block *block = mem_alloc(sizeof(*block) + size);
    block->next = arena->blocks;
    arena->blocks = block;
    return block->memory;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (APART || size > BLOCK_SIZE / 4) {
        return add_block(arena, size);
    }
    size_t taken = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (taken > arena->left) {
        arena->next = add_block(arena, BLOCK_SIZE);
        arena->left = BLOCK_SIZE;
    }
    void *memory = arena->next;
    arena->next += taken;
    arena->left -= taken;
    return memory;
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
    ASSERT(len < SIZE_MAX);
    char *copy = arena_alloc(arena, len + 1);
    if (len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}

void arena_free(struct arena *arena)
{
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        mem_free(block);
    }
    *arena = (struct arena){.blocks = NULL};
}
