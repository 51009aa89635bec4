/*
 * credentials: our own SVID and the trust bundles: one immutable set with a generation number.
 * Counted atomically; built on control, read by all threads.
 */
#ifndef BULKHEAD_SPIFFE_CREDENTIALS_H
#define BULKHEAD_SPIFFE_CREDENTIALS_H

#include "base/errbuf.h"
#include "base/strview.h"

#include <stddef.h>
#include <stdint.h>

struct credentials;
struct trust_bundle;
struct x509_svid;

/* Takes references of its own. NULL with err when two domains share an anchor or one is twice
 * there. */
struct credentials *credentials_build(struct x509_svid *own, struct trust_bundle *const *bundles,
                                      size_t bundle_count, uint64_t generation, struct errbuf *err);
struct credentials *credentials_ref(struct credentials *credentials);
void credentials_unref(struct credentials *credentials);
uint64_t credentials_generation(const struct credentials *credentials);
struct x509_svid *credentials_own(const struct credentials *credentials);
/* The bundle of exactly that trust domain, or NULL: then its peers are untrusted. */
struct trust_bundle *credentials_bundle(const struct credentials *credentials,
                                        struct strview trust_domain);

#endif
