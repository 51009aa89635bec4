/*
 * The list in the order of arrival is what counts: a new peer goes, by compare-and-swap, into its
 * first free place, and whoever adds one has met every peer before that place. So it is always a
 * prefix, no peer stands in it twice, and it never holds more than its capacity. It is walked once
 * for each peer that is added. All other looks go to an open hash table of the same entries, twice
 * as large as the most there may be, which follows the list: cells are filled and never emptied.
 */
#include "telemetry/peer_counts.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

enum { CACHE_LINE = 64 };

/* One worker's counts; a cache line each. */
struct cell {
    _Atomic uint64_t allowed;
    _Atomic uint64_t denied;
    char pad[CACHE_LINE - 2 * sizeof(uint64_t)];
};

struct entry {
    uint64_t hash;
    size_t len;
    char *text;
    struct cell *cells; /* by worker */
    char memory[];      /* the cells on a line's beginning, then the text */
};

struct peer_counts {
    size_t workers;
    size_t capacity;
    uint64_t seed;
    size_t mask;
    _Atomic(struct entry *) *table; /* mask + 1 of them */
    _Atomic(struct entry *) *list;
    _Atomic size_t in_table; /* of the list's; all of its first so many places are taken */
    struct entry *others;
};

/* NULL: memory is out. */
static struct entry *new_entry(size_t workers, struct strview id, uint64_t hash)
{
    size_t cells_size = workers * sizeof(struct cell);
    struct entry *entry = mem_try_alloc(sizeof(*entry) + CACHE_LINE + cells_size + id.len);
    if (entry == NULL) {
        return NULL;
    }
    uintptr_t from = (uintptr_t)entry->memory;
    size_t skip = (size_t)((CACHE_LINE - from % CACHE_LINE) % CACHE_LINE);
    entry->cells = (struct cell *)(void *)(entry->memory + skip);
    entry->text = entry->memory + skip + cells_size;
    entry->hash = hash;
    entry->len = id.len;
    if (id.len > 0) {
        memcpy(entry->text, id.ptr, id.len);
    }
    return entry;
}

struct peer_counts *peer_counts_new(size_t workers, size_t capacity)
{
    ASSERT(workers > 0 && capacity > 0);
    struct peer_counts *counts = mem_alloc(sizeof(*counts));
    size_t size = 2;
    while (size < 2 * capacity) {
        size *= 2;
    }
    counts->workers = workers;
    counts->capacity = capacity;
    counts->mask = size - 1;
    counts->table = mem_alloc_array(size, sizeof(*counts->table));
    counts->list = mem_alloc_array(capacity, sizeof(*counts->list));
    counts->others = new_entry(workers, (struct strview){"", 0}, 0);
    ASSERT(counts->others != NULL); /* like mem_alloc: memory is out at the start */
    if (getrandom(&counts->seed, sizeof(counts->seed), GRND_NONBLOCK) != sizeof(counts->seed)) {
        counts->seed = (uintptr_t)counts; /* early in the boot: good enough for a bounded table */
    }
    return counts;
}

void peer_counts_free(struct peer_counts *counts)
{
    if (counts == NULL) {
        return;
    }
    for (size_t i = 0; i < counts->capacity; i++) {
        mem_free(atomic_load_explicit(&counts->list[i], memory_order_relaxed));
    }
    mem_free(counts->others);
    mem_free(counts->list);
    mem_free(counts->table);
    mem_free(counts);
}

static bool is_of(const struct entry *entry, struct strview id, uint64_t hash)
{
    return entry->hash == hash && entry->len == id.len && memcmp(entry->text, id.ptr, id.len) == 0;
}

static struct entry *find(struct peer_counts *counts, struct strview id, uint64_t hash)
{
    for (size_t i = (size_t)hash & counts->mask;; i = (i + 1) & counts->mask) {
        struct entry *entry = atomic_load_explicit(&counts->table[i], memory_order_acquire);
        if (entry == NULL || is_of(entry, id, hash)) {
            return entry;
        }
    }
}

/* It is in the list, and no other of its peer. */
static void put_in_table(struct peer_counts *counts, struct entry *entry)
{
    size_t at = (size_t)entry->hash & counts->mask;
    struct entry *there = NULL;
    while (!atomic_compare_exchange_strong_explicit(&counts->table[at], &there, entry,
                                                    memory_order_acq_rel, memory_order_relaxed)) {
        there = NULL;
        at = (at + 1) & counts->mask;
    }
    atomic_fetch_add_explicit(&counts->in_table, 1, memory_order_release);
}

/* Of a peer that was not in the table. NULL: it has no place, or no memory. */
static struct entry *add(struct peer_counts *counts, struct strview id, uint64_t hash)
{
    struct entry *own = NULL;
    for (size_t i = 0; i < counts->capacity; i++) {
        struct entry *there = atomic_load_explicit(&counts->list[i], memory_order_acquire);
        if (there == NULL) {
            own = own != NULL ? own : new_entry(counts->workers, id, hash);
            if (own == NULL) {
                return NULL;
            }
            if (atomic_compare_exchange_strong_explicit(
                    &counts->list[i], &there, own, memory_order_acq_rel, memory_order_acquire)) {
                put_in_table(counts, own);
                return own;
            }
        }
        if (is_of(there, id, hash)) {
            mem_free(own);
            return there;
        }
    }
    mem_free(own);
    return NULL;
}

/* The entry to count in. */
static struct entry *entry_of(struct peer_counts *counts, struct strview id)
{
    uint64_t hash = hash_bytes(id.ptr, id.len, counts->seed);
    /* Before the look: then what the look does not find is not in a full list either. */
    bool is_full =
        atomic_load_explicit(&counts->in_table, memory_order_acquire) == counts->capacity;
    struct entry *found = find(counts, id, hash);
    if (found == NULL && !is_full) {
        found = add(counts, id, hash);
    }
    return found != NULL ? found : counts->others;
}

void peer_counts_add(struct peer_counts *counts, size_t worker, struct strview id, bool allowed)
{
    ASSERT(worker < counts->workers);
    struct cell *cell = &entry_of(counts, id)->cells[worker];
    _Atomic uint64_t *count = allowed ? &cell->allowed : &cell->denied;
    uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, now + 1, memory_order_relaxed);
}

size_t peer_counts_size(const struct peer_counts *counts)
{
    return atomic_load_explicit(&counts->in_table, memory_order_acquire) + 1;
}

void peer_counts_get(const struct peer_counts *counts, size_t i, struct peer_count *out)
{
    ASSERT(i < peer_counts_size(counts));
    const struct entry *entry =
        i == 0 ? counts->others : atomic_load_explicit(&counts->list[i - 1], memory_order_acquire);
    *out = (struct peer_count){.id = {entry->text, entry->len}};
    for (size_t w = 0; w < counts->workers; w++) {
        out->allowed += atomic_load_explicit(&entry->cells[w].allowed, memory_order_relaxed);
        out->denied += atomic_load_explicit(&entry->cells[w].denied, memory_order_relaxed);
    }
}
