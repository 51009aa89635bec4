/*
 * CRLs that came for several trust domains, made into a set for each. Whose a list is, signatures
 * say: names are chosen by each CA for itself, and those of SPIRE's are all alike.
 */
#include "spiffe/crl.h"

#include "base/memory.h"
#include "crl_private.h"
#include "spiffe/trust_bundle.h"

#include <string.h>

static bool has_name(const X509 *anchor, const struct crl *crl)
{
    return X509_NAME_cmp(X509_get_subject_name(anchor), crl->issuer) == 0;
}

size_t crl_set_sort_checks(const struct crl_set *all, struct trust_bundle *const *bundles,
                           size_t count)
{
    size_t checks = 0;
    const X509 *anchor = NULL;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; (anchor = trust_bundle_anchor(bundles[i], j)) != NULL; j++) {
            for (size_t k = 0; k < all->count; k++) {
                checks += has_name(anchor, all->crls[k]);
            }
        }
    }
    return checks;
}

static bool is_of(const struct crl_set *all, struct crl *crl, const struct trust_bundle *bundle)
{
    X509 *anchor = NULL;
    for (size_t i = 0; (anchor = trust_bundle_anchor(bundle, i)) != NULL; i++) {
        if (has_name(anchor, crl) && crl_signed_by(all, crl, anchor) == CRL_SIGNATURE_GOOD) {
            return true;
        }
    }
    return false;
}

/* Into the set of each bundle whose anchor has signed it. False: none has. */
static bool add_where_signed(const struct crl_set *all, struct crl *crl,
                             struct trust_bundle *const *bundles, size_t count,
                             struct crl_set **sets)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        if (is_of(all, crl, bundles[i])) {
            crl_set_add(sets[i], crl_ref(crl));
            found = true;
        }
    }
    return found;
}

static void add_loose(struct crl *crl, size_t count, struct crl_set **sets)
{
    for (size_t i = 0; i < count; i++) {
        crl_set_add(sets[i], crl_ref(crl));
        sets[i]->loose++;
    }
}

size_t crl_set_sort(const struct crl_set *all, struct trust_bundle *const *bundles, size_t count,
                    struct crl_set **sets)
{
    bool *loose = mem_alloc_array(all->count, sizeof(bool));
    size_t loose_count = 0;
    for (size_t i = 0; i < count; i++) {
        sets[i] = crl_set_begin(all->crypto);
    }
    for (size_t i = 0; i < all->count; i++) {
        loose[i] = !add_where_signed(all, all->crls[i], bundles, count, sets);
        loose_count += loose[i];
    }
    for (size_t i = 0; i < all->count; i++) {
        if (loose[i]) {
            add_loose(all->crls[i], count, sets); /* behind all others */
        }
    }
    mem_free(loose);
    for (size_t i = 0; i < count; i++) {
        if (sets[i]->count == 0) {
            crl_set_unref(sets[i]);
            sets[i] = NULL;
        }
    }
    return loose_count;
}

static void add_part(struct crl_set *set, const struct crl_set *from, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        crl_set_add(set, crl_ref(from->crls[i]));
    }
}

struct crl_set *crl_set_join(const struct crl_set *a, const struct crl_set *b)
{
    if (a->count + b->count > CRL_COUNT_MAX) {
        return NULL;
    }
    struct crl_set *set = crl_set_begin(a->crypto);
    add_part(set, a, 0, a->count - a->loose);
    add_part(set, b, 0, b->count - b->loose);
    size_t strict = set->count;
    add_part(set, a, a->count - a->loose, a->count);
    add_part(set, b, b->count - b->loose, b->count);
    set->loose = set->count - strict;
    return set;
}

bool crl_set_same(const struct crl_set *a, const struct crl_set *b)
{
    if (a->count != b->count || a->loose != b->loose) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (a->crls[i] != b->crls[i] &&
            (a->crls[i]->len != b->crls[i]->len ||
             memcmp(a->crls[i]->bytes, b->crls[i]->bytes, a->crls[i]->len) != 0)) {
            return false;
        }
    }
    return true;
}
