/*
 * svid_inspect: everything a person wants to know of a certificate file: what it is, and every
 * rule that it breaks. For tools; nothing is admitted by it. Any thread.
 */
#ifndef BULKHEAD_SPIFFE_SVID_INSPECT_H
#define BULKHEAD_SPIFFE_SVID_INSPECT_H

#include "base/errbuf.h"
#include "spiffe/certificate_facts.h"
#include "spiffe/x509_svid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto;
struct credentials;

enum svid_kind {
    SVID_KIND_LEAF = 0, /* judged by the rules for leaves */
    SVID_KIND_SIGNING   /* cA=true and no ID of a workload: judged by the rules for CAs */
};

enum { SVID_INSPECT_FAULTS_MAX = 24 };

/* Texts may hold any byte but NUL: escape them when printing. */
struct svid_inspection {
    enum svid_kind kind;
    char claimed[SPIFFE_ID_MAX + 1]; /* the first URI SAN, "" when there is none */
    struct certificate_facts facts;  /* of the first */
    size_t chain_length;
    size_t fault_count;
    struct svid_failure faults[SVID_INSPECT_FAULTS_MAX];
};

/*
 * data is PEM (leaf first, then intermediates) or one DER certificate. credentials may be NULL;
 * with them the chain of a leaf is verified too, in both roles, as a handshake would. -1 with err
 * when there is no certificate to look at.
 */
int svid_inspect(const struct crypto *crypto, const void *data, size_t len,
                 const struct credentials *credentials, int64_t now_s,
                 struct svid_inspection *inspection, struct errbuf *err)
    __attribute__((warn_unused_result));

#endif
