/*
 * Anchors sorted by the hash of the certificate, which is what kept chains remember; their keys'
 * hashes sorted beside them, so that "the same key" is a merge of two sorted lists; and one
 * X509_STORE that is filled here and never changed again: threads share it without a thought.
 */
#include "spiffe/trust_bundle.h"

#include "base/memory.h"
#include "der_chain.h"
#include "issuer_match.h"
#include "pem.h"
#include "spiffe/x509_svid.h"
#include "trust_bundle_private.h"
#include "x509_fields.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* What a file with the anchors of several domains in it gets to hear. */
static const char OWN_FILE[] =
    "; each trust domain needs a bundle file of its own, with its own anchors only (spiffe-helper "
    "merges them unless include_federated_domains is false)";

static const char NO_SVID[] =
    "; a bundle holds the CA certificates that SVIDs are issued with, and "
    "never an SVID";

struct anchor {
    uint8_t sha256[X509_FIELDS_SHA256_SIZE];
    uint8_t key_sha256[X509_FIELDS_SHA256_SIZE];
    X509 *certificate;
    int64_t not_before;
    int64_t not_after;
};

struct anchor_key {
    uint8_t sha256[X509_FIELDS_SHA256_SIZE];
    X509 *certificate; /* an anchor's */
};

struct trust_bundle {
    atomic_size_t refs;
    char *domain;
    struct anchor *anchors; /* sorted by sha256, each once */
    size_t count;
    struct anchor_key *keys; /* one for each anchor, sorted */
    X509_STORE *store;
    bool has_namesakes;
    struct bundle_numbers numbers;
};

void trust_bundle_discard(struct trust_bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++) {
        X509_free(bundle->anchors[i].certificate);
    }
    X509_STORE_free(bundle->store);
    mem_free(bundle->anchors);
    mem_free(bundle->keys);
    mem_free(bundle->domain);
    mem_free(bundle);
}

static int compare_anchors(const void *a, const void *b)
{
    const struct anchor *left = a;
    const struct anchor *right = b;
    return memcmp(left->sha256, right->sha256, X509_FIELDS_SHA256_SIZE);
}

static int compare_keys(const void *a, const void *b)
{
    const struct anchor_key *left = a;
    const struct anchor_key *right = b;
    return memcmp(left->sha256, right->sha256, X509_FIELDS_SHA256_SIZE);
}

/* A sentence for each block that has no place in a bundle. */
static int check_label(const struct pem_block *block, struct errbuf *err)
{
    if (strview_equal_text(block->label, "CERTIFICATE")) {
        return 0;
    }
    if (pem_is_private_key(block)) {
        errbuf_set(err,
                   "line %zu: a private key; a bundle holds CA certificates only, and this "
                   "key should be taken out of it",
                   block->line);
    } else if (strview_equal_text(block->label, "TRUSTED CERTIFICATE")) {
        errbuf_set(err,
                   "line %zu: TRUSTED CERTIFICATE carries trust settings of its own; use "
                   "CERTIFICATE (openssl x509 -in … -out …)",
                   block->line);
    } else {
        errbuf_set(err, "line %zu: \"%.*s\" is no certificate", block->line,
                   (int)(block->label.len < 64 ? block->label.len : 64), block->label.ptr);
    }
    return -1;
}

static int fill_anchor(struct anchor *anchor, struct strview domain, struct errbuf *err)
{
    struct svid_failure failure;
    X509 *certificate = anchor->certificate;
    enum reason reason = x509_svid_check_signing(certificate, domain, &failure);
    if (reason != REASON_NONE) {
        /* CVE-2024-2048: a leaf taken for an anchor. */
        const char *hint = "";
        if (reason == REASON_SVID_ISSUER_ID) {
            hint = OWN_FILE;
        } else if (reason == REASON_SVID_ISSUER_NOT_CA) {
            hint = NO_SVID;
        }
        errbuf_set(err, "\"%s\" is no CA certificate for \"%.*s\": %s%s%s%s", failure.subject,
                   (int)domain.len, domain.ptr, reason_sentence(reason),
                   failure.detail[0] != '\0' ? ": " : "", failure.detail, hint);
        return -1;
    }
    if (x509_svid_validity(certificate, &anchor->not_before, &anchor->not_after) < 0) {
        errbuf_set(err, "the validity of a certificate can't be read");
        return -1;
    }
    if (!x509_fields_sha256(certificate, anchor->sha256) ||
        !x509_fields_key_sha256(certificate, anchor->key_sha256)) {
        errbuf_set(err, "libcrypto can't hash a certificate");
        return -1;
    }
    return 0;
}

int trust_bundle_add(struct trust_bundle *bundle, X509 *certificate, struct errbuf *err)
{
    struct anchor anchor = {.certificate = certificate};
    if (bundle->count == TRUST_BUNDLE_ANCHORS_MAX) {
        errbuf_set(err, "more than %d certificates in one bundle", TRUST_BUNDLE_ANCHORS_MAX);
        X509_free(certificate);
        return -1;
    }
    if (fill_anchor(&anchor, trust_bundle_domain(bundle), err) < 0) {
        X509_free(certificate);
        return -1;
    }
    bundle->anchors =
        mem_grow_array(bundle->anchors, bundle->count, bundle->count + 1, sizeof(struct anchor));
    bundle->anchors[bundle->count++] = anchor;
    return 0;
}

static int add_block(struct trust_bundle *bundle, const struct crypto *crypto,
                     const struct pem_block *block, struct errbuf *err)
{
    if (check_label(block, err) < 0) {
        return -1;
    }
    X509 *certificate = pem_certificate(crypto, block, err);
    if (certificate == NULL) {
        return -1;
    }
    if (trust_bundle_add(bundle, certificate, err) < 0) {
        errbuf_prefix(err, "line %zu", block->line);
        return -1;
    }
    return 0;
}

static int read_blocks(struct trust_bundle *bundle, const struct crypto *crypto, const char *pem,
                       size_t len, struct errbuf *err)
{
    struct pem_reader reader = {.pem = {pem, len}};
    struct pem_block block;
    int status;
    while ((status = pem_next(&reader, &block, err)) == 1) {
        if (add_block(bundle, crypto, &block, err) < 0) {
            return -1;
        }
    }
    if (status == 0 && bundle->count == 0) {
        errbuf_set(err, "no PEM certificate in it, and no JSON object either");
        return -1;
    }
    return status;
}

static void drop_duplicates(struct trust_bundle *bundle)
{
    size_t kept = 0;
    if (bundle->count > 0) {
        qsort(bundle->anchors, bundle->count, sizeof(struct anchor), compare_anchors);
    }
    for (size_t i = 0; i < bundle->count; i++) {
        if (kept > 0 && compare_anchors(&bundle->anchors[kept - 1], &bundle->anchors[i]) == 0) {
            X509_free(bundle->anchors[i].certificate);
        } else {
            bundle->anchors[kept++] = bundle->anchors[i];
        }
    }
    bundle->count = kept;
}

/* Path validation ends at a self-signed anchor: X509_V_FLAG_PARTIAL_CHAIN is never set. */
static bool ends_paths(const struct anchor *anchor)
{
    return (X509_get_extension_flags(anchor->certificate) & EXFLAG_SS) != 0;
}

/* A bundle without one that does would admit nobody. */
static int check_self_signed(const struct trust_bundle *bundle, struct errbuf *err)
{
    if (bundle->count == 0) {
        return 0; /* all revoked; only a bundle document can say so */
    }
    for (size_t i = 0; i < bundle->count; i++) {
        if (ends_paths(&bundle->anchors[i])) {
            return 0;
        }
    }
    errbuf_set(err, "no self-signed CA certificate in it; put the root here, not an intermediate");
    return -1;
}

static void sort_keys(struct trust_bundle *bundle)
{
    bundle->keys = mem_alloc_array(bundle->count > 0 ? bundle->count : 1, sizeof(bundle->keys[0]));
    for (size_t i = 0; i < bundle->count; i++) {
        const struct anchor *anchor = &bundle->anchors[i];
        memcpy(bundle->keys[i].sha256, anchor->key_sha256, sizeof(anchor->key_sha256));
        bundle->keys[i].certificate = anchor->certificate;
    }
    qsort(bundle->keys, bundle->count, sizeof(struct anchor_key), compare_keys);
}

static void find_namesakes(struct trust_bundle *bundle)
{
    for (size_t i = 0; i < bundle->count && !bundle->has_namesakes; i++) {
        const X509_NAME *name = X509_get_subject_name(bundle->anchors[i].certificate);
        for (size_t j = i + 1; j < bundle->count && !bundle->has_namesakes; j++) {
            X509 *other = bundle->anchors[j].certificate;
            bundle->has_namesakes = X509_NAME_cmp(name, X509_get_subject_name(other)) == 0;
        }
    }
}

static int fill_store(struct trust_bundle *bundle, struct errbuf *err)
{
    bundle->store = X509_STORE_new();
    bool filled = bundle->store != NULL;
    for (size_t i = 0; filled && i < bundle->count; i++) {
        filled = X509_STORE_add_cert(bundle->store, bundle->anchors[i].certificate) == 1;
    }
    if (!filled) {
        errbuf_set(err, "memory is out");
        return -1;
    }
    issuer_match_install(bundle->store);
    return 0;
}

struct trust_bundle *trust_bundle_begin(const char *domain, struct errbuf *err)
{
    const char *why = NULL;
    if (spiffe_trust_domain_check(strview_from(domain), &why) < 0) {
        errbuf_set(err, "trust domain \"%s\": %s", domain, why);
        return NULL;
    }
    struct trust_bundle *bundle = mem_alloc(sizeof(*bundle));
    atomic_init(&bundle->refs, 1);
    bundle->domain = mem_strdup(domain);
    return bundle;
}

struct trust_bundle *trust_bundle_finish(struct trust_bundle *bundle, struct errbuf *err)
{
    drop_duplicates(bundle);
    if (check_self_signed(bundle, err) < 0 || fill_store(bundle, err) < 0) {
        trust_bundle_discard(bundle);
        return NULL;
    }
    sort_keys(bundle);
    find_namesakes(bundle);
    return bundle;
}

struct trust_bundle *trust_bundle_from_pem(const struct crypto *crypto, const char *domain,
                                           const char *pem, size_t len, struct errbuf *err)
{
    struct trust_bundle *bundle = trust_bundle_begin(domain, err);
    if (bundle == NULL) {
        return NULL;
    }
    if (read_blocks(bundle, crypto, pem, len, err) < 0) {
        trust_bundle_discard(bundle);
        return NULL;
    }
    return trust_bundle_finish(bundle, err);
}

struct trust_bundle *trust_bundle_from_der(const struct crypto *crypto, const char *domain,
                                           const void *der, size_t len, struct errbuf *err)
{
    struct der in = {der, len};
    X509 *certificate = NULL;
    size_t count = 0;
    int status;
    struct trust_bundle *bundle = trust_bundle_begin(domain, err);
    if (bundle == NULL) {
        return NULL;
    }
    while ((status = der_chain_next(crypto, &in, &count, &certificate, err)) == 1) {
        if (trust_bundle_add(bundle, certificate, err) < 0) {
            errbuf_prefix(err, "certificate %zu", count);
            status = -1;
            break;
        }
    }
    if (status < 0) {
        trust_bundle_discard(bundle);
        return NULL;
    }
    return trust_bundle_finish(bundle, err);
}

bool trust_bundle_same(const struct trust_bundle *a, const struct trust_bundle *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++) {
        same = compare_anchors(&a->anchors[i], &b->anchors[i]) == 0;
    }
    return same;
}

struct trust_bundle *trust_bundle_common(const struct trust_bundle *a, const struct trust_bundle *b,
                                         struct errbuf *err)
{
    struct trust_bundle *bundle = trust_bundle_begin(a->domain, err);
    for (size_t i = 0; bundle != NULL && i < a->count; i++) {
        X509 *certificate = a->anchors[i].certificate;
        if (!trust_bundle_has_anchor(b, a->anchors[i].sha256)) {
            continue;
        }
        if (X509_up_ref(certificate) != 1 || trust_bundle_add(bundle, certificate, err) < 0) {
            trust_bundle_discard(bundle);
            return NULL;
        }
    }
    return bundle == NULL ? NULL : trust_bundle_finish(bundle, err);
}

struct trust_bundle *trust_bundle_from_bytes(const struct crypto *crypto, const char *domain,
                                             const char *data, size_t len, struct errbuf *err)
{
    size_t first = 0;
    while (first < len && strchr(" \t\r\n", data[first]) != NULL && data[first] != '\0') {
        first++;
    }
    return first < len && data[first] == '{'
               ? trust_bundle_from_json(crypto, domain, data, len, err)
               : trust_bundle_from_pem(crypto, domain, data, len, err);
}

struct trust_bundle *trust_bundle_ref(struct trust_bundle *bundle)
{
    atomic_fetch_add_explicit(&bundle->refs, 1, memory_order_relaxed);
    return bundle;
}

void trust_bundle_unref(struct trust_bundle *bundle)
{
    if (bundle != NULL && atomic_fetch_sub_explicit(&bundle->refs, 1, memory_order_acq_rel) == 1) {
        trust_bundle_discard(bundle);
    }
}

struct strview trust_bundle_domain(const struct trust_bundle *bundle)
{
    return strview_from(bundle->domain);
}

size_t trust_bundle_count(const struct trust_bundle *bundle)
{
    return bundle->count;
}

void trust_bundle_set_numbers(struct trust_bundle *bundle, const struct bundle_numbers *numbers)
{
    bundle->numbers = *numbers;
}

bool trust_bundle_sequence(const struct trust_bundle *bundle, uint64_t *sequence)
{
    *sequence = bundle->numbers.sequence;
    return bundle->numbers.has_sequence;
}

bool trust_bundle_refresh_hint_s(const struct trust_bundle *bundle, uint64_t *seconds)
{
    *seconds = bundle->numbers.refresh_hint_s;
    return bundle->numbers.has_refresh_hint;
}

X509 *trust_bundle_anchor(const struct trust_bundle *bundle, size_t index)
{
    return index < bundle->count ? bundle->anchors[index].certificate : NULL;
}

size_t trust_bundle_count_valid(const struct trust_bundle *bundle, int64_t now_s)
{
    size_t valid = 0;
    for (size_t i = 0; i < bundle->count; i++) {
        const struct anchor *anchor = &bundle->anchors[i];
        bool in_time = anchor->not_before <= now_s && now_s < anchor->not_after;
        valid += in_time && ends_paths(anchor);
    }
    return valid;
}

bool trust_bundle_shares_anchor(const struct trust_bundle *a, const struct trust_bundle *b,
                                char *subject, size_t size)
{
    size_t i = 0;
    size_t j = 0;
    while (i < a->count && j < b->count) {
        int order = compare_keys(&a->keys[i], &b->keys[j]);
        if (order == 0) {
            x509_fields_name(X509_get_subject_name(a->keys[i].certificate), subject, size);
            return true;
        }
        i += order < 0;
        j += order > 0;
    }
    return false;
}

X509_STORE *trust_bundle_store(const struct trust_bundle *bundle)
{
    return bundle->store;
}

X509 *trust_bundle_find_anchor(const struct trust_bundle *bundle, const uint8_t sha256[32])
{
    struct anchor wanted = {0};
    memcpy(wanted.sha256, sha256, sizeof(wanted.sha256));
    const struct anchor *found = bundle->count > 0
                                     ? bsearch(&wanted, bundle->anchors, bundle->count,
                                               sizeof(struct anchor), compare_anchors)
                                     : NULL;
    return found != NULL ? found->certificate : NULL;
}

bool trust_bundle_has_anchor(const struct trust_bundle *bundle, const uint8_t sha256[32])
{
    return trust_bundle_find_anchor(bundle, sha256) != NULL;
}

bool trust_bundle_has_namesakes(const struct trust_bundle *bundle)
{
    return bundle->has_namesakes;
}

bool trust_bundle_has_namesake_of(const struct trust_bundle *bundle, const X509 *certificate)
{
    const X509_NAME *name = X509_get_subject_name(certificate);
    for (size_t i = 0; i < bundle->count; i++) {
        X509 *anchor = bundle->anchors[i].certificate;
        if (X509_NAME_cmp(name, X509_get_subject_name(anchor)) == 0) {
            return true;
        }
    }
    return false;
}
