#include "dice.h"

#include <math.h>
#include <string.h>

enum { WORD = 8 };
static const uint64_t STEP = UINT64_C(0x9e3779b97f4a7c15);

uint64_t dice_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t dice_next(struct dice *dice)
{
    dice->state += STEP;
    return dice_mix(dice->state);
}

uint64_t dice_below(struct dice *dice, uint64_t n)
{
    return dice_next(dice) % n;
}

bool dice_one_in(struct dice *dice, uint64_t n)
{
    return dice_below(dice, n) == 0;
}

uint64_t dice_size(struct dice *dice, uint64_t most)
{
    double unit = (double)(dice_next(dice) >> 11) / (double)(UINT64_C(1) << 53);
    uint64_t size = (uint64_t)exp(unit * log((double)most + 1));
    return size > most ? most : size;
}

static uint64_t word_at(uint64_t key, uint64_t index)
{
    return dice_mix(key + index * STEP);
}

void stream_fill(uint64_t key, uint64_t offset, uint8_t *out, size_t len)
{
    while (len > 0) {
        uint64_t word = word_at(key, offset / WORD);
        size_t skip = offset % WORD;
        size_t n = WORD - skip < len ? WORD - skip : len;
        memcpy(out, (const uint8_t *)&word + skip, n);
        out += n;
        offset += n;
        len -= n;
    }
}
