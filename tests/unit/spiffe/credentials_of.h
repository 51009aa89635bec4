/* credentials_of: credentials from bundles alone, without CRLs, for tests. */
#ifndef BULKHEAD_TESTS_CREDENTIALS_OF_H
#define BULKHEAD_TESTS_CREDENTIALS_OF_H

#include "spiffe/credentials.h"

#include <stdlib.h>

static inline struct credentials *credentials_of(struct x509_svid *own,
                                                 struct trust_bundle *const *bundles, size_t count,
                                                 uint64_t generation, struct errbuf *err)
{
    struct credentials_domain *domains = calloc(count + 1, sizeof(*domains));
    if (domains == NULL) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        domains[i].bundle = bundles[i];
    }
    struct credentials_parts parts = {
        .own = own, .domains = domains, .domain_count = count, .generation = generation};
    struct credentials *credentials = credentials_build(&parts, err);
    free(domains);
    return credentials;
}

#endif
