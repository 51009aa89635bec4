/*
 * dice: random numbers that a seed repeats, and the bytes of a stream.
 */
#ifndef BENCH_MIXED_DICE_H
#define BENCH_MIXED_DICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

/* splitmix64's finaliser: every bit of x changes half of the result's. */
uint64_t dice_mix(uint64_t x);
uint64_t dice_next(struct dice *dice);
/* 0 to n - 1. */
uint64_t dice_below(struct dice *dice, uint64_t n);
bool dice_one_in(struct dice *dice, uint64_t n);
/* 1 to most, small ones as likely as large ones: the logarithm is uniform. */
uint64_t dice_size(struct dice *dice, uint64_t most);

/* The stream with that key, from that offset: each byte depends on its position in the whole. */
void stream_fill(uint64_t key, uint64_t offset, uint8_t *out, size_t len);

#endif
