/*
 * stream: what client and backend say to each other inside a connection.
 *
 * The client's first 16 bytes are a header: 8 bytes of what is asked for, then a number n,
 * little-endian.
 *   bh-echo  the header comes back, and everything that follows, until the client ends
 *   bh-up    n bytes of the pattern follow; the answer is two numbers: bytes seen, bytes wrong
 *   bh-down  n bytes of the pattern come back
 * After an up or a down the next header may follow.
 *
 * The pattern differs from place to place and, by n as its seed, from transfer to transfer, so that
 * a lost, doubled or exchanged piece shows. Sender and receiver take it from a table small enough
 * for the CPU's cache: comparing costs less than copying.
 */
#ifndef BENCH_LOAD_STREAM_H
#define BENCH_LOAD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum stream_op { STREAM_OP_NONE, STREAM_OP_ECHO, STREAM_OP_UP, STREAM_OP_DOWN };
enum { STREAM_HEADER_SIZE = 16, STREAM_PERIOD = 65521, STREAM_MESSAGE_MAX = 65536 };

void stream_header_write(uint8_t out[STREAM_HEADER_SIZE], enum stream_op op, uint64_t n);
/* STREAM_OP_NONE when it is none. */
enum stream_op stream_header_read(const uint8_t in[STREAM_HEADER_SIZE], uint64_t *n);
void stream_answer_write(uint8_t out[STREAM_HEADER_SIZE], uint64_t seen, uint64_t wrong);
void stream_answer_read(const uint8_t in[STREAM_HEADER_SIZE], uint64_t *seen, uint64_t *wrong);

/* Once, before the pattern is used. */
void stream_pattern_init(void);
/* The pattern at a position, as much of it as lies in one piece: *len bytes, never 0. */
const uint8_t *stream_pattern(uint64_t seed, uint64_t position, size_t *len);
/* How many of the bytes differ from the pattern. */
uint64_t stream_pattern_wrong(uint64_t seed, uint64_t position, const uint8_t *bytes, size_t len);
/* The message of an exchange: its first STREAM_MESSAGE_MAX bytes at least are there. */
const uint8_t *stream_message(uint64_t number);

#endif
