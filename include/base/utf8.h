/*
 * utf8: reads one character of UTF-8 text that somebody else wrote. Any thread.
 */
#ifndef BULKHEAD_BASE_UTF8_H
#define BULKHEAD_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The length (1 to 4) of the character that text begins with and its code point in *code; 0 when
 * the first byte begins no valid character (RFC 3629: no overlong form, no surrogate, nothing
 * over U+10FFFF, nothing cut). len is at least 1.
 */
size_t utf8_decode(const char *text, size_t len, uint32_t *code);
/* Controls, line separators, and what turns the direction of text or has no width: they could
   make a line of a log look like something else, so they are always escaped. */
bool utf8_is_deceptive(uint32_t code);

#endif
