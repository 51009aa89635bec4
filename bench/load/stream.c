#include "load/stream.h"

#include <endian.h>
#include <string.h>

enum { OP_SIZE = 8, SHIFT = 7919, MESSAGE_SHIFT = 61 };

static const char OPS[][OP_SIZE + 1] = {
    [STREAM_OP_NONE] = "",
    [STREAM_OP_ECHO] = "bh-echo\0",
    [STREAM_OP_UP] = "bh-up\0\0\0",
    [STREAM_OP_DOWN] = "bh-down\0",
};

static uint8_t table[STREAM_PERIOD + STREAM_MESSAGE_MAX];

static void put_u64(uint8_t *out, uint64_t value)
{
    uint64_t little = htole64(value);
    memcpy(out, &little, sizeof little);
}

static uint64_t get_u64(const uint8_t *in)
{
    uint64_t little = 0;
    memcpy(&little, in, sizeof little);
    return le64toh(little);
}

void stream_header_write(uint8_t out[STREAM_HEADER_SIZE], enum stream_op op, uint64_t n)
{
    memcpy(out, OPS[op], OP_SIZE);
    put_u64(out + OP_SIZE, n);
}

enum stream_op stream_header_read(const uint8_t in[STREAM_HEADER_SIZE], uint64_t *n)
{
    *n = get_u64(in + OP_SIZE);
    for (enum stream_op op = STREAM_OP_ECHO; op <= STREAM_OP_DOWN; op++) {
        if (memcmp(in, OPS[op], OP_SIZE) == 0) {
            return op;
        }
    }
    return STREAM_OP_NONE;
}

void stream_answer_write(uint8_t out[STREAM_HEADER_SIZE], uint64_t seen, uint64_t wrong)
{
    put_u64(out, seen);
    put_u64(out + OP_SIZE, wrong);
}

void stream_answer_read(const uint8_t in[STREAM_HEADER_SIZE], uint64_t *seen, uint64_t *wrong)
{
    *seen = get_u64(in);
    *wrong = get_u64(in + OP_SIZE);
}

void stream_pattern_init(void)
{
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < sizeof table; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table[i] = (uint8_t)(state >> 32);
    }
}

/* Each period begins at another place of the table, so that no two in a row are alike. */
const uint8_t *stream_pattern(uint64_t seed, uint64_t position, size_t *len)
{
    uint64_t period = position / STREAM_PERIOD;
    size_t within = (size_t)(position % STREAM_PERIOD);
    size_t phase =
        (size_t)((seed % STREAM_PERIOD + period % STREAM_PERIOD * SHIFT) % STREAM_PERIOD);
    *len = STREAM_PERIOD - within;
    return table + phase + within;
}

uint64_t stream_pattern_wrong(uint64_t seed, uint64_t position, const uint8_t *bytes, size_t len)
{
    uint64_t wrong = 0;
    while (len > 0) {
        size_t piece = 0;
        const uint8_t *expected = stream_pattern(seed, position, &piece);
        if (piece > len) {
            piece = len;
        }
        if (memcmp(expected, bytes, piece) != 0) {
            for (size_t i = 0; i < piece; i++) {
                wrong += expected[i] != bytes[i];
            }
        }
        position += piece;
        bytes += piece;
        len -= piece;
    }
    return wrong;
}

const uint8_t *stream_message(uint64_t number)
{
    return table + number % STREAM_PERIOD * MESSAGE_SHIFT % STREAM_PERIOD;
}
