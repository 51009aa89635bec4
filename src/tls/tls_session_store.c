/*
 *     shard --buckets--> entry -> entry              by key
 *           --owners---> owner                       one per peer identity that has sessions here
 *           --queue----> first to go … last to go    all entries
 *     owner --queue----> first to go … last to go      its entries
 *
 * The oldest goes first, and before it what has been found once: clients use a ticket once (RFC
 * 8446 C.4) and get the next with it, so a used one is the least likely to come again. Otherwise
 * those that are still waiting for their use would make room for those that have had it.
 *
 * Keys are random (server: libssl drew the session ID) or hashes, so they spread over the shards
 * by themselves, and each shard keeps its part of the bounds alone: the sums hold without a lock
 * over all. Entries leave under the mutex into a list, and are freed after it.
 *
 * Memory that is out means that a session is not kept: the peer makes a full handshake.
 */
#include "tls_session_store_private.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/queue.h>

enum { SHARDS_MAX = 16, SHARD_MIN_SESSIONS = 64, OWNER_BUCKETS = 64, KEY_SHARD_BYTE = 8 };

TAILQ_HEAD(entry_list, entry);

struct owner {
    struct owner *next; /* in its bucket */
    struct entry_list queue;
    size_t count;
    size_t len;
    char id[];
};

struct entry {
    TAILQ_ENTRY(entry) queue;  /* of the shard; or of those to be freed */
    TAILQ_ENTRY(entry) shared; /* of the owner */
    struct entry *next;        /* in its bucket */
    struct owner *owner;
    SSL_SESSION *session;
    uint64_t generation;
    int64_t from_s;
    int64_t until_s;
    enum tls_session_role role;
    uint8_t key[TLS_SESSION_KEY_SIZE];
};

struct shard {
    pthread_mutex_t mutex;
    struct entry **buckets;
    struct owner *owners[OWNER_BUCKETS];
    struct entry_list queue;
    size_t count;
    uint64_t generation; /* nothing older is kept */
};

struct tls_session_store {
    atomic_size_t references;
    size_t shard_count; /* a power of two, as bucket_count */
    size_t bucket_count;
    size_t max_sessions; /* of a shard */
    size_t max_per_peer; /* in a shard */
    int64_t max_age_s;
    struct shard shards[];
};

static size_t power_of_two(size_t at_least)
{
    size_t n = 1;
    while (n < at_least) {
        n *= 2;
    }
    return n;
}

static size_t share(size_t total, size_t shards)
{
    return total < shards ? 1 : total / shards;
}

struct tls_session_store *tls_session_store_new(const struct tls_session_limits *limits)
{
    ASSERT(limits->max_sessions > 0 && limits->max_per_peer > 0);
    size_t shards = SHARDS_MAX;
    while (shards > 1 &&
           (limits->max_sessions / shards < SHARD_MIN_SESSIONS || limits->max_per_peer < shards)) {
        shards /= 2;
    }
    struct tls_session_store *store = mem_alloc(sizeof(*store) + shards * sizeof(struct shard));
    atomic_init(&store->references, 1);
    store->shard_count = shards;
    store->max_sessions = share(limits->max_sessions, shards);
    store->max_per_peer = share(limits->max_per_peer, shards);
    store->max_age_s = limits->max_age_s;
    store->bucket_count = power_of_two(store->max_sessions);
    for (size_t i = 0; i < shards; i++) {
        struct shard *shard = &store->shards[i];
        int failed = pthread_mutex_init(&shard->mutex, NULL);
        ASSERT(failed == 0);
        shard->buckets = mem_alloc_array(store->bucket_count, sizeof(struct entry *));
        TAILQ_INIT(&shard->queue);
    }
    return store;
}

static void lock(struct shard *shard)
{
    int failed = pthread_mutex_lock(&shard->mutex);
    ASSERT(failed == 0);
}

static void unlock(struct shard *shard)
{
    int failed = pthread_mutex_unlock(&shard->mutex);
    ASSERT(failed == 0);
}

static struct shard *shard_of(struct tls_session_store *store, const uint8_t *key)
{
    return &store->shards[key[KEY_SHARD_BYTE] & (store->shard_count - 1)];
}

static struct entry **bucket_of(const struct tls_session_store *store, struct shard *shard,
                                const uint8_t *key)
{
    uint64_t hash;
    _Static_assert(sizeof(hash) <= KEY_SHARD_BYTE, "other bytes than the shard's");
    memcpy(&hash, key, sizeof(hash));
    return &shard->buckets[hash & (store->bucket_count - 1)];
}

static struct owner **owner_bucket_of(struct shard *shard, struct strview id)
{
    return &shard->owners[hash_bytes(id.ptr, id.len, 0) & (OWNER_BUCKETS - 1)];
}

static struct owner *owner_find(struct shard *shard, struct strview id)
{
    struct owner *owner = *owner_bucket_of(shard, id);
    while (owner != NULL && !strview_equal((struct strview){owner->id, owner->len}, id)) {
        owner = owner->next;
    }
    return owner;
}

/* Found or made; NULL when memory is out. */
static struct owner *owner_of(struct shard *shard, struct strview id)
{
    struct owner *owner = owner_find(shard, id);
    if (owner != NULL) {
        return owner;
    }
    owner = mem_try_alloc(sizeof(*owner) + id.len);
    if (owner == NULL) {
        return NULL;
    }
    TAILQ_INIT(&owner->queue);
    owner->len = id.len;
    memcpy(owner->id, id.ptr, id.len);
    struct owner **bucket = owner_bucket_of(shard, id);
    owner->next = *bucket;
    *bucket = owner;
    return owner;
}

static void owner_forget_if_empty(struct shard *shard, struct owner *owner)
{
    if (owner->count > 0) {
        return;
    }
    struct owner **slot = owner_bucket_of(shard, (struct strview){owner->id, owner->len});
    while (*slot != owner) {
        ASSERT(*slot != NULL);
        slot = &(*slot)->next;
    }
    *slot = owner->next;
    mem_free(owner);
}

/* Out of the shard, into `gone`. */
static void detach(const struct tls_session_store *store, struct shard *shard, struct entry *entry,
                   struct entry_list *gone)
{
    struct entry **slot = bucket_of(store, shard, entry->key);
    while (*slot != entry) {
        ASSERT(*slot != NULL);
        slot = &(*slot)->next;
    }
    *slot = entry->next;
    TAILQ_REMOVE(&shard->queue, entry, queue);
    TAILQ_REMOVE(&entry->owner->queue, entry, shared);
    shard->count--;
    entry->owner->count--;
    owner_forget_if_empty(shard, entry->owner);
    entry->owner = NULL;
    TAILQ_INSERT_TAIL(gone, entry, queue);
}

/* SSL_SESSION_free wipes the secret when its last reference goes. */
static void free_all(struct entry_list *gone)
{
    struct entry *entry;
    while ((entry = TAILQ_FIRST(gone)) != NULL) {
        TAILQ_REMOVE(gone, entry, queue);
        SSL_SESSION_free(entry->session);
        mem_free(entry);
    }
}

static void attach(const struct tls_session_store *store, struct shard *shard, struct entry *entry,
                   struct owner *owner)
{
    struct entry **slot = bucket_of(store, shard, entry->key);
    entry->next = *slot;
    *slot = entry;
    entry->owner = owner;
    TAILQ_INSERT_TAIL(&shard->queue, entry, queue);
    TAILQ_INSERT_TAIL(&owner->queue, entry, shared);
    shard->count++;
    owner->count++;
}

static void make_room(const struct tls_session_store *store, struct shard *shard,
                      struct strview peer, struct entry_list *gone)
{
    struct owner *owner = owner_find(shard, peer);
    if (owner != NULL && owner->count >= store->max_per_peer) {
        detach(store, shard, TAILQ_FIRST(&owner->queue), gone);
    } else if (shard->count >= store->max_sessions) {
        detach(store, shard, TAILQ_FIRST(&shard->queue), gone);
    }
}

/* False: the entry stays the caller's. */
static bool insert(const struct tls_session_store *store, struct shard *shard, struct entry *entry,
                   struct strview peer, struct entry_list *gone)
{
    if (entry->generation < shard->generation) {
        return false;
    }
    make_room(store, shard, peer, gone);
    struct owner *owner = owner_of(shard, peer);
    if (owner == NULL) {
        return false;
    }
    attach(store, shard, entry, owner);
    return true;
}

void tls_session_store_put(struct tls_session_store *store, const struct tls_session_facts *facts,
                           SSL_SESSION *session)
{
    struct entry *entry = mem_try_alloc(sizeof(*entry));
    if (entry == NULL) {
        SSL_SESSION_free(session);
        return;
    }
    *entry = (struct entry){.session = session,
                            .generation = facts->generation,
                            .from_s = facts->from_s,
                            .until_s = facts->until_s,
                            .role = facts->role};
    memcpy(entry->key, facts->key, sizeof(entry->key));
    struct entry_list gone = TAILQ_HEAD_INITIALIZER(gone);
    struct shard *shard = shard_of(store, entry->key);
    lock(shard);
    bool kept = insert(store, shard, entry, facts->peer, &gone);
    unlock(shard);
    if (!kept) {
        TAILQ_INSERT_TAIL(&gone, entry, queue);
    }
    free_all(&gone);
}

static bool is_of(const struct entry *entry, enum tls_session_role role, const uint8_t *key)
{
    return entry->role == role && memcmp(entry->key, key, TLS_SESSION_KEY_SIZE) == 0;
}

/* The newest of that key that counts now; those that no longer do go. */
static struct entry *look_up(const struct tls_session_store *store, struct shard *shard,
                             enum tls_session_role role, const uint8_t *key, int64_t now_s,
                             struct entry_list *gone)
{
    struct entry *next;
    for (struct entry *entry = *bucket_of(store, shard, key); entry != NULL; entry = next) {
        next = entry->next;
        if (!is_of(entry, role, key)) {
            continue;
        }
        if (entry->from_s <= now_s && now_s < entry->until_s) {
            return entry;
        }
        detach(store, shard, entry, gone);
    }
    return NULL;
}

SSL_SESSION *tls_session_store_find(struct tls_session_store *store, enum tls_session_role role,
                                    const uint8_t key[TLS_SESSION_KEY_SIZE], int64_t now_s)
{
    struct entry_list gone = TAILQ_HEAD_INITIALIZER(gone);
    struct shard *shard = shard_of(store, key);
    SSL_SESSION *session = NULL;
    lock(shard);
    struct entry *entry = look_up(store, shard, role, key, now_s, &gone);
    if (entry != NULL && SSL_SESSION_up_ref(entry->session) == 1) {
        session = entry->session;
        TAILQ_REMOVE(&shard->queue, entry, queue);
        TAILQ_INSERT_HEAD(&shard->queue, entry, queue);
        TAILQ_REMOVE(&entry->owner->queue, entry, shared);
        TAILQ_INSERT_HEAD(&entry->owner->queue, entry, shared);
    }
    unlock(shard);
    free_all(&gone);
    return session;
}

SSL_SESSION *tls_session_store_take(struct tls_session_store *store, enum tls_session_role role,
                                    const uint8_t key[TLS_SESSION_KEY_SIZE], int64_t now_s)
{
    struct entry_list gone = TAILQ_HEAD_INITIALIZER(gone);
    struct shard *shard = shard_of(store, key);
    SSL_SESSION *session = NULL;
    lock(shard);
    struct entry *entry = look_up(store, shard, role, key, now_s, &gone);
    if (entry != NULL) {
        session = entry->session;
        entry->session = NULL;
        detach(store, shard, entry, &gone);
    }
    unlock(shard);
    free_all(&gone);
    return session;
}

static bool same_id(const SSL_SESSION *a, const SSL_SESSION *b)
{
    unsigned a_len = 0;
    unsigned b_len = 0;
    const unsigned char *a_id = SSL_SESSION_get_id(a, &a_len);
    const unsigned char *b_id = SSL_SESSION_get_id(b, &b_len);
    return a_len == b_len && memcmp(a_id, b_id, a_len) == 0;
}

void tls_session_store_drop(struct tls_session_store *store, enum tls_session_role role,
                            const uint8_t key[TLS_SESSION_KEY_SIZE], const SSL_SESSION *session)
{
    struct entry_list gone = TAILQ_HEAD_INITIALIZER(gone);
    struct shard *shard = shard_of(store, key);
    lock(shard);
    struct entry *next;
    for (struct entry *entry = *bucket_of(store, shard, key); entry != NULL; entry = next) {
        next = entry->next;
        if (is_of(entry, role, key) && same_id(entry->session, session)) {
            detach(store, shard, entry, &gone);
        }
    }
    unlock(shard);
    free_all(&gone);
}

void tls_session_store_clear(struct tls_session_store *store, uint64_t generation)
{
    for (size_t i = 0; i < store->shard_count; i++) {
        struct entry_list gone = TAILQ_HEAD_INITIALIZER(gone);
        struct shard *shard = &store->shards[i];
        lock(shard);
        if (shard->generation < generation) {
            shard->generation = generation;
        }
        struct entry *next;
        for (struct entry *entry = TAILQ_FIRST(&shard->queue); entry != NULL; entry = next) {
            next = TAILQ_NEXT(entry, queue);
            if (entry->generation < generation) {
                detach(store, shard, entry, &gone);
            }
        }
        unlock(shard);
        free_all(&gone);
    }
}

size_t tls_session_store_count(struct tls_session_store *store)
{
    size_t count = 0;
    for (size_t i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        lock(shard);
        count += shard->count;
        unlock(shard);
    }
    return count;
}

int64_t tls_session_store_max_age_s(const struct tls_session_store *store)
{
    return store->max_age_s;
}

struct tls_session_store *tls_session_store_ref(struct tls_session_store *store)
{
    size_t before = atomic_fetch_add_explicit(&store->references, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return store;
}

void tls_session_store_unref(struct tls_session_store *store)
{
    if (store == NULL) {
        return;
    }
    size_t before = atomic_fetch_sub_explicit(&store->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1) {
        return;
    }
    tls_session_store_clear(store, UINT64_MAX);
    for (size_t i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        ASSERT(shard->count == 0);
        (void)pthread_mutex_destroy(&shard->mutex); /* fails only for one that is locked */
        mem_free(shard->buckets);
    }
    mem_free(store);
}
