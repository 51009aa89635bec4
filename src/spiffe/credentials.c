/*
 * Domains sorted by name: the lookup of a handshake is a binary search over names, and
 * names are compared as whole byte strings.
 */
#include "spiffe/credentials.h"

#include "base/assert.h"
#include "base/memory.h"
#include "spiffe/crl.h"
#include "spiffe/crl_check.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509.h>

struct credentials {
    atomic_size_t refs;
    uint64_t generation;
    uint64_t identity_epoch;
    struct x509_svid *own; /* may be NULL */
    struct credentials_domain *domains;
    size_t domain_count;
};

static int compare_names(struct strview a, struct strview b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_domains(const void *a, const void *b)
{
    const struct credentials_domain *left = a;
    const struct credentials_domain *right = b;
    return compare_names(trust_bundle_domain(left->bundle), trust_bundle_domain(right->bundle));
}

/*
 * Federation 4.2 and 7.3: with the key of one CA in two bundles that CA could mint the IDs
 * of both, which is the merging of bundles by another name.
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
                   "trust domains \"%.*s\" and \"%.*s\" share the anchor \"%s\" or its key; each "
                   "needs a CA with a key of its own and a bundle file of its own (spiffe-helper "
                   "merges bundles unless "
                   "include_federated_domains is false)",
                   (int)first.len, first.ptr, (int)second.len, second.ptr, subject);
        return -1;
    }
    return 0;
}

struct credentials *credentials_build(const struct credentials_parts *parts, struct errbuf *err)
{
    size_t count = parts->domain_count;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++) {
            if (check_apart(parts->domains[i].bundle, parts->domains[j].bundle, err) < 0) {
                return NULL;
            }
        }
    }
    struct credentials *credentials = mem_alloc(sizeof(*credentials));
    atomic_init(&credentials->refs, 1);
    credentials->generation = parts->generation;
    credentials->identity_epoch = parts->identity_epoch;
    credentials->own = parts->own != NULL ? x509_svid_ref(parts->own) : NULL;
    credentials->domain_count = count;
    credentials->domains = mem_alloc_array(count > 0 ? count : 1, sizeof(parts->domains[0]));
    for (size_t i = 0; i < count; i++) {
        const struct credentials_domain *from = &parts->domains[i];
        ASSERT(from->crls == NULL || from->crl_check != CRL_CHECK_NONE);
        credentials->domains[i] = *from;
        (void)trust_bundle_ref(from->bundle);
        if (from->crls != NULL) {
            (void)crl_set_ref(from->crls);
            crl_check_prepare(from);
        }
    }
    qsort(credentials->domains, count, sizeof(struct credentials_domain), compare_domains);
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
    for (size_t i = 0; i < credentials->domain_count; i++) {
        trust_bundle_unref(credentials->domains[i].bundle);
        crl_set_unref(credentials->domains[i].crls);
    }
    x509_svid_unref(credentials->own);
    mem_free(credentials->domains);
    mem_free(credentials);
}

uint64_t credentials_generation(const struct credentials *credentials)
{
    return credentials->generation;
}

uint64_t credentials_identity_epoch(const struct credentials *credentials)
{
    return credentials->identity_epoch;
}

struct x509_svid *credentials_own(const struct credentials *credentials)
{
    return credentials->own;
}

const struct credentials_domain *credentials_find(const struct credentials *credentials,
                                                  struct strview trust_domain)
{
    size_t low = 0;
    size_t high = credentials->domain_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct credentials_domain *domain = &credentials->domains[middle];
        int order = compare_names(trust_bundle_domain(domain->bundle), trust_domain);
        if (order == 0) {
            return domain;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

struct trust_bundle *credentials_bundle(const struct credentials *credentials,
                                        struct strview trust_domain)
{
    const struct credentials_domain *domain = credentials_find(credentials, trust_domain);
    return domain != NULL ? domain->bundle : NULL;
}

static bool is_valid_at(const X509 *certificate, int64_t now_s)
{
    int64_t from = 0;
    int64_t until = 0;
    return x509_svid_validity(certificate, &from, &until) == 0 && from <= now_s && now_s < until;
}

bool credentials_next_crl_gap(const struct credentials *credentials, struct strview trust_domain,
                              int64_t now_s, size_t *cursor, struct svid_failure *gap)
{
    const struct credentials_domain *domain = credentials_find(credentials, trust_domain);
    X509 *anchor = NULL;
    while (domain != NULL && (anchor = trust_bundle_anchor(domain->bundle, *cursor)) != NULL) {
        (*cursor)++;
        memset(gap, 0, sizeof(*gap));
        if (is_valid_at(anchor, now_s) &&
            crl_check_issuer(domain, anchor, now_s, gap) != REASON_NONE) {
            x509_svid_describe(anchor, gap);
            return true;
        }
    }
    return false;
}
