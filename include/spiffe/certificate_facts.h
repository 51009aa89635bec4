/*
 * certificate_facts: what people want to know of a certificate. Texts are for them alone: nothing
 * is ever decided by one. Any thread.
 */
#ifndef BULKHEAD_SPIFFE_CERTIFICATE_FACTS_H
#define BULKHEAD_SPIFFE_CERTIFICATE_FACTS_H

#include <stdbool.h>
#include <stdint.h>

struct x509_st;

/* Texts may hold any byte but NUL: escape them when printing. */
struct certificate_facts {
    char subject[512];
    char issuer[512];
    char serial[64];   /* hexadecimal */
    char key[64];      /* "EC P-256", "RSA 2048", "Ed25519" */
    char sha256[65];   /* of the DER, hexadecimal; "" when memory is out */
    bool has_validity; /* false: the dates can't be read */
    int64_t not_before;
    int64_t not_after;
};

void certificate_facts_read(struct x509_st *certificate, struct certificate_facts *facts);

#endif
