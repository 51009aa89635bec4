/*
 * What an entry rests on, and whether it still does when that was replaced:
 *
 *     the same objects                              stands, nothing is looked at
 *     other CRLs, or a bundle with the same anchor  the CRLs are asked; on success rebound
 *     a bundle without the anchor                   one full verification of the kept path
 *
 * A path with an intermediate that the bundle lent counts as one without its anchor: another
 * bundle may lack it, and what the peer sent would not verify then. Such an entry leaves the table,
 * because its key stands for what was sent.
 */
#include "peer_chain_private.h"

#include "base/memory.h"
#include "spiffe/crl.h"
#include "spiffe/trust_bundle.h"
#include "x509_fields.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

static struct standing standing_of(const struct credentials_domain *domain)
{
    struct standing standing = {.bundle = NULL};
    if (domain != NULL) {
        standing = (struct standing){domain->bundle, domain->crls, domain->crl_check};
    }
    return standing;
}

static bool standing_equal(const struct standing *a, const struct standing *b)
{
    return a->bundle == b->bundle && a->crls == b->crls && a->crl_check == b->crl_check;
}

static void standing_release(struct standing *standing)
{
    trust_bundle_unref(standing->bundle);
    crl_set_unref(standing->crls);
    *standing = (struct standing){.bundle = NULL};
}

static void standing_set(struct standing *standing, const struct standing *to)
{
    struct standing old = *standing;
    *standing = *to;
    if (to->bundle != NULL) {
        (void)trust_bundle_ref(to->bundle);
    }
    if (to->crls != NULL) {
        (void)crl_set_ref(to->crls);
    }
    standing_release(&old);
}

static void refusal_drop(struct peer_chain *chain)
{
    if (chain->refusal != NULL) {
        standing_release(&chain->refusal->standing);
        mem_free(chain->refusal);
        chain->refusal = NULL;
    }
}

void peer_chain_release(struct peer_chain *chain)
{
    refusal_drop(chain);
    standing_release(&chain->standing);
    kept_path_free(chain->path);
    chain->path = NULL;
}

static bool holds(const STACK_OF(X509) * list, const X509 *certificate)
{
    for (int i = 0; i < sk_X509_num(list); i++) {
        if (X509_cmp(sk_X509_value(list, i), certificate) == 0) {
            return true;
        }
    }
    return false;
}

/* Between leaf and anchor, is there one that was not sent? */
static bool is_borrowed(const STACK_OF(X509) * path, const STACK_OF(X509) * sent)
{
    for (int i = 1; i + 1 < sk_X509_num(path); i++) {
        if (!holds(sent, sk_X509_value(path, i))) {
            return true;
        }
    }
    return false;
}

enum reason peer_chain_adopt(struct peer_chain *chain, const struct credentials_domain *domain,
                             const struct svid_verified *verified, const STACK_OF(X509) * sent)
{
    struct kept_path *path = NULL;
    enum reason reason = kept_path_new(verified->path, &path);
    if (reason != REASON_NONE) {
        return reason;
    }
    struct standing standing = standing_of(domain);
    kept_path_free(chain->path);
    chain->path = path;
    standing_set(&chain->standing, &standing);
    chain->crl_window = verified->crl_window;
    chain->not_before = verified->not_before;
    chain->not_after = verified->not_after;
    chain->borrowed = is_borrowed(verified->path, sent);
    memcpy(chain->anchor_sha256, verified->anchor_sha256, sizeof(chain->anchor_sha256));
    return REASON_NONE;
}

/* The kept path with this anchor at its end; NULL when memory is out. */
static STACK_OF(X509) *
    whole_path(struct peer_chain_table *table, const struct peer_chain *chain, X509 *anchor)
{
    STACK_OF(X509) *path = kept_path_parse(peer_chain_table_crypto(table), chain->path);
    if (path != NULL && (X509_up_ref(anchor) != 1 || sk_X509_push(path, anchor) <= 0)) {
        sk_X509_pop_free(path, X509_free);
        return NULL;
    }
    return path;
}

static void describe(const struct peer_chain *chain, X509 *leaf, struct svid_failure *failure)
{
    (void)snprintf(failure->claimed, sizeof(failure->claimed), "%.*s", (int)chain->id.text.len,
                   chain->id.text.ptr);
    if (leaf != NULL) {
        x509_svid_describe(leaf, failure);
    }
}

/* The anchor, if the chain would stand on this bundle as it is. */
static X509 *same_anchor(const struct peer_chain *chain, const struct credentials_domain *domain)
{
    if (chain->borrowed && domain->bundle != chain->standing.bundle) {
        return NULL;
    }
    return trust_bundle_find_anchor(domain->bundle, chain->anchor_sha256);
}

/* The path stands; asks the CRLs, and on success rests on the new objects. */
static enum reason rebind(struct peer_chain_table *table, struct peer_chain *chain,
                          const struct credentials_domain *domain, X509 *anchor,
                          enum crl_moment moment, int64_t now_s, struct svid_failure *failure)
{
    struct crl_window window = {.from = INT64_MIN, .until = INT64_MAX};
    if (domain->crl_check != CRL_CHECK_NONE) {
        STACK_OF(X509) *path = whole_path(table, chain, anchor);
        enum reason reason = REASON_OUT_OF_MEMORY;
        failure->reason = reason;
        if (path != NULL) {
            reason = crl_check_path(domain, path, moment, now_s, &window, failure);
            if (reason != REASON_NONE) {
                describe(chain, sk_X509_value(path, 0), failure);
            }
            sk_X509_pop_free(path, X509_free);
        }
        if (reason != REASON_NONE) {
            return reason;
        }
    }
    struct standing standing = standing_of(domain);
    standing_set(&chain->standing, &standing);
    chain->crl_window = window;
    failure->reason = REASON_NONE;
    return REASON_NONE;
}

bool peer_chain_admits(struct peer_chain_table *table, const struct credentials *credentials,
                       struct peer_chain *chain, int64_t now_s)
{
    const struct credentials_domain *domain = credentials_find(credentials, chain->id.trust_domain);
    if (domain == NULL || now_s < chain->not_before || chain->not_after <= now_s) {
        return false;
    }
    struct standing standing = standing_of(domain);
    if (standing_equal(&standing, &chain->standing)) {
        return chain->crl_window.from <= now_s && now_s < chain->crl_window.until;
    }
    struct svid_failure failure;
    memset(&failure, 0, sizeof(failure));
    X509 *anchor = same_anchor(chain, domain);
    return anchor != NULL &&
           rebind(table, chain, domain, anchor, CRL_ADMISSION, now_s, &failure) == REASON_NONE;
}

/* Its end is another's business (and its beginning was, once): a moment at which it was valid. */
static int64_t within_validity(const struct peer_chain *chain, int64_t now_s)
{
    if (now_s < chain->not_before) {
        return chain->not_before;
    }
    return now_s < chain->not_after ? now_s : chain->not_after - 1;
}

static enum reason verify_kept(struct peer_chain_table *table,
                               const struct credentials *credentials,
                               const struct credentials_domain *domain, struct peer_chain *chain,
                               int64_t now_s, struct svid_failure *failure)
{
    const struct crypto *crypto = peer_chain_table_crypto(table);
    STACK_OF(X509) *sent = kept_path_parse(crypto, chain->path);
    if (sent == NULL) {
        failure->reason = REASON_OUT_OF_MEMORY;
        return REASON_OUT_OF_MEMORY;
    }
    struct svid_verified verified;
    bool was_borrowed = chain->borrowed;
    enum reason reason =
        svid_verify_standing(crypto, credentials, sk_X509_value(sent, 0), sent, chain->role,
                             within_validity(chain, now_s), &verified, failure);
    if (reason == REASON_NONE) {
        reason = peer_chain_adopt(chain, domain, &verified, sent);
        failure->reason = reason;
        svid_verified_fini(&verified);
    }
    sk_X509_pop_free(sent, X509_free);
    if (reason == REASON_NONE && was_borrowed && chain->table != NULL) {
        peer_chain_detach(chain);
    }
    return reason;
}

static enum reason unknown_domain(struct peer_chain_table *table, const struct peer_chain *chain,
                                  struct svid_failure *failure)
{
    STACK_OF(X509) *path = kept_path_parse(peer_chain_table_crypto(table), chain->path);
    describe(chain, path != NULL ? sk_X509_value(path, 0) : NULL, failure);
    sk_X509_pop_free(path, X509_free);
    struct strview domain = chain->id.trust_domain;
    (void)snprintf(failure->detail, sizeof(failure->detail), "trust domain \"%.*s\"",
                   (int)domain.len, domain.ptr);
    failure->reason = REASON_SVID_UNKNOWN_TRUST_DOMAIN;
    return failure->reason;
}

static enum reason judge(struct peer_chain_table *table, const struct credentials *credentials,
                         const struct credentials_domain *domain, struct peer_chain *chain,
                         int64_t now_s, struct svid_failure *failure)
{
    if (domain == NULL) {
        return unknown_domain(table, chain, failure);
    }
    X509 *anchor = same_anchor(chain, domain);
    if (anchor != NULL) {
        return rebind(table, chain, domain, anchor, CRL_STANDING, within_validity(chain, now_s),
                      failure);
    }
    return verify_kept(table, credentials, domain, chain, now_s, failure);
}

static void remember_refusal(struct peer_chain *chain, const struct standing *standing,
                             const struct svid_failure *failure)
{
    if (failure->reason == REASON_OUT_OF_MEMORY) {
        return;
    }
    chain->refusal = mem_try_alloc(sizeof(*chain->refusal));
    if (chain->refusal != NULL) {
        standing_set(&chain->refusal->standing, standing);
        chain->refusal->failure = *failure;
    }
}

enum reason peer_chain_recheck(struct peer_chain_table *table,
                               const struct credentials *credentials, struct peer_chain *chain,
                               int64_t now_s, struct svid_failure *failure)
{
    memset(failure, 0, sizeof(*failure));
    const struct credentials_domain *domain = credentials_find(credentials, chain->id.trust_domain);
    struct standing standing = standing_of(domain);
    if (standing_equal(&standing, &chain->standing)) {
        return REASON_NONE;
    }
    if (chain->refusal != NULL && standing_equal(&standing, &chain->refusal->standing)) {
        *failure = chain->refusal->failure;
        return failure->reason;
    }
    refusal_drop(chain);
    ERR_set_mark();
    enum reason reason = judge(table, credentials, domain, chain, now_s, failure);
    (void)ERR_pop_to_mark();
    if (reason != REASON_NONE) {
        remember_refusal(chain, &standing, failure);
    }
    return reason;
}
