/*
 * hash: the 128-bit product of two 64-bit words, its halves folded together, sixteen bytes a step.
 *
 * Every step XORs both words with something that depends on the seed, so that an input whose word
 * cancels out to zero (and would wipe the state) can't be made without knowing the seed. The rest
 * of less than sixteen bytes is read as two overlapping words; the length is mixed in, so that
 * overlapping never makes two lengths equal.
 */
#include "base/hash.h"

#include <string.h>

__extension__ typedef unsigned __int128 wide;

/* The first 64 bits of the fractions of the square roots of 2, 3 and 5. */
static const uint64_t root2 = 0x6a09e667f3bcc908U;
static const uint64_t root3 = 0xbb67ae8584caa73bU;
static const uint64_t root5 = 0x3c6ef372fe94f82bU;

static uint64_t fold(uint64_t a, uint64_t b)
{
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* memcpy because keys lie anywhere; it becomes one load. */
static uint64_t load64(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof(word));
    return word;
}

static uint64_t load32(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof(word));
    return word;
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *at = data;
    uint64_t key = fold(seed ^ root2, root3) ^ seed;
    uint64_t state = key ^ root5;
    size_t left = len;
    for (; left > 16; left -= 16, at += 16) {
        state = fold(load64(at) ^ key, load64(at + 8) ^ state);
    }
    uint64_t first = 0;
    uint64_t last = 0;
    if (left >= 8) {
        first = load64(at);
        last = load64(at + left - 8);
    } else if (left >= 4) {
        first = load32(at);
        last = load32(at + left - 4);
    } else if (left > 0) {
        first = ((uint64_t)at[0] << 16) | ((uint64_t)at[left / 2] << 8) | at[left - 1];
    }
    state = fold(first ^ key, last ^ state);
    return fold(state ^ root3, key ^ root5 ^ len);
}
