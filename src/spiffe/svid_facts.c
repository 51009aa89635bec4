/* Reads the first certificate of a PEM text and judges it as a leaf; the others are counted. */
#include "spiffe/svid_facts.h"

#include <string.h>

#include "spiffe/pem.h"
#include "spiffe/x509_fields.h"

static int read_leaf(X509 *leaf, struct svid_facts *facts)
{
    char text[SPIFFE_ID_MAX];
    struct spiffe_id id;
    x509_fields_name(X509_get_subject_name(leaf), facts->subject, sizeof(facts->subject));
    x509_fields_name(X509_get_issuer_name(leaf), facts->issuer, sizeof(facts->issuer));
    x509_fields_serial(leaf, facts->serial, sizeof(facts->serial));
    x509_fields_key_text(leaf, facts->key, sizeof(facts->key));
    facts->is_signing = X509_check_ca(leaf) == 1;
    if (x509_svid_check_leaf(leaf, text, &id, &facts->failure) == REASON_NONE) {
        memcpy(facts->id, id.text.ptr, id.text.len);
        facts->id[id.text.len] = '\0';
    }
    return x509_svid_validity(leaf, &facts->not_before, &facts->not_after);
}

int svid_facts_from_pem(const struct crypto *crypto, const char *pem, size_t len,
                        struct svid_facts *facts, struct errbuf *err)
{
    struct pem_reader reader = {.pem = {pem, len}};
    struct pem_block block;
    int more;
    *facts = (struct svid_facts){.failure = {.reason = REASON_NONE}};
    while ((more = pem_next(&reader, &block, err)) == 1) {
        if (!strview_equal_text(block.label, "CERTIFICATE") || facts->chain_length++ > 0) {
            continue;
        }
        X509 *leaf = pem_certificate(crypto, &block, err);
        if (leaf == NULL) {
            return -1;
        }
        int result = read_leaf(leaf, facts);
        X509_free(leaf);
        if (result != 0) {
            errbuf_set(err, "the certificate's validity can't be read");
            return -1;
        }
    }
    if (more == 0 && facts->chain_length == 0) {
        errbuf_set(err, "no certificate in it: PEM blocks \"BEGIN CERTIFICATE\" are wanted");
        return -1;
    }
    return more;
}
