/*
 * trust_bundle: the anchors of one trust domain; never merged with another's (SPIFFE bundle 3,
 * federation 4.2 and 7.3). Read from PEM or from a SPIFFE bundle document (JSON). Immutable,
 * counted atomically, any thread.
 */
#ifndef BULKHEAD_SPIFFE_TRUST_BUNDLE_H
#define BULKHEAD_SPIFFE_TRUST_BUNDLE_H

#include "base/errbuf.h"
#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crypto;
struct trust_bundle;
struct x509_store_st;
struct x509_st;

/* Certificates in one bundle, those that are there twice counted twice: a bundle may come from
   another organisation, and the time that a certificate takes adds up. */
enum { TRUST_BUNDLE_ANCHORS_MAX = 256 };

/*
 * PEM certificates. -1 (NULL) with err: no certificate, a broken block, a certificate that is no
 * CA (CVE-2024-2048), an anchor whose SPIFFE ID names another trust domain or has a path, more than
 * TRUST_BUNDLE_ANCHORS_MAX. The domain is the configured one, never read from the file. Order and
 * duplicates don't matter; several anchors with one subject all count; expired ones are kept and
 * harm nothing.
 */
struct trust_bundle *trust_bundle_from_pem(const struct crypto *crypto, const char *domain,
                                           const char *pem, size_t len, struct errbuf *err);

enum {
    TRUST_BUNDLE_JSON_MAX = 1024 * 1024, /* bytes of a bundle document */
    TRUST_BUNDLE_JSON_DEPTH_MAX = 16     /* objects and arrays within each other; a bundle has 4 */
};

/*
 * A SPIFFE bundle document (SPIFFE bundle 4: a JWK set). Each entry of `keys` whose `use` is
 * exactly "x509-svid" and whose `kty` is known (EC, RSA, OKP) gives one anchor, the first
 * certificate of its x5c; it obeys every rule for anchors in PEM. Entries of another use, of an
 * unknown kty or without x5c are skipped, as the standard wants, and so are unknown parameters.
 *
 * A document whose `keys` leave no anchor, {"keys": []} above all, is valid and means that every
 * SVID of the domain is revoked (bundle 4.1.3): the result has no anchor and admits nobody. NULL
 * with err, never a part of it: no JSON object, a name twice in one object, no `keys`, bytes
 * behind the document, U+0000 in a string, more than the bounds above, and an x509-svid entry
 * whose x5c is no array of standard base64 (RFC 7517 4.7) with one certificate in its first
 * string: skipping that one would revoke a root without a word.
 */
struct trust_bundle *trust_bundle_from_json(const struct crypto *crypto, const char *domain,
                                            const char *text, size_t len, struct errbuf *err);
/*
 * Certificates in DER, one directly behind the other (SPIFFE Workload API 5.1). No bytes at all
 * make a bundle without an anchor, which admits nobody; else each must be an anchor, as in PEM.
 */
struct trust_bundle *trust_bundle_from_der(const struct crypto *crypto, const char *domain,
                                           const void *der, size_t len, struct errbuf *err);
/*
 * Two bundles of one domain by two who don't agree: what both trust. NULL with err when the anchors
 * that they share make no bundle.
 */
struct trust_bundle *trust_bundle_common(const struct trust_bundle *a, const struct trust_bundle *b,
                                         struct errbuf *err);
/* The same anchors. */
bool trust_bundle_same(const struct trust_bundle *a, const struct trust_bundle *b);
/* Either form, by content: JSON when the first byte that is no blank is '{', else PEM. */
struct trust_bundle *trust_bundle_from_bytes(const struct crypto *crypto, const char *domain,
                                             const char *data, size_t len, struct errbuf *err);
/* Build-time and run-time version texts of jansson, which reads the JSON. */
const char *trust_bundle_json_build_version(void);
const char *trust_bundle_json_run_version(void);
struct trust_bundle *trust_bundle_ref(struct trust_bundle *bundle);
void trust_bundle_unref(struct trust_bundle *bundle);
struct strview trust_bundle_domain(const struct trust_bundle *bundle);
size_t trust_bundle_count(const struct trust_bundle *bundle);
/* The numbers of a bundle document; false when it has none, or when the bundle came as PEM. */
bool trust_bundle_sequence(const struct trust_bundle *bundle, uint64_t *sequence);
bool trust_bundle_refresh_hint_s(const struct trust_bundle *bundle, uint64_t *seconds);
/* The anchors in no order that means anything; NULL beyond the last. Lives as long as the bundle.
 */
struct x509_st *trust_bundle_anchor(const struct trust_bundle *bundle, size_t index);
/* Anchors that can end a path now: self-signed, and within their validity. */
size_t trust_bundle_count_valid(const struct trust_bundle *bundle, int64_t now_s);
/*
 * True when one CA key is in both, in the same certificate or in two: its holder could mint the IDs
 * of both. The subject that it bears in a goes to subject (cut at size).
 */
bool trust_bundle_shares_anchor(const struct trust_bundle *a, const struct trust_bundle *b,
                                char *subject, size_t size);
/* For svid_verify: a store that is never changed. */
struct x509_store_st *trust_bundle_store(const struct trust_bundle *bundle);
bool trust_bundle_has_anchor(const struct trust_bundle *bundle, const uint8_t sha256[32]);
/* The anchor with that hash, or NULL. Lives as long as the bundle. */
struct x509_st *trust_bundle_find_anchor(const struct trust_bundle *bundle,
                                         const uint8_t sha256[32]);

/* Do two anchors bear one subject? Does an anchor bear this certificate's? */
bool trust_bundle_has_namesakes(const struct trust_bundle *bundle);
bool trust_bundle_has_namesake_of(const struct trust_bundle *bundle,
                                  const struct x509_st *certificate);

#endif
