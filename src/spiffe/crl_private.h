/* crl_private: one CRL, for crl.c (the set), crl_parse.c (its bytes) and crl_check.c (its use). */
#ifndef BULKHEAD_SPIFFE_CRL_PRIVATE_H
#define BULKHEAD_SPIFFE_CRL_PRIVATE_H

#include "der.h"
#include "spiffe/crl.h"
#include "x509_fields.h"

#include <stdatomic.h>
#include <stdbool.h>

#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum { CRL_MEMO_SIZE = 32, CRL_NO_REASON_CODE = -1, CRL_REMOVE_FROM_CRL = 8 };

/* Is the signature by the key of this certificate? Written once, then only read. */
struct crl_memo {
    atomic_uint state; /* enum in crl.c */
    uint8_t certificate_sha256[X509_FIELDS_SHA256_SIZE];
};

struct crl {
    atomic_size_t refs; /* sets that it is in */
    uint8_t *bytes;     /* the DER of it all; the rest views into it */
    size_t len;
    struct der tbs;     /* what is signed */
    struct der revoked; /* the entries, one SEQUENCE after the other */
    struct der idp;     /* issuingDistributionPoint as it stands; empty when there is none */
    X509_NAME *issuer;
    X509_ALGOR *algorithm;
    ASN1_BIT_STRING *signature;
    ASN1_OCTET_STRING *key_id; /* authorityKeyIdentifier's; NULL when there is none */
    GENERAL_NAMES *point;      /* covers only certificates that name this point; NULL: all */
    bool only_leaves;
    bool only_cas;
    int64_t this_update;
    int64_t next_update;
    uint32_t *slots;   /* offset of an entry in revoked + 1, by hash of the serial; 0: free */
    size_t slot_count; /* a power of two, at least twice the entries; 0 without any */
    size_t revoked_count;
    struct crl_memo memo[CRL_MEMO_SIZE];
};

struct crl_set {
    atomic_size_t refs;
    const struct crypto *crypto;
    struct crl **crls;
    size_t count;
    size_t loose; /* so many, the last ones, count only where an issuer of the path signed them */
};

/* An empty one, and a list into it, whose reference it takes over. */
struct crl_set *crl_set_begin(const struct crypto *crypto);
void crl_set_add(struct crl_set *set, struct crl *crl);

struct crl_entry {
    struct der serial; /* the octets of the INTEGER */
    struct der_value date;
    int reason_code; /* CRL_NO_REASON_CODE when it has none */
};

/* Takes bytes (mem_free) over, on failure too. NULL with err. */
struct crl *crl_parse(uint8_t *bytes, size_t len, struct errbuf *err);
struct crl *crl_ref(struct crl *crl);
void crl_unref(struct crl *crl); /* NULL is fine */
/* Takes the next entry; false at the end. On -1 it is broken, and why says how. */
int crl_next_entry(struct der *revoked, struct crl_entry *entry, const char **why);
/* The octets of a serial's INTEGER. True when it stands in the list. */
bool crl_find(const struct crl *crl, struct der serial, struct crl_entry *entry);
/* The date of an entry in seconds; false when it can't be read. */
bool crl_entry_date(const struct crl_entry *entry, int64_t *seconds);

enum crl_signature {
    CRL_SIGNATURE_UNKNOWN = 0, /* memory is out: it may be the one that revokes */
    CRL_SIGNATURE_GOOD,
    CRL_SIGNATURE_BAD
};

/* Is the CRL signed by the issuer's key? Remembered for the first CRL_MEMO_SIZE issuers. */
enum crl_signature crl_signed_by(const struct crl_set *set, struct crl *crl, X509 *issuer)
    __attribute__((warn_unused_result));

#endif
