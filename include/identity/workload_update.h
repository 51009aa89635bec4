/*
 * workload_update: what one message of the Workload API means for us: our own SVID, the bundle of
 * each trust domain, the CRLs of each. Complete: what is not in it is withdrawn (Workload API 4.3,
 * 4.4). Immutable, counted atomically.
 */
#ifndef BULKHEAD_IDENTITY_WORKLOAD_UPDATE_H
#define BULKHEAD_IDENTITY_WORKLOAD_UPDATE_H

#include "base/errbuf.h"

#include <stdbool.h>
#include <stddef.h>

struct crl_set;
struct crypto;
struct trust_bundle;
struct workload_response;
struct x509_svid;

struct workload_domain {
    char *name;
    struct trust_bundle *bundle;
    struct crl_set *crls; /* NULL: none */
};

enum {
    WORKLOAD_NOTE_SIZE = 512,
    WORKLOAD_CRL_CHECKS_MAX = 4000 /* CRLs times the anchors that have their issuers' names */
};

struct workload_update {
    struct x509_svid *own; /* NULL: withdrawn, note says why */
    struct workload_domain *domains;
    size_t domain_count;
    size_t svid_count;             /* in the message */
    size_t loose_crls;             /* that no anchor of a bundle has signed */
    size_t kept;                   /* federated bundles that can't be used: the former one counts */
    char note[WORKLOAD_NOTE_SIZE]; /* why there is no own SVID; else the first that was kept and
                                      why; "". May hold any byte: escape it */
};

/* Which of several SVIDs is ours. NULL or "": any. */
struct workload_choice {
    const char *spiffe_id;
    const char *hint;
};

/*
 * The chosen SVID is the first that fits; when none does, ours is withdrawn. NULL with err, and
 * then nothing of the message counts: an SPIFFE ID or trust domain that is none; the chosen SVID's
 * chain, key or ID don't agree or break a rule; a bundle of an SVID's own domain that is none or
 * has no anchor, or two for one domain that differ; a CRL that can't be used; more than
 * WORKLOAD_CRL_CHECKS_MAX signatures to check before it is known whose each CRL is.
 *
 * A federated bundle that can't be used is its domain's matter alone: the one that former has for
 * it counts on, and none if there is none. One that holds the key of an anchor of our own domain,
 * or of another SVID's, can't be used: CA certificates are public, and copying ours must not take
 * them out of force. What is as it was in former (may be NULL) is the same object.
 */
struct workload_update *workload_update_new(const struct crypto *crypto,
                                            const struct workload_response *response,
                                            const struct workload_choice *choice,
                                            const struct workload_update *former,
                                            struct errbuf *err);
/* The same without an SVID of our own: the agent has taken it away. */
struct workload_update *workload_update_withdrawn(const struct workload_update *former,
                                                  const char *why);
struct workload_update *workload_update_ref(struct workload_update *update);
void workload_update_unref(struct workload_update *update); /* NULL is fine */
/* Nothing that counts is another. */
bool workload_update_same(const struct workload_update *a, const struct workload_update *b);

#endif
