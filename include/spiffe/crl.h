/*
 * crl: the certificate revocation lists of one trust domain (RFC 5280 5); never used for
 * another's.
 *
 * A set is read whole or not at all. Immutable to its users (it remembers inside which keys a
 * signature was checked against), counted atomically, any thread. What it means for a path is
 * crl_check's business.
 */
#ifndef BULKHEAD_SPIFFE_CRL_H
#define BULKHEAD_SPIFFE_CRL_H

#include "base/errbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto;
struct crl_set;

enum {
    CRL_BYTES_MAX = 128 * 1024 * 1024, /* of a file; a million entries in PEM are about 70 MiB */
    CRL_COUNT_MAX = 1000               /* CRLs in one file */
};

/*
 * PEM with one or more "X509 CRL" blocks (text between them is fine), or one CRL in DER. NULL
 * with err: no CRL at all, a broken or foreign block, bytes behind the DER, more than the bounds;
 * and what must not be used as it stands: a delta CRL, an indirect one, one for some reasons or
 * for attribute certificates only, an unknown critical extension (of the list or of an entry),
 * no nextUpdate, a signature with a digest below SHA-224. Time is not looked at, and neither are
 * signatures: their keys come with the bundle and the path.
 */
struct crl_set *crl_set_from_bytes(const struct crypto *crypto, const char *data, size_t len,
                                   struct errbuf *err);
struct crl_set *crl_set_ref(struct crl_set *set);
void crl_set_unref(struct crl_set *set); /* NULL is fine */
size_t crl_set_count(const struct crl_set *set);
/* Certificates that the CRLs name as revoked. */
size_t crl_set_revoked_count(const struct crl_set *set);
/*
 * The earliest nextUpdate, in seconds since 1970: from then on some peers are refused. A CRL that
 * a newer one of the same issuer, key and scope replaces doesn't count.
 */
int64_t crl_set_next_update(const struct crl_set *set);
/* One of them, for people. */
struct crl_facts {
    char issuer[512]; /* may hold any byte but NUL: escape it when printing */
    int64_t this_update;
    int64_t next_update;
    size_t revoked;
    bool replaced; /* by a newer one of the same issuer, key and scope */
};
void crl_set_facts(const struct crl_set *set, size_t index, struct crl_facts *facts);
/* Bytes of memory that its CRLs take, nearly. */
size_t crl_set_memory(const struct crl_set *set);

#endif
