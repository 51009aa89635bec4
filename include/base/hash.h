/*
 * hash: a 64-bit hash for tables in memory. Keyed; not for anything that must resist collisions
 * found on purpose (there SHA-256 stands).
 */
#ifndef BULKHEAD_BASE_HASH_H
#define BULKHEAD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);

#endif
