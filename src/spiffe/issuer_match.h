/*
 * issuer_match: who issued this certificate, when several anchors or intermediates bear one name?
 *
 * libcrypto takes the first candidate whose name (and key identifier, where there is one) fits
 * and fails when its key turns out to be another: an old or foreign root then hides the good one.
 * Where names are ambiguous a candidate must also verify the signature. Any thread; one struct
 * belongs to one verification.
 */
#ifndef BULKHEAD_SPIFFE_ISSUER_MATCH_H
#define BULKHEAD_SPIFFE_ISSUER_MATCH_H

#include <stdbool.h>
#include <stddef.h>

struct x509_store_st;
struct x509_store_ctx_st;

struct issuer_match {
    bool by_signature;
    size_t budget; /* signatures that may still be tried: a peer chooses what it sends */
};

/* Once per store, before it is shared. */
void issuer_match_install(struct x509_store_st *store);
/* For this verification; match outlives it. Without it names decide. False: memory is out. */
bool issuer_match_use(struct x509_store_ctx_st *ctx, struct issuer_match *match)
    __attribute__((warn_unused_result));

#endif
