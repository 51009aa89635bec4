/*
 * Bundles sorted by trust domain: the lookup of a handshake is a binary search over names, and
 * names are compared as whole byte strings.
 */
#include "spiffe/credentials.h"

#include "base/memory.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct credentials {
    atomic_size_t refs;
    uint64_t generation;
    struct x509_svid *own; /* may be NULL */
    struct trust_bundle **bundles;
    size_t bundle_count;
};

static int compare_names(struct strview a, struct strview b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_bundles(const void *a, const void *b)
{
    struct trust_bundle *const *left = a;
    struct trust_bundle *const *right = b;
    return compare_names(trust_bundle_domain(*left), trust_bundle_domain(*right));
}

/*
 * Federation 4.2 and 7.3: with one anchor in two bundles either domain's CA could mint the
 * other's IDs, which is the merging of bundles by another name.
 */
static int check_apart(const struct trust_bundle *a, const struct trust_bundle *b,
                       struct errbuf *err)
{
    struct strview first = trust_bundle_domain(a);
    struct strview second = trust_bundle_domain(b);
    char subject[160];
    if (strview_equal(first, second)) {
        errbuf_set(err, "trust domain \"%.*s\" is there twice", (int)first.len, first.ptr);
        return -1;
    }
    if (trust_bundle_shares_anchor(a, b, subject, sizeof(subject))) {
        errbuf_set(err,
                   "trust domains \"%.*s\" and \"%.*s\" share the anchor \"%s\"; each needs a CA "
                   "and a bundle file of its own (spiffe-helper merges bundles unless "
                   "include_federated_domains is false)",
                   (int)first.len, first.ptr, (int)second.len, second.ptr, subject);
        return -1;
    }
    return 0;
}

struct credentials *credentials_build(struct x509_svid *own, struct trust_bundle *const *bundles,
                                      size_t bundle_count, uint64_t generation, struct errbuf *err)
{
    for (size_t i = 0; i < bundle_count; i++) {
        for (size_t j = i + 1; j < bundle_count; j++) {
            if (check_apart(bundles[i], bundles[j], err) < 0) {
                return NULL;
            }
        }
    }
    struct credentials *credentials = mem_alloc(sizeof(*credentials));
    atomic_init(&credentials->refs, 1);
    credentials->generation = generation;
    credentials->own = own != NULL ? x509_svid_ref(own) : NULL;
    credentials->bundle_count = bundle_count;
    credentials->bundles =
        mem_alloc_array(bundle_count > 0 ? bundle_count : 1, sizeof(struct trust_bundle *));
    for (size_t i = 0; i < bundle_count; i++) {
        credentials->bundles[i] = trust_bundle_ref(bundles[i]);
    }
    qsort(credentials->bundles, bundle_count, sizeof(struct trust_bundle *), compare_bundles);
    return credentials;
}

struct credentials *credentials_ref(struct credentials *credentials)
{
    atomic_fetch_add_explicit(&credentials->refs, 1, memory_order_relaxed);
    return credentials;
}

void credentials_unref(struct credentials *credentials)
{
    if (credentials == NULL ||
        atomic_fetch_sub_explicit(&credentials->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < credentials->bundle_count; i++) {
        trust_bundle_unref(credentials->bundles[i]);
    }
    x509_svid_unref(credentials->own);
    mem_free(credentials->bundles);
    mem_free(credentials);
}

uint64_t credentials_generation(const struct credentials *credentials)
{
    return credentials->generation;
}

struct x509_svid *credentials_own(const struct credentials *credentials)
{
    return credentials->own;
}

struct trust_bundle *credentials_bundle(const struct credentials *credentials,
                                        struct strview trust_domain)
{
    size_t low = 0;
    size_t high = credentials->bundle_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_names(trust_bundle_domain(credentials->bundles[middle]), trust_domain);
        if (order == 0) {
            return credentials->bundles[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
