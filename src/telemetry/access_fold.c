/*
 * A plain array: looking for a kind is a look at up to 256 hashes, which costs less than writing a
 * line. Keys are compared in full: with hashes alone a peer could look for a refusal that hides
 * another.
 *
 *     entry:     free --first--> open: due, repeats 0 --takes--> repeats + 1
 *                                  |-- due, repeats > 0: one line, repeats 0, a new window
 *                                  `-- due, repeats 0: free
 *     overflow:  one for each reason: the same, but for the first, which is counted as well
 */
#include "telemetry/access_fold.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

struct entry {
    uint64_t due_ms;
    uint64_t began_ms; /* the window */
    uint64_t repeats;
    uint64_t session; /* the last one */
    enum reason reason;
    const char *kind; /* constant texts */
    const char *shadow_decision;
    bool verified; /* id is the downstream's */
    char *texts;   /* listener, address, id, shadow rule, rule: one allocation, by these lengths */
    size_t listener_len; /* without their NULs */
    size_t address_len;
    size_t id_len;
    size_t shadow_len;
};

struct overflow {
    uint64_t due_ms;
    uint64_t began_ms;
    uint64_t repeats;
    uint64_t session;
};

struct access_fold {
    uint64_t hashes[ACCESS_FOLD_KINDS]; /* of entries; 0: free */
    struct entry entries[ACCESS_FOLD_KINDS];
    struct overflow overflow[REASON_COUNT]; /* repeats 0: nothing */
    char *told;                             /* texts of the line that was told last */
};

/* What makes a refusal equal to another. */
struct key {
    struct strview listener;
    struct strview address;
    struct strview id;
    struct strview shadow; /* the rule in shadow mode that speaks of it */
    bool verified;
    enum reason reason;
};

struct access_fold *access_fold_new(void)
{
    return mem_alloc(sizeof(struct access_fold));
}

void access_fold_free(struct access_fold *fold)
{
    if (fold == NULL) {
        return;
    }
    for (size_t i = 0; i < ACCESS_FOLD_KINDS; i++) {
        mem_free(fold->entries[i].texts);
    }
    mem_free(fold->told);
    mem_free(fold);
}

/* "192.0.2.1" of "192.0.2.1:4711", "[2001:db8::1]" of "[2001:db8::1]:4711", "unix" of "unix:/path".
 */
static struct strview without_port(const char *address)
{
    struct strview view = strview_from(address);
    const char *colon = view.len > 0 ? strrchr(address, ':') : NULL;
    if (colon != NULL) {
        view.len = (size_t)(colon - address);
    }
    return view;
}

static struct key key_of(const struct access_record *record)
{
    struct key key = {.listener = strview_from(record->listener), .reason = record->reason};
    key.shadow = strview_from(record->shadow_rule);
    key.verified = record->downstream_id.len > 0;
    if (key.verified) {
        key.id = record->downstream_id;
    } else {
        key.address = without_port(record->downstream);
        key.id = record->claimed_id;
    }
    return key;
}

static uint64_t hash_of(const struct key *key)
{
    uint64_t hash = (uint64_t)key->reason * 2 + (key->verified ? 1 : 0);
    hash = hash_bytes(key->listener.ptr, key->listener.len, hash);
    hash = hash_bytes(key->address.ptr, key->address.len, hash);
    hash = hash_bytes(key->shadow.ptr, key->shadow.len, hash);
    return hash_bytes(key->id.ptr, key->id.len, hash) | 1; /* 0 is no hash */
}

static struct strview listener_of(const struct entry *entry)
{
    return (struct strview){entry->texts, entry->listener_len};
}

static struct strview address_of(const struct entry *entry)
{
    return (struct strview){entry->texts + entry->listener_len + 1, entry->address_len};
}

static struct strview id_of(const struct entry *entry)
{
    return (struct strview){address_of(entry).ptr + entry->address_len + 1, entry->id_len};
}

static struct strview shadow_of(const struct entry *entry)
{
    return (struct strview){id_of(entry).ptr + entry->id_len + 1, entry->shadow_len};
}

static const char *rule_of(const struct entry *entry)
{
    return shadow_of(entry).ptr + entry->shadow_len + 1;
}

static bool is_kind(const struct entry *entry, const struct key *key)
{
    return entry->reason == key->reason && entry->verified == key->verified &&
           strview_equal(listener_of(entry), key->listener) &&
           strview_equal(address_of(entry), key->address) && strview_equal(id_of(entry), key->id) &&
           strview_equal(shadow_of(entry), key->shadow);
}

static char *put_text(char *at, struct strview text)
{
    if (text.len > 0) {
        memcpy(at, text.ptr, text.len);
    }
    return at + text.len + 1; /* the memory is zeroed */
}

/* False when memory is out. */
static bool open_entry(struct entry *entry, const struct key *key,
                       const struct access_record *record)
{
    struct strview rule = strview_from(record->rule);
    char *texts = mem_try_alloc(key->listener.len + key->address.len + key->id.len +
                                key->shadow.len + rule.len + 5);
    if (texts == NULL) {
        return false;
    }
    *entry = (struct entry){.reason = key->reason,
                            .kind = record->kind,
                            .shadow_decision = record->shadow_decision,
                            .verified = key->verified,
                            .texts = texts,
                            .listener_len = key->listener.len,
                            .address_len = key->address.len,
                            .id_len = key->id.len,
                            .shadow_len = key->shadow.len};
    char *at = put_text(texts, key->listener);
    at = put_text(at, key->address);
    at = put_text(at, key->id);
    at = put_text(at, key->shadow);
    (void)put_text(at, rule);
    return true;
}

static bool overflows(struct access_fold *fold, const struct access_record *record, uint64_t now_ms,
                      uint64_t window_ms)
{
    struct overflow *overflow = &fold->overflow[record->reason];
    if (overflow->repeats == 0) {
        overflow->began_ms = now_ms;
        overflow->due_ms = now_ms + window_ms;
    }
    overflow->repeats++;
    overflow->session = record->session;
    return true;
}

bool access_fold_takes(struct access_fold *fold, const struct access_record *record,
                       uint64_t now_ms, uint64_t window_ms)
{
    struct key key = key_of(record);
    uint64_t hash = hash_of(&key);
    size_t unused = ACCESS_FOLD_KINDS;
    for (size_t i = 0; i < ACCESS_FOLD_KINDS; i++) {
        struct entry *entry = &fold->entries[i];
        if (fold->hashes[i] == hash && is_kind(entry, &key)) {
            entry->repeats++;
            entry->session = record->session;
            return true;
        }
        unused = fold->hashes[i] == 0 ? i : unused;
    }
    if (unused == ACCESS_FOLD_KINDS || !open_entry(&fold->entries[unused], &key, record)) {
        return overflows(fold, record, now_ms, window_ms);
    }
    fold->hashes[unused] = hash;
    fold->entries[unused].began_ms = now_ms;
    fold->entries[unused].due_ms = now_ms + window_ms;
    return false;
}

uint64_t access_fold_due(const struct access_fold *fold)
{
    uint64_t due = ACCESS_FOLD_NEVER;
    for (size_t i = 0; i < ACCESS_FOLD_KINDS; i++) {
        const struct entry *entry = &fold->entries[i];
        due = fold->hashes[i] != 0 && entry->due_ms < due ? entry->due_ms : due;
    }
    for (size_t i = 0; i < REASON_COUNT; i++) {
        const struct overflow *overflow = &fold->overflow[i];
        due = overflow->repeats > 0 && overflow->due_ms < due ? overflow->due_ms : due;
    }
    return due;
}

static void fill(struct access_record *record, enum reason reason, uint64_t session,
                 uint64_t repeats, uint64_t duration_ms)
{
    *record = (struct access_record){.event = "deny",
                                     .decision = "deny",
                                     .reason = reason,
                                     .session = session,
                                     .repeats = repeats,
                                     .duration_ms = duration_ms};
}

static void tell_entry(const struct entry *entry, uint64_t now_ms, struct access_record *record)
{
    fill(record, entry->reason, entry->session, entry->repeats, now_ms - entry->began_ms);
    record->listener = listener_of(entry).ptr;
    record->kind = entry->kind;
    record->rule = rule_of(entry);
    record->shadow_decision = entry->shadow_decision;
    record->shadow_rule = entry->shadow_len > 0 ? shadow_of(entry).ptr : NULL;
    record->downstream = address_of(entry).ptr;
    *(entry->verified ? &record->downstream_id : &record->claimed_id) = id_of(entry);
}

/* Its texts live on until the next one, because the line that is told may have them. */
static void close_entry(struct access_fold *fold, size_t index)
{
    mem_free(fold->told);
    fold->told = fold->entries[index].texts;
    fold->entries[index] = (struct entry){0};
    fold->hashes[index] = 0;
}

static bool next_entry(struct access_fold *fold, size_t index, uint64_t now_ms, uint64_t window_ms,
                       bool everything, struct access_record *record)
{
    struct entry *entry = &fold->entries[index];
    bool is_due = fold->hashes[index] != 0 && (everything || entry->due_ms <= now_ms);
    bool tells = is_due && entry->repeats > 0;
    if (tells) {
        tell_entry(entry, now_ms, record);
        entry->repeats = 0;
        entry->began_ms = now_ms;
        entry->due_ms = now_ms + window_ms;
    }
    if (is_due && (everything || !tells)) {
        close_entry(fold, index);
    }
    return tells;
}

static bool next_overflow(struct overflow *overflow, enum reason reason, uint64_t now_ms,
                          bool everything, struct access_record *record)
{
    if (overflow->repeats == 0 || (!everything && overflow->due_ms > now_ms)) {
        return false;
    }
    fill(record, reason, overflow->session, overflow->repeats, now_ms - overflow->began_ms);
    overflow->repeats = 0;
    return true;
}

bool access_fold_next(struct access_fold *fold, uint64_t now_ms, uint64_t window_ms,
                      bool everything, struct access_record *record)
{
    for (size_t i = 0; i < ACCESS_FOLD_KINDS; i++) {
        if (next_entry(fold, i, now_ms, window_ms, everything, record)) {
            return true;
        }
    }
    for (size_t i = 0; i < REASON_COUNT; i++) {
        if (next_overflow(&fold->overflow[i], (enum reason)i, now_ms, everything, record)) {
            return true;
        }
    }
    return false;
}
