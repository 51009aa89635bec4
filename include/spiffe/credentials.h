/*
 * credentials: our own SVID, and of each trust domain its bundle and CRLs: one immutable set with
 * a generation number. Counted atomically; built on control, read by all threads.
 */
#ifndef BULKHEAD_SPIFFE_CREDENTIALS_H
#define BULKHEAD_SPIFFE_CREDENTIALS_H

#include "base/errbuf.h"
#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct credentials;
struct crl_set;
struct svid_failure;
struct trust_bundle;
struct x509_svid;

enum crl_check {
    CRL_CHECK_NONE = 0, /* no CRL is configured for the domain */
    CRL_CHECK_PRESENT,  /* a CRL that is there counts, none is demanded */
    CRL_CHECK_LEAF,     /* the leaf's issuer must have one */
    CRL_CHECK_CHAIN     /* every issuer of the path must have one */
};

struct credentials_domain {
    struct trust_bundle *bundle;
    /* NULL together with a check: configured, but it could not be loaded and there is no last good
       one. Every peer of the domain is refused then. NULL without a check. */
    struct crl_set *crls;
    enum crl_check crl_check;
};

struct credentials_parts {
    struct x509_svid *own; /* may be NULL */
    const struct credentials_domain *domains;
    size_t domain_count;
    uint64_t generation;
    uint64_t identity_epoch; /* raised by the caller each time our own SPIFFE ID changes */
};

/*
 * Takes references of its own. NULL with err when two domains share an anchor or one is twice
 * there. Checks the CRLs' signatures against the anchors, which takes its time for large ones; what
 * is wrong with them refuses peers, not the set: credentials_next_crl_gap tells.
 */
struct credentials *credentials_build(const struct credentials_parts *parts, struct errbuf *err);
struct credentials *credentials_ref(struct credentials *credentials);
void credentials_unref(struct credentials *credentials);
uint64_t credentials_generation(const struct credentials *credentials);
uint64_t credentials_identity_epoch(const struct credentials *credentials);
struct x509_svid *credentials_own(const struct credentials *credentials);
/* What there is of exactly that trust domain, or NULL: then its peers are untrusted. */
const struct credentials_domain *credentials_find(const struct credentials *credentials,
                                                  struct strview trust_domain);
/* Its bundle, or NULL. */
struct trust_bundle *credentials_bundle(const struct credentials *credentials,
                                        struct strview trust_domain);
/*
 * Each anchor of the domain, valid now, whose certificates would be refused for want of a CRL that
 * is in force; start with *cursor = 0, false at the end (and when no CRL is configured). gap has
 * subject and serial of the anchor, reason (SVID_CRL_*) and detail. For warnings and metrics.
 */
bool credentials_next_crl_gap(const struct credentials *credentials, struct strview trust_domain,
                              int64_t now_s, size_t *cursor, struct svid_failure *gap);

#endif
