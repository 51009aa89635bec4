#include "spiffe/certificate_facts.h"

#include <stdio.h>
#include <string.h>

#include <openssl/x509.h>

#include "spiffe/x509_svid.h"
#include "x509_fields.h"

void certificate_facts_read(struct x509_st *certificate, struct certificate_facts *facts)
{
    uint8_t sha256[X509_FIELDS_SHA256_SIZE];
    memset(facts, 0, sizeof(*facts));
    x509_fields_name(X509_get_subject_name(certificate), facts->subject, sizeof(facts->subject));
    x509_fields_name(X509_get_issuer_name(certificate), facts->issuer, sizeof(facts->issuer));
    x509_fields_serial(certificate, facts->serial, sizeof(facts->serial));
    x509_fields_key_text(certificate, facts->key, sizeof(facts->key));
    if (x509_fields_sha256(certificate, sha256)) {
        for (size_t i = 0; i < sizeof(sha256); i++) {
            (void)snprintf(facts->sha256 + 2 * i, 3, "%02x", sha256[i]);
        }
    }
    facts->has_validity =
        x509_svid_validity(certificate, &facts->not_before, &facts->not_after) == 0;
}
