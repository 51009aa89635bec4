/*
 * The set, and whose signature a CRL bears. Checking the signature of a large list means hashing
 * it whole, tens of milliseconds for a million entries; so each CRL remembers the issuers that it
 * was checked against. The bundle's are filled in when credentials are built, on control; what is
 * left for a handshake is the first one below an intermediate.
 *
 *     memo: EMPTY → WRITING → GOOD | BAD      (one thread wins the slot; the others check anew)
 */
#include "spiffe/crl.h"

#include "base/assert.h"
#include "base/memory.h"
#include "crl_private.h"
#include "pem.h"
#include "spiffe/crypto.h"

#include <limits.h>
#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/err.h>

enum memo_state { MEMO_EMPTY = 0, MEMO_WRITING, MEMO_GOOD, MEMO_BAD };

static int add_crl(struct crl_set *set, uint8_t *bytes, size_t len, struct errbuf *err)
{
    if (set->count == CRL_COUNT_MAX) {
        mem_free(bytes);
        errbuf_set(err, "more than %d CRLs in one file", CRL_COUNT_MAX);
        return -1;
    }
    struct crl *crl = crl_parse(bytes, len, err);
    if (crl == NULL) {
        return -1;
    }
    crl_set_add(set, crl);
    return 0;
}

static uint8_t *copy_bytes(const void *data, size_t len)
{
    uint8_t *copy = mem_alloc(len);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

static int add_block(struct crl_set *set, const struct pem_block *block, struct errbuf *err)
{
    unsigned char *der = NULL;
    size_t len = 0;
    if (!strview_equal_text(block->label, "X509 CRL")) {
        errbuf_set(err, "line %zu: %s\"%.*s\" is no X509 CRL", block->line,
                   pem_is_private_key(block) ? "a private key has no place here: " : "",
                   (int)(block->label.len < 64 ? block->label.len : 64), block->label.ptr);
        return -1;
    }
    if (pem_decode(block, &der, &len, err) < 0) {
        return -1;
    }
    /* libcrypto's buffer had room for the base64 text: a copy is a third smaller. */
    uint8_t *bytes = copy_bytes(der, len);
    OPENSSL_free(der);
    if (add_crl(set, bytes, len, err) < 0) {
        errbuf_prefix(err, "line %zu: the CRL", block->line);
        return -1;
    }
    return 0;
}

static int read_pem(struct crl_set *set, const char *data, size_t len, struct errbuf *err)
{
    struct pem_reader reader = {.pem = {data, len}};
    struct pem_block block;
    int status;
    while ((status = pem_next(&reader, &block, err)) == 1) {
        if (add_block(set, &block, err) < 0) {
            return -1;
        }
    }
    if (status == 0 && set->count == 0) {
        errbuf_set(err, "no CRL in it, neither in PEM nor in DER");
        return -1;
    }
    return status;
}

/* A SEQUENCE with a length in the long form: no text begins like that. */
static bool looks_like_der(const char *data, size_t len)
{
    return len >= 2 && data[0] == DER_SEQUENCE && ((unsigned char)data[1] & 0x80) != 0;
}

static int read_set(struct crl_set *set, const char *data, size_t len, struct errbuf *err)
{
    if (len > CRL_BYTES_MAX) {
        errbuf_set(err, "%zu bytes of CRLs; at most %d are accepted", len, CRL_BYTES_MAX);
        return -1;
    }
    if (!looks_like_der(data, len)) {
        return read_pem(set, data, len, err);
    }
    if (add_crl(set, copy_bytes(data, len), len, err) < 0) {
        errbuf_prefix(err, "the CRL");
        return -1;
    }
    return 0;
}

static void set_free(struct crl_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        crl_unref(set->crls[i]);
    }
    mem_free(set->crls);
    mem_free(set);
}

struct crl_set *crl_set_begin(const struct crypto *crypto)
{
    struct crl_set *set = mem_alloc(sizeof(*set));
    atomic_init(&set->refs, 1);
    set->crypto = crypto;
    return set;
}

void crl_set_add(struct crl_set *set, struct crl *crl)
{
    set->crls = mem_grow_array(set->crls, set->count, set->count + 1, sizeof(struct crl *));
    set->crls[set->count++] = crl;
}

struct crl_set *crl_set_from_der(const struct crypto *crypto, const struct strview *lists,
                                 size_t count, struct errbuf *err)
{
    struct crl_set *set = crl_set_begin(crypto);
    for (size_t i = 0; i < count; i++) {
        if (add_crl(set, copy_bytes(lists[i].ptr, lists[i].len), lists[i].len, err) < 0) {
            errbuf_prefix(err, "CRL %zu", i + 1);
            set_free(set);
            return NULL;
        }
    }
    return set;
}

struct crl_set *crl_set_from_bytes(const struct crypto *crypto, const char *data, size_t len,
                                   struct errbuf *err)
{
    struct crl_set *set = crl_set_begin(crypto);
    if (read_set(set, data, len, err) < 0) {
        set_free(set);
        return NULL;
    }
    return set;
}

struct crl_set *crl_set_ref(struct crl_set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void crl_set_unref(struct crl_set *set)
{
    if (set != NULL && atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1) {
        set_free(set);
    }
}

size_t crl_set_count(const struct crl_set *set)
{
    return set->count;
}

size_t crl_set_revoked_count(const struct crl_set *set)
{
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        count += set->crls[i]->revoked_count;
    }
    return count;
}

static bool same_key_id(const struct crl *a, const struct crl *b)
{
    if (a->key_id == NULL || b->key_id == NULL) {
        return a->key_id == b->key_id;
    }
    return ASN1_OCTET_STRING_cmp(a->key_id, b->key_id) == 0;
}

static bool is_replaced(const struct crl_set *set, const struct crl *crl)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct crl *other = set->crls[i];
        if (other->this_update > crl->this_update && der_equal(other->idp, crl->idp) &&
            same_key_id(other, crl) && X509_NAME_cmp(other->issuer, crl->issuer) == 0) {
            return true;
        }
    }
    return false;
}

int64_t crl_set_next_update(const struct crl_set *set)
{
    int64_t earliest = INT64_MAX;
    for (size_t i = 0; i < set->count; i++) {
        const struct crl *crl = set->crls[i];
        if (crl->next_update < earliest && !is_replaced(set, crl)) {
            earliest = crl->next_update;
        }
    }
    return earliest;
}

void crl_set_facts(const struct crl_set *set, size_t index, struct crl_facts *facts)
{
    ASSERT(index < set->count);
    const struct crl *crl = set->crls[index];
    x509_fields_name(crl->issuer, facts->issuer, sizeof(facts->issuer));
    facts->this_update = crl->this_update;
    facts->next_update = crl->next_update;
    facts->revoked = crl->revoked_count;
    facts->replaced = is_replaced(set, crl);
}

size_t crl_set_memory(const struct crl_set *set)
{
    size_t bytes = sizeof(*set);
    for (size_t i = 0; i < set->count; i++) {
        const struct crl *crl = set->crls[i];
        bytes += sizeof(*crl) + crl->len + crl->slot_count * sizeof(uint32_t);
    }
    return bytes;
}

/* Could a key of this kind have made the signature? Asked first: a list may be large. */
static bool kind_fits(const struct crl *crl, const EVP_PKEY *key)
{
    int digest = NID_undef;
    int kind = NID_undef;
    const ASN1_OBJECT *object = NULL;
    X509_ALGOR_get0(&object, NULL, NULL, crl->algorithm);
    if (key == NULL || OBJ_find_sigid_algs(OBJ_obj2nid(object), &digest, &kind) != 1) {
        return false;
    }
    /* Not EVP_PKEY_is_a, which says no when memory is out. */
    int has = EVP_PKEY_get_base_id(key);
    return has == kind || (kind == NID_rsassaPss && has == EVP_PKEY_RSA);
}

/* libcrypto's verdict: 1 good, 0 bad, -1 it could not look. */
static int ask_signature(const struct crl_set *set, const struct crl *crl, EVP_PKEY *key)
{
    int verdict = -1;
    ASN1_STRING *tbs = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
    ASSERT(crl->tbs.len <= INT_MAX);
    if (tbs != NULL && ASN1_STRING_set(tbs, crl->tbs.ptr, (int)crl->tbs.len) == 1) {
        verdict = ASN1_item_verify_ex(ASN1_ITEM_rptr(ASN1_SEQUENCE), crl->algorithm, crl->signature,
                                      tbs, NULL, key, crypto_libctx(set->crypto), NULL);
    }
    ASN1_STRING_free(tbs);
    return verdict;
}

static enum crl_signature check_signature(const struct crl_set *set, const struct crl *crl,
                                          X509 *issuer)
{
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    if (!kind_fits(crl, key)) {
        return CRL_SIGNATURE_BAD;
    }
    int verdict = ask_signature(set, crl, key);
    if (verdict == 0) {
        /* It also says so when an allocation failed, and "bad" is remembered: asked once more. */
        verdict = ask_signature(set, crl, key);
    }
    if (verdict < 0) {
        return CRL_SIGNATURE_UNKNOWN;
    }
    return verdict == 1 ? CRL_SIGNATURE_GOOD : CRL_SIGNATURE_BAD;
}

/* The memo's slot for this issuer: known, or one that may be written, or NULL. */
static const struct crl_memo *find_memo(const struct crl *crl, const uint8_t *sha256,
                                        enum memo_state *state)
{
    for (size_t i = 0; i < CRL_MEMO_SIZE; i++) {
        const struct crl_memo *memo = &crl->memo[i];
        *state = atomic_load_explicit(&memo->state, memory_order_acquire);
        if ((*state == MEMO_GOOD || *state == MEMO_BAD) &&
            memcmp(memo->certificate_sha256, sha256, X509_FIELDS_SHA256_SIZE) == 0) {
            return memo;
        }
    }
    return NULL;
}

static void remember(struct crl *crl, const uint8_t *sha256, enum memo_state state)
{
    for (size_t i = 0; i < CRL_MEMO_SIZE; i++) {
        struct crl_memo *memo = &crl->memo[i];
        unsigned expected = MEMO_EMPTY;
        if (atomic_compare_exchange_strong(&memo->state, &expected, MEMO_WRITING)) {
            memcpy(memo->certificate_sha256, sha256, X509_FIELDS_SHA256_SIZE);
            atomic_store_explicit(&memo->state, state, memory_order_release);
            return;
        }
    }
}

enum crl_signature crl_signed_by(const struct crl_set *set, struct crl *crl, X509 *issuer)
{
    uint8_t sha256[X509_FIELDS_SHA256_SIZE];
    enum memo_state state = MEMO_EMPTY;
    if (!x509_fields_sha256(issuer, sha256)) {
        return CRL_SIGNATURE_UNKNOWN;
    }
    if (find_memo(crl, sha256, &state) != NULL) {
        return state == MEMO_GOOD ? CRL_SIGNATURE_GOOD : CRL_SIGNATURE_BAD;
    }
    ERR_set_mark();
    enum crl_signature signature = check_signature(set, crl, issuer);
    (void)ERR_pop_to_mark();
    if (signature != CRL_SIGNATURE_UNKNOWN) {
        remember(crl, sha256, signature == CRL_SIGNATURE_GOOD ? MEMO_GOOD : MEMO_BAD);
    }
    return signature;
}
