/*
 * An open hash table that only grows: a new peer goes, by compare-and-swap, into the first free
 * cell on its way. Cells are filled and never emptied, so two that bring the same peer at one time
 * meet at the same cell, and no peer stands in it twice. Workers that are at it together may bring
 * more than the capacity, one each; those have no place among the peers that are told of, and count
 * with the others.
 *
 * The list is in the order of arrival since the start: a peer takes, by compare-and-swap, the first
 * free place, from a place on that all before it are taken. So it is always a prefix.
 */
#include "telemetry/peer_table.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

enum { SPARE = 2048 }; /* more workers than there may be */

struct entry {
    uint64_t hash;
    size_t len;
    _Atomic uint64_t allowed;
    _Atomic uint64_t denied;
    _Atomic uint64_t first_ms; /* seen, since the start */
    _Atomic uint64_t last_ms;
    _Atomic uint64_t first_call_ms;
    _Atomic uint64_t first_denied_ms; /* as a caller */
    _Atomic bool listed;
    bool known;
    char text[];
};

struct peer_table {
    size_t capacity;
    uint64_t seed;
    size_t mask;
    _Atomic(struct entry *) *cells; /* mask + 1 of them */
    _Atomic(struct entry *) *list;  /* capacity + SPARE */
    struct entry **known;
    size_t known_count;
    _Atomic size_t in_table;
    _Atomic size_t in_list;
    _Atomic uint64_t changes;
    _Atomic bool told_full;
    struct entry *others;
};

/* NULL: memory is out. */
static struct entry *new_entry(struct strview id, uint64_t hash)
{
    struct entry *entry = mem_try_alloc(sizeof(*entry) + id.len);
    if (entry != NULL) {
        entry->hash = hash;
        entry->len = id.len;
        if (id.len > 0) {
            memcpy(entry->text, id.ptr, id.len);
        }
    }
    return entry;
}

struct peer_table *peer_table_new(size_t capacity)
{
    ASSERT(capacity > 0);
    struct peer_table *table = mem_alloc(sizeof(*table));
    size_t size = 2;
    while (size < 2 * (capacity + SPARE)) {
        size *= 2;
    }
    table->capacity = capacity;
    table->mask = size - 1;
    table->cells = mem_alloc_array(size, sizeof(*table->cells));
    table->list = mem_alloc_array(capacity + SPARE, sizeof(*table->list));
    table->known = mem_alloc_array(capacity, sizeof(struct entry *));
    table->others = new_entry((struct strview){"", 0}, 0);
    ASSERT(table->others != NULL); /* like mem_alloc: memory is out at the start */
    if (getrandom(&table->seed, sizeof(table->seed), GRND_NONBLOCK) != sizeof(table->seed)) {
        table->seed = (uintptr_t)table; /* early in the boot: good enough for a bounded table */
    }
    return table;
}

void peer_table_free(struct peer_table *table)
{
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i <= table->mask; i++) {
        mem_free(atomic_load_explicit(&table->cells[i], memory_order_relaxed));
    }
    mem_free(table->others);
    mem_free(table->known);
    mem_free(table->list);
    mem_free(table->cells);
    mem_free(table);
}

static bool is_of(const struct entry *entry, struct strview id, uint64_t hash)
{
    return entry->hash == hash && entry->len == id.len && memcmp(entry->text, id.ptr, id.len) == 0;
}

/* The peer's entry, made when there was none and there is room. NULL: it has none. */
static struct entry *find_or_add(struct peer_table *table, struct strview id, bool *full)
{
    uint64_t hash = hash_bytes(id.ptr, id.len, table->seed);
    size_t at = (size_t)hash & table->mask;
    struct entry *own = NULL;
    *full = atomic_load_explicit(&table->in_table, memory_order_acquire) >= table->capacity;
    for (;;) {
        struct entry *there = atomic_load_explicit(&table->cells[at], memory_order_acquire);
        if (there == NULL) {
            own = own != NULL || *full ? own : new_entry(id, hash);
            if (own == NULL) {
                return NULL;
            }
            if (atomic_compare_exchange_strong_explicit(
                    &table->cells[at], &there, own, memory_order_acq_rel, memory_order_acquire)) {
                atomic_fetch_add_explicit(&table->in_table, 1, memory_order_release);
                return own;
            }
        }
        if (is_of(there, id, hash)) {
            mem_free(own);
            return there;
        }
        at = (at + 1) & table->mask;
    }
}

bool peer_table_know(struct peer_table *table, struct strview id, uint64_t first_call_ms,
                     uint64_t first_denied_ms)
{
    bool full = false;
    struct entry *entry = find_or_add(table, id, &full);
    ASSERT(entry != NULL || full); /* like mem_alloc: memory is out at the start */
    if (entry == NULL || entry->known) {
        return false;
    }
    entry->known = true;
    atomic_store_explicit(&entry->first_call_ms, first_call_ms, memory_order_relaxed);
    atomic_store_explicit(&entry->first_denied_ms, first_denied_ms, memory_order_relaxed);
    table->known[table->known_count++] = entry;
    return true;
}

/* Once for each entry. */
static void put_in_list(struct peer_table *table, struct entry *entry)
{
    size_t at = atomic_load_explicit(&table->in_list, memory_order_acquire);
    struct entry *there = NULL;
    while (!atomic_compare_exchange_strong_explicit(&table->list[at], &there, entry,
                                                    memory_order_acq_rel, memory_order_relaxed)) {
        there = NULL;
        at++;
    }
    atomic_fetch_add_explicit(&table->in_list, 1, memory_order_release);
}

/* True for the one that sets it. */
static bool set_first(_Atomic uint64_t *moment, uint64_t now_ms)
{
    uint64_t none = 0;
    return atomic_load_explicit(moment, memory_order_relaxed) == 0 &&
           atomic_compare_exchange_strong_explicit(moment, &none, now_ms, memory_order_relaxed,
                                                   memory_order_relaxed);
}

static enum peer_news news_of(struct peer_table *table, struct entry *entry,
                              const struct peer_sight *sight, uint64_t now_ms)
{
    bool denied = !sight->allowed && set_first(&entry->first_denied_ms, now_ms);
    bool called = set_first(&entry->first_call_ms, now_ms);
    if (!called && !denied) {
        return PEER_NEWS_NONE;
    }
    atomic_fetch_add_explicit(&table->changes, 1, memory_order_release);
    return called ? PEER_NEWS_FIRST_CALL : PEER_NEWS_FIRST_DENIAL;
}

static void count(struct entry *entry, const struct peer_sight *sight)
{
    atomic_fetch_add_explicit(sight->allowed ? &entry->allowed : &entry->denied, 1,
                              memory_order_relaxed);
}

enum peer_news peer_table_note(struct peer_table *table, const struct peer_sight *sight)
{
    bool full = false;
    uint64_t now_ms = sight->now_ms > 0 ? sight->now_ms : 1; /* 0 means never */
    struct entry *entry = find_or_add(table, sight->id, &full);
    if (entry == NULL) {
        count(table->others, sight);
        bool told =
            !full || atomic_exchange_explicit(&table->told_full, true, memory_order_relaxed);
        return told ? PEER_NEWS_NONE : PEER_NEWS_FULL;
    }
    count(entry, sight);
    atomic_store_explicit(&entry->last_ms, now_ms, memory_order_relaxed);
    (void)set_first(&entry->first_ms, now_ms);
    if (!atomic_load_explicit(&entry->listed, memory_order_relaxed) &&
        !atomic_exchange_explicit(&entry->listed, true, memory_order_relaxed)) {
        put_in_list(table, entry);
    }
    return sight->calls ? news_of(table, entry, sight, now_ms) : PEER_NEWS_NONE;
}

/* --- reading --------------------------------------------------------------------------------- */

static void add_counts(const struct entry *entry, struct peer_record *out)
{
    out->allowed += atomic_load_explicit(&entry->allowed, memory_order_relaxed);
    out->denied += atomic_load_explicit(&entry->denied, memory_order_relaxed);
}

static void read_entry(const struct entry *entry, struct peer_record *out)
{
    uint64_t called = atomic_load_explicit(&entry->first_call_ms, memory_order_relaxed);
    *out = (struct peer_record){.id = {entry->text, entry->len}};
    add_counts(entry, out);
    out->has_called = called != 0;
    out->first_ms =
        called != 0 ? called : atomic_load_explicit(&entry->first_ms, memory_order_relaxed);
    out->last_ms = atomic_load_explicit(&entry->last_ms, memory_order_relaxed);
    out->first_denied_ms = atomic_load_explicit(&entry->first_denied_ms, memory_order_relaxed);
}

static size_t listed(const struct peer_table *table)
{
    return atomic_load_explicit(&table->in_list, memory_order_acquire);
}

static const struct entry *entry_at(const struct peer_table *table, size_t place)
{
    return atomic_load_explicit(&table->list[place], memory_order_acquire);
}

size_t peer_table_size(const struct peer_table *table)
{
    size_t count = listed(table);
    return (count < table->capacity ? count : table->capacity) + 1;
}

void peer_table_rest(const struct peer_table *table, size_t from, struct peer_record *out)
{
    ASSERT(from > 0);
    size_t count = listed(table);
    *out = (struct peer_record){.id = {"", 0}};
    add_counts(table->others, out);
    for (size_t place = from - 1; place < count; place++) {
        add_counts(entry_at(table, place), out);
    }
}

void peer_table_get(const struct peer_table *table, size_t i, struct peer_record *out)
{
    ASSERT(i < peer_table_size(table));
    if (i == 0) {
        peer_table_rest(table, table->capacity + 1, out);
    } else {
        read_entry(entry_at(table, i - 1), out);
    }
}

size_t peer_table_known(const struct peer_table *table)
{
    return table->known_count;
}

void peer_table_get_known(const struct peer_table *table, size_t i, struct peer_record *out)
{
    ASSERT(i < table->known_count);
    read_entry(table->known[i], out);
}

bool peer_table_was_known(const struct peer_table *table, size_t i)
{
    ASSERT(i > 0 && i < peer_table_size(table));
    return entry_at(table, i - 1)->known;
}

uint64_t peer_table_changes(const struct peer_table *table)
{
    return atomic_load_explicit(&table->changes, memory_order_acquire);
}
