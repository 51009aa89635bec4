/*
 * der_chain: certificates in DER, one directly behind the other, as the Workload API delivers them.
 * Any thread.
 */
#ifndef BULKHEAD_SPIFFE_DER_CHAIN_H
#define BULKHEAD_SPIFFE_DER_CHAIN_H

#include "base/errbuf.h"
#include "der.h"

struct crypto;
struct x509_st;

/* 1 with the next certificate, the caller's to free (X509_free); 0 at the end; -1 with err. count
   is raised by each. */
int der_chain_next(const struct crypto *crypto, struct der *in, size_t *count,
                   struct x509_st **certificate, struct errbuf *err)
    __attribute__((warn_unused_result));

#endif
