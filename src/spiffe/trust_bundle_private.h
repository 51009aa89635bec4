/*
 * trust_bundle_private: how a bundle is put together, for the readers of its forms.
 *
 *     trust_bundle_begin → trust_bundle_add … → trust_bundle_finish (or trust_bundle_discard)
 */
#ifndef BULKHEAD_SPIFFE_TRUST_BUNDLE_PRIVATE_H
#define BULKHEAD_SPIFFE_TRUST_BUNDLE_PRIVATE_H

#include "spiffe/trust_bundle.h"

/* Of a bundle document. */
struct bundle_numbers {
    bool has_sequence;
    bool has_refresh_hint;
    uint64_t sequence;
    uint64_t refresh_hint_s;
};

/* Checks the domain's name. NULL with err. */
struct trust_bundle *trust_bundle_begin(const struct crypto *crypto, const char *domain,
                                        struct errbuf *err);
/* Takes the certificate over, on failure too. -1 with err when it is no anchor for this domain. */
int trust_bundle_add(struct trust_bundle *bundle, struct x509_st *certificate, struct errbuf *err)
    __attribute__((warn_unused_result));
void trust_bundle_set_numbers(struct trust_bundle *bundle, const struct bundle_numbers *numbers);
/* The bundle, ready for use; NULL with err, and then it is freed. */
struct trust_bundle *trust_bundle_finish(struct trust_bundle *bundle, struct errbuf *err)
    __attribute__((warn_unused_result));
void trust_bundle_discard(struct trust_bundle *bundle);

#endif
