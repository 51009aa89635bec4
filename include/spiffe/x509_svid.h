/*
 * x509_svid: what the X509-SVID standard demands of a certificate, checked on the parsed X509;
 * and an own SVID (chain + signer) loaded from PEM.
 *
 * The checks are ours because OpenSSL's verification does not make them (X509-SVID 2 to 5).
 * Pure; any thread.
 */
#ifndef BULKHEAD_SPIFFE_X509_SVID_H
#define BULKHEAD_SPIFFE_X509_SVID_H

#include "base/errbuf.h"
#include "base/reason.h"
#include "spiffe/spiffe_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto;
struct signer;
struct x509_st;
struct stack_st_X509;

/* What a refusal learned of the certificate; every text may hold any byte (escape when printing).
 */
struct svid_failure {
    enum reason reason;
    char detail[384]; /* the fact in words: "keyUsage: keyCertSign", a path error, … ; may be "" */
    char claimed[320]; /* the URI SAN as found, unverified and perhaps cut; "" when there is none */
    char subject[160]; /* one line, for finding the certificate */
    char serial[64];   /* hexadecimal */
};

/*
 * Fills text (SPIFFE_ID_MAX bytes) with the leaf's SPIFFE ID and *id with views into it. Only
 * GEN_URI is read, by length, never as printed text (CVE-2021-44531, CVE-2021-44532).
 * REASON_NONE when the certificate is a valid X509-SVID leaf in itself (rules of X509-SVID 2 to
 * 4.4); its chain is svid_verify's business. On refusal *failure is filled.
 */
enum reason x509_svid_check_leaf(struct x509_st *leaf, char text[SPIFFE_ID_MAX],
                                 struct spiffe_id *id, struct svid_failure *failure)
    __attribute__((warn_unused_result));
/*
 * Every rule that the leaf breaks, not only the first: for people who repair it. How many were
 * written to faults, at most max; 0 when x509_svid_check_leaf would accept it.
 */
size_t x509_svid_leaf_faults(struct x509_st *leaf, struct svid_failure *faults, size_t max);
/* A signing certificate (intermediate or anchor): X509-SVID 3.2, 4.1, 4.3: its ID, if any, has no
   path and names trust_domain. */
enum reason x509_svid_check_signing(struct x509_st *certificate, struct strview trust_domain,
                                    struct svid_failure *failure)
    __attribute__((warn_unused_result));
/* Fills subject and serial only. */
void x509_svid_describe(struct x509_st *certificate, struct svid_failure *failure);
/* notBefore and notAfter in seconds since 1970; 9999-12-31 does not overflow. -1 when malformed. */
int x509_svid_validity(const struct x509_st *certificate, int64_t *not_before, int64_t *not_after)
    __attribute__((warn_unused_result));

/* Our own SVID. Immutable, counted atomically. */
struct x509_svid;
/*
 * Leaf first, then intermediates; the key must be the leaf's; every SVID rule must hold, except
 * validity: an expired own SVID loads (the caller warns), so that time alone never makes a valid
 * file invalid. A self-signed certificate behind the leaf (a root in the chain) is dropped.
 */
struct x509_svid *x509_svid_from_pem(const struct crypto *crypto, const char *chain_pem,
                                     size_t chain_len, const char *key_pem, size_t key_len,
                                     struct errbuf *err);
/* The same from DER: certificates one behind the other, and PKCS#8. */
struct x509_svid *x509_svid_from_der(const struct crypto *crypto, const void *chain,
                                     size_t chain_len, const void *key, size_t key_len,
                                     struct errbuf *err);
struct x509_svid *x509_svid_ref(struct x509_svid *svid);
void x509_svid_unref(struct x509_svid *svid);
/* The same certificates in the same order, and so the same key. */
bool x509_svid_same(const struct x509_svid *a, const struct x509_svid *b);
const struct spiffe_id *x509_svid_id(const struct x509_svid *svid);
int64_t x509_svid_not_before(const struct x509_svid *svid);
int64_t x509_svid_not_after(const struct x509_svid *svid); /* the earliest of the chain */
/* Of the leaf, as HAProxy names them: "RSA-SHA256", "ecdsa-with-SHA256"; "RSA2048", "EC256". */
const char *x509_svid_signature_algorithm(const struct x509_svid *svid);
const char *x509_svid_key_algorithm(const struct x509_svid *svid);
struct x509_st *x509_svid_leaf(const struct x509_svid *svid);
struct stack_st_X509 *x509_svid_intermediates(const struct x509_svid *svid);
/* The same for areas without libcrypto. */
size_t x509_svid_intermediate_count(const struct x509_svid *svid);
struct x509_st *x509_svid_intermediate(const struct x509_svid *svid, size_t index);
struct signer *x509_svid_signer(const struct x509_svid *svid);

#endif
