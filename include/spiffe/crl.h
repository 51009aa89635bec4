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
#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto;
struct crl_set;
struct trust_bundle;

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
/* Lists in DER, each exactly one CRL, as above. NULL with err, which says which (from 1). */
struct crl_set *crl_set_from_der(const struct crypto *crypto, const struct strview *lists,
                                 size_t count, struct errbuf *err);
/*
 * Lists that came together for several trust domains (SPIFFE Workload API 5.1), sorted: sets[i]
 * gets those that an anchor of bundles[i] has signed. Those that no anchor of any bundle has signed
 * are an intermediate's, and nobody can say of which domain: they are in every set, loose: they
 * count where an issuer of a peer's path has signed them, and mean nothing else. So a list never
 * acts on another domain's peers. sets[i] is NULL when it would be empty. Returns how many are
 * loose.
 */
size_t crl_set_sort(const struct crl_set *all, struct trust_bundle *const *bundles, size_t count,
                    struct crl_set **sets);
/* How many signatures crl_set_sort has to check at most: for each list, the anchors that have its
   issuer's name. */
size_t crl_set_sort_checks(const struct crl_set *all, struct trust_bundle *const *bundles,
                           size_t count);
/* Those of both; NULL: more than CRL_COUNT_MAX. */
struct crl_set *crl_set_join(const struct crl_set *a, const struct crl_set *b);
/* The same lists, byte by byte, in the same order. */
bool crl_set_same(const struct crl_set *a, const struct crl_set *b);
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
