/*
 * trust_bundle: the anchors of one trust domain; never merged with another's (SPIFFE bundle 3,
 * federation 4.2 and 7.3). Immutable, counted atomically, any thread.
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

/*
 * PEM certificates. -1 (NULL) with err: no certificate, a broken block, a certificate that is no
 * CA (CVE-2024-2048), an anchor whose SPIFFE ID names another trust domain or has a path. The
 * domain is the configured one, never read from the file. Order and duplicates don't matter;
 * several anchors with one subject all count; expired ones are kept and harm nothing.
 */
struct trust_bundle *trust_bundle_from_pem(const struct crypto *crypto, const char *domain,
                                           const char *pem, size_t len, struct errbuf *err);
struct trust_bundle *trust_bundle_ref(struct trust_bundle *bundle);
void trust_bundle_unref(struct trust_bundle *bundle);
struct strview trust_bundle_domain(const struct trust_bundle *bundle);
size_t trust_bundle_count(const struct trust_bundle *bundle);
/* Anchors that are within their validity at now. */
size_t trust_bundle_count_valid(const struct trust_bundle *bundle, int64_t now_s);
/* True when both hold the same certificate; its subject goes to subject (cut at size). */
bool trust_bundle_shares_anchor(const struct trust_bundle *a, const struct trust_bundle *b,
                                char *subject, size_t size);
/* For svid_verify: a store that is never changed. */
struct x509_store_st *trust_bundle_store(const struct trust_bundle *bundle);
bool trust_bundle_has_anchor(const struct trust_bundle *bundle, const uint8_t sha256[32]);

/* Do two anchors bear one subject? Does an anchor bear this certificate's? */
bool trust_bundle_has_namesakes(const struct trust_bundle *bundle);
bool trust_bundle_has_namesake_of(const struct trust_bundle *bundle,
                                  const struct x509_st *certificate);

#endif
