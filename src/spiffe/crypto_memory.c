/*
 * The C library's functions, with a look at a flag of the thread: no cost where no key is read.
 * realloc moves under the flag, because the C library's own would leave the former block as it is.
 */
#include "spiffe/crypto_memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/assert.h"

static _Thread_local bool wiping;

static void *crypto_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(size);
}

static void crypto_free_block(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    if (wiping && block != NULL) {
        explicit_bzero(block, malloc_usable_size(block));
    }
    free(block);
}

static void *crypto_realloc(void *block, size_t size, const char *file, int line)
{
    if (!wiping || block == NULL) {
        return realloc(block, size);
    }
    void *moved = malloc(size);
    if (moved != NULL) {
        size_t held = malloc_usable_size(block);
        memcpy(moved, block, held < size ? held : size);
        crypto_free_block(block, file, line);
    }
    return moved;
}

bool crypto_memory_install(void)
{
    CRYPTO_free_fn now = NULL;
    CRYPTO_get_mem_functions(NULL, NULL, &now);
    return now == crypto_free_block ||
           CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free_block) == 1;
}

void crypto_memory_wipe_begin(void)
{
    ASSERT(!wiping);
    wiping = true;
}

void crypto_memory_wipe_end(void)
{
    ASSERT(wiping);
    wiping = false;
}
