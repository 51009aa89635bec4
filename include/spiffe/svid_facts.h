/*
 * svid_facts: what a file of certificates is, for people: `bulkhead svid`. Any thread.
 */
#ifndef BULKHEAD_SPIFFE_SVID_FACTS_H
#define BULKHEAD_SPIFFE_SVID_FACTS_H

#include "base/errbuf.h"
#include "base/reason.h"
#include "spiffe/spiffe_id.h"
#include "spiffe/x509_svid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto;

struct svid_facts {
    char id[SPIFFE_ID_MAX + 1]; /* "" when the leaf has no valid one */
    char subject[256];
    char issuer[256];
    char serial[64];
    char key[64];
    int64_t not_before;
    int64_t not_after;
    bool is_signing;             /* a CA certificate: an anchor or intermediate */
    size_t chain_length;         /* certificates in the file */
    struct svid_failure failure; /* reason NONE: a valid X509-SVID leaf, but for time and chain */
};

/* The first certificate of a PEM text is the leaf. Private keys in it are passed over, never
   decoded. -1 with err when there is no certificate or a block is broken. */
int svid_facts_from_pem(const struct crypto *crypto, const char *pem, size_t len,
                        struct svid_facts *facts, struct errbuf *err)
    __attribute__((warn_unused_result));

#endif
