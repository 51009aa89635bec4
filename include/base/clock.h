/*
 * clock: the only source of time in the program.
 *
 * clock_mono_ms is for I/O timeouts, clock_wall_ms for validity and logs. Any thread.
 */
#ifndef BULKHEAD_BASE_CLOCK_H
#define BULKHEAD_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
/* Milliseconds since 1970-01-01T00:00:00Z. */
uint64_t clock_wall_ms(void);
/* Seconds since 1970, signed as X.509 checks want it. */
int64_t clock_wall_s(void);

enum { CLOCK_TEXT_SIZE = 32 };
/* "2026-11-23T10:20:30.123Z". Returns out. */
const char *clock_format_ms(uint64_t wall_ms, char out[CLOCK_TEXT_SIZE]);
/* "2026-11-23T10:20:30Z" for any year from 0 to 9999. Returns out. */
const char *clock_format_s(int64_t wall_s, char out[CLOCK_TEXT_SIZE]);

#endif
