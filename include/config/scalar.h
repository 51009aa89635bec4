/*
 * scalar: what the text of one YAML scalar means: numbers, durations, sizes, modes.
 *
 * Typing is by the key's table row, never by how the text looks (YAML 1.1 tools rewrite `on`,
 * `010` and dates). Pure; any thread.
 */
#ifndef BULKHEAD_CONFIG_SCALAR_H
#define BULKHEAD_CONFIG_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns false and a sentence of static storage in *why that says what would be right. */
/* "0", "42"; no sign, no leading zero, no other base. */
bool scalar_parse_count(const char *text, uint64_t *value, const char **why);
/* "250ms", "10s", "2m", "1h", "1d". */
bool scalar_parse_duration(const char *text, uint64_t *ms, const char **why);
/* "4096", "16KiB", "64MiB", "1GiB". */
bool scalar_parse_size(const char *text, uint64_t *bytes, const char **why);
/* "30%". */
bool scalar_parse_percent(const char *text, uint64_t *percent, const char **why);
/* "2027-01-31" (its beginning in UTC), "2027-01-31T18:00:00Z", "2027-01-31T18:00+02:00": RFC 3339
   with optional seconds, and the ways in which YAML tools write it again: a space for the T, one
   before the zone, a fraction, which is cut off. The zone is demanded with a time. Seconds since
   1970. */
bool scalar_parse_time(const char *text, int64_t *seconds, const char **why);
/* "0660", "660": octal permissions, three digits after an optional 0. */
bool scalar_parse_mode(const char *text, uint32_t *mode, const char **why);

/* "orders": 1 to max of a-z, 0-9, ".", "_" and "-", a letter or digit first. */
bool scalar_is_name(const char *text, size_t max);
enum { SCALAR_NAME_MAX = 63 };

enum { SCALAR_TEXT_SIZE = 32 };
/* With the largest unit that leaves no rest. Both return out. */
const char *scalar_format_duration(uint64_t ms, char out[SCALAR_TEXT_SIZE]);
const char *scalar_format_size(uint64_t bytes, char out[SCALAR_TEXT_SIZE]);

#endif
