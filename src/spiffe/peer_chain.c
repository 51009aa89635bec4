/*
 * A table of verified chains: chained hash buckets keyed by SHA-256, and a list of those without
 * a session in the order in which they fell idle.
 *
 *     buckets[i] → entry → entry            in sessions' hands (refs > 0) or idle
 *     idle: oldest … newest                 idle entries only; the oldest makes room
 *
 * An entry that no longer counts (its anchor gone, time over) leaves the table at once; sessions
 * that hold it keep it alive, detached, until they give it back. Two allocations per entry: the
 * struct with the ID, and the path from the leaf to below the anchor (kept_path).
 */
#include "spiffe/peer_chain.h"

#include "base/assert.h"
#include "base/memory.h"
#include "peer_chain_private.h"
#include "spiffe/credentials.h"
#include "spiffe/crypto.h"

#include <string.h>
#include <sys/queue.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

enum { KEY_SIZE = PEER_CHAIN_KEY_SIZE, BUCKETS_START = 64, CHAIN_MAGIC = 0x70636831 };

TAILQ_HEAD(idle_list, peer_chain);

struct peer_chain_table {
    const struct crypto *crypto;
    EVP_MD *sha256; /* fetched once: a fetch by name costs more than the hash */
    EVP_MD_CTX *digest;
    struct peer_chain **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    size_t max_entries;
    struct idle_list idle;
    size_t idle_count;
    uint64_t hits;
    uint64_t misses;
    uint8_t der[SVID_CHAIN_BYTES_MAX]; /* scratch of one admission */
};

struct peer_chain_table *peer_chain_table_new(const struct crypto *crypto, size_t max_entries)
{
    struct peer_chain_table *table = mem_alloc(sizeof(*table));
    table->crypto = crypto;
    table->max_entries = max_entries;
    table->sha256 = EVP_MD_fetch(crypto_libctx(crypto), "SHA256", NULL);
    table->digest = EVP_MD_CTX_new();
    ASSERT(table->sha256 != NULL && table->digest != NULL);
    table->bucket_count = BUCKETS_START;
    table->buckets = mem_alloc_array(table->bucket_count, sizeof(struct peer_chain *));
    TAILQ_INIT(&table->idle);
    return table;
}

const struct crypto *peer_chain_table_crypto(const struct peer_chain_table *table)
{
    return table->crypto;
}

static struct peer_chain **bucket_of(struct peer_chain_table *table, const uint8_t *key)
{
    uint64_t hash;
    memcpy(&hash, key, sizeof(hash)); /* SHA-256: any part of it is evenly spread */
    return &table->buckets[hash & (table->bucket_count - 1)];
}

static struct peer_chain *find(struct peer_chain_table *table, const uint8_t *key)
{
    struct peer_chain *entry = *bucket_of(table, key);
    while (entry != NULL && memcmp(entry->key, key, KEY_SIZE) != 0) {
        entry = entry->next;
    }
    return entry;
}

static void drop_certificates(struct peer_chain *chain)
{
    sk_X509_pop_free(chain->certificates, X509_free);
    chain->certificates = NULL;
}

static void chain_free(struct peer_chain *chain)
{
    ASSERT(chain->refs == 0);
    chain->magic = 0;
    drop_certificates(chain);
    peer_chain_release(chain);
    mem_free(chain);
}

static void idle_add(struct peer_chain_table *table, struct peer_chain *chain)
{
    TAILQ_INSERT_TAIL(&table->idle, chain, idle);
    table->idle_count++;
}

static void idle_remove(struct peer_chain_table *table, struct peer_chain *chain)
{
    ASSERT(table->idle_count > 0);
    TAILQ_REMOVE(&table->idle, chain, idle);
    table->idle_count--;
}

void peer_chain_detach(struct peer_chain *chain)
{
    struct peer_chain_table *table = chain->table;
    struct peer_chain **slot = bucket_of(table, chain->key);
    while (*slot != chain) {
        ASSERT(*slot != NULL);
        slot = &(*slot)->next;
    }
    *slot = chain->next;
    chain->next = NULL;
    chain->table = NULL;
    table->count--;
    if (chain->refs == 0) {
        idle_remove(table, chain);
        chain_free(chain);
    }
}

void peer_chain_table_free(struct peer_chain_table *table)
{
    if (table == NULL) {
        return;
    }
    for (struct peer_chain *chain = TAILQ_FIRST(&table->idle); chain != NULL;
         chain = TAILQ_FIRST(&table->idle)) {
        peer_chain_detach(chain);
    }
    ASSERT(table->count == 0); /* every session gave its chain back */
    EVP_MD_CTX_free(table->digest);
    EVP_MD_free(table->sha256);
    mem_free(table->buckets);
    mem_free(table);
}

static bool is_stale(const struct peer_chain *chain, const struct credentials *credentials)
{
    const struct credentials_domain *domain = credentials_find(credentials, chain->id.trust_domain);
    return domain == NULL || domain->crls != chain->standing.crls || chain->refusal != NULL;
}

/* Takes them from the front and puts what stays behind the last: once round, the order is the same
   again, but for those that have fallen idle meanwhile. */
void peer_chain_table_forget_stale(struct peer_chain_table *table,
                                   const struct credentials *credentials, size_t *left)
{
    *left = *left < table->idle_count ? *left : table->idle_count;
    for (size_t i = 0; i<PEER_CHAIN_FORGET_MOST && * left> 0; i++) {
        struct peer_chain *chain = TAILQ_FIRST(&table->idle);
        if (is_stale(chain, credentials)) {
            peer_chain_detach(chain);
        } else {
            idle_remove(table, chain);
            idle_add(table, chain);
        }
        (*left)--;
    }
}

/* Doubles the buckets. Without memory the table stays as it is: longer chains, nothing worse. */
static void grow(struct peer_chain_table *table)
{
    size_t old_count = table->bucket_count;
    struct peer_chain **old = table->buckets;
    struct peer_chain **buckets = mem_try_alloc(2 * old_count * sizeof(struct peer_chain *));
    if (buckets == NULL) {
        return;
    }
    table->buckets = buckets;
    table->bucket_count = 2 * old_count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct peer_chain *chain = old[i];
            old[i] = chain->next;
            struct peer_chain **slot = bucket_of(table, chain->key);
            chain->next = *slot;
            *slot = chain;
        }
    }
    mem_free(old);
}

/* True when there is a place for one more. */
static bool make_room(struct peer_chain_table *table)
{
    if (table->count < table->max_entries) {
        return true;
    }
    struct peer_chain *oldest = TAILQ_FIRST(&table->idle);
    if (oldest == NULL) {
        return false;
    }
    peer_chain_detach(oldest);
    return table->count < table->max_entries;
}

static void remember(struct peer_chain_table *table, struct peer_chain *chain)
{
    if (!make_room(table)) {
        return;
    }
    if (table->count >= table->bucket_count) {
        grow(table);
    }
    struct peer_chain **slot = bucket_of(table, chain->key);
    chain->next = *slot;
    *slot = chain;
    chain->table = table;
    table->count++;
}

/* Appends the certificate's DER to the scratch. REASON_NONE, CHAIN_TOO_LONG or OUT_OF_MEMORY. */
static enum reason append_der(struct peer_chain_table *table, const X509 *certificate, size_t *used)
{
    int len = i2d_X509(certificate, NULL);
    if (len <= 0) {
        return REASON_OUT_OF_MEMORY;
    }
    if ((size_t)len > sizeof(table->der) - *used) {
        return REASON_SVID_CHAIN_TOO_LONG;
    }
    unsigned char *end = table->der + *used;
    if (i2d_X509(certificate, &end) != len) {
        return REASON_OUT_OF_MEMORY;
    }
    *used += (size_t)len;
    return REASON_NONE;
}

/*
 * The key: the role, then the chain as it was sent, leaf first; DER delimits itself. The trust
 * domain is in the leaf and so in the hash. leaf_sha256 falls off on the way.
 */
static enum reason make_key(struct peer_chain_table *table, X509 *leaf,
                            const STACK_OF(X509) * untrusted, enum svid_role role,
                            uint8_t key[KEY_SIZE], uint8_t leaf_sha256[KEY_SIZE])
{
    size_t used = 0;
    enum reason reason = append_der(table, leaf, &used);
    size_t leaf_len = used;
    for (int i = 0; reason == REASON_NONE && i < sk_X509_num(untrusted); i++) {
        const X509 *certificate = sk_X509_value(untrusted, i);
        if (certificate != leaf) {
            reason = append_der(table, certificate, &used);
        }
    }
    if (reason != REASON_NONE) {
        return reason;
    }
    uint8_t role_byte = role == SVID_ROLE_CLIENT ? 'c' : 's';
    bool hashed = EVP_DigestInit_ex2(table->digest, table->sha256, NULL) == 1 &&
                  EVP_DigestUpdate(table->digest, table->der, leaf_len) == 1 &&
                  EVP_DigestFinal_ex(table->digest, leaf_sha256, NULL) == 1 &&
                  EVP_DigestInit_ex2(table->digest, table->sha256, NULL) == 1 &&
                  EVP_DigestUpdate(table->digest, &role_byte, 1) == 1 &&
                  EVP_DigestUpdate(table->digest, table->der, used) == 1 &&
                  EVP_DigestFinal_ex(table->digest, key, NULL) == 1;
    return hashed ? REASON_NONE : REASON_OUT_OF_MEMORY;
}

/* An entry with a reference for the caller. sent is leaf and untrusted as they came. */
static enum reason chain_new(const struct credentials *credentials,
                             const struct svid_verified *verified, const STACK_OF(X509) * sent,
                             struct peer_chain **out)
{
    size_t id_len = verified->id.text.len;
    struct peer_chain *chain = mem_try_alloc(sizeof(struct peer_chain) + id_len);
    if (chain == NULL) {
        return REASON_OUT_OF_MEMORY;
    }
    enum reason reason = peer_chain_adopt(
        chain, credentials_find(credentials, verified->id.trust_domain), verified, sent);
    if (reason != REASON_NONE) {
        mem_free(chain);
        return reason;
    }
    memcpy(chain->id_text, verified->id.text.ptr, id_len);
    struct strview id = {chain->id_text, id_len};
    const char *why = NULL;
    ASSERT(spiffe_id_parse(id, &chain->id, &why) == 0);
    chain->magic = CHAIN_MAGIC;
    chain->refs = 1;
    *out = chain;
    return REASON_NONE;
}

static struct peer_chain *refuse(struct svid_failure *failure, X509 *leaf, enum reason reason)
{
    memset(failure, 0, sizeof(*failure));
    failure->reason = reason;
    x509_svid_describe(leaf, failure);
    return NULL;
}

struct peer_chain *peer_chain_admit(struct peer_chain_table *table,
                                    const struct credentials *credentials, X509 *leaf,
                                    STACK_OF(X509) * untrusted, enum svid_role role, int64_t now_s,
                                    struct svid_failure *failure)
{
    uint8_t key[KEY_SIZE];
    uint8_t leaf_sha256[KEY_SIZE];
    ERR_set_mark();
    enum reason reason = make_key(table, leaf, untrusted, role, key, leaf_sha256);
    struct peer_chain *known = reason == REASON_NONE ? find(table, key) : NULL;
    bool admitted = known != NULL && peer_chain_admits(table, credentials, known, now_s);
    (void)ERR_pop_to_mark();
    if (reason != REASON_NONE) {
        return refuse(failure, leaf, reason);
    }
    if (admitted) {
        table->hits++;
        return peer_chain_ref(known);
    }
    if (known != NULL) {
        peer_chain_detach(known);
    }
    table->misses++;
    struct svid_verified verified;
    reason =
        svid_verify(table->crypto, credentials, leaf, untrusted, role, now_s, &verified, failure);
    if (reason != REASON_NONE) {
        return NULL;
    }
    struct peer_chain *chain = NULL;
    reason = chain_new(credentials, &verified, untrusted, &chain);
    svid_verified_fini(&verified);
    if (reason != REASON_NONE) {
        return refuse(failure, leaf, reason);
    }
    chain->role = role;
    memcpy(chain->key, key, KEY_SIZE);
    memcpy(chain->leaf_sha256, leaf_sha256, KEY_SIZE);
    remember(table, chain);
    return chain;
}

struct peer_chain *peer_chain_ref(struct peer_chain *chain)
{
    CHECK_MAGIC(chain, CHAIN_MAGIC);
    if (chain->refs == 0 && chain->table != NULL) {
        idle_remove(chain->table, chain);
    }
    chain->refs++;
    return chain;
}

void peer_chain_unref(struct peer_chain *chain)
{
    if (chain == NULL) {
        return;
    }
    CHECK_MAGIC(chain, CHAIN_MAGIC);
    ASSERT(chain->refs > 0);
    chain->refs--;
    if (chain->refs > 0) {
        return;
    }
    if (chain->table == NULL) {
        chain_free(chain);
    } else {
        drop_certificates(chain);
        idle_add(chain->table, chain);
    }
}

void peer_chain_share(struct peer_chain *chain, STACK_OF(X509) * sent)
{
    CHECK_MAGIC(chain, CHAIN_MAGIC);
    ASSERT(chain->refs > 0);
    if (chain->certificates == NULL) {
        chain->certificates = X509_chain_up_ref(sent); /* without memory nobody shares */
        return;
    }
    if (sk_X509_num(chain->certificates) != sk_X509_num(sent)) {
        return;
    }
    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *common = sk_X509_value(chain->certificates, i);
        X509 *own = sk_X509_value(sent, i);
        if (own != common && X509_up_ref(common) == 1) {
            (void)sk_X509_set(sent, i, common);
            X509_free(own);
        }
    }
}

const struct spiffe_id *peer_chain_id(const struct peer_chain *chain)
{
    return &chain->id;
}

int64_t peer_chain_not_after(const struct peer_chain *chain)
{
    return chain->not_after;
}

const uint8_t *peer_chain_anchor(const struct peer_chain *chain)
{
    return chain->anchor_sha256;
}

const uint8_t *peer_chain_leaf_sha256(const struct peer_chain *chain)
{
    return chain->leaf_sha256;
}

bool peer_chain_link(const struct peer_chain *chain, size_t index, struct peer_chain_link *link)
{
    return kept_path_link(chain->path, index, link);
}

uint64_t peer_chain_table_hits(const struct peer_chain_table *table)
{
    return table->hits;
}

uint64_t peer_chain_table_misses(const struct peer_chain_table *table)
{
    return table->misses;
}

size_t peer_chain_table_count(const struct peer_chain_table *table)
{
    return table->count;
}
