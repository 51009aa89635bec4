/*
 * kept_path: the certificates of a verified path, as DER, without the anchor (which is the
 * bundle's): small enough to keep for every peer, whole enough to verify again. Immutable.
 */
#ifndef BULKHEAD_SPIFFE_KEPT_PATH_H
#define BULKHEAD_SPIFFE_KEPT_PATH_H

#include "base/reason.h"
#include "spiffe/peer_chain.h"

#include <openssl/x509.h>

struct crypto;
struct kept_path;

/* path is leaf … anchor. REASON_NONE, SVID_CHAIN_TOO_LONG, SVID_MALFORMED or OUT_OF_MEMORY. */
enum reason kept_path_new(const STACK_OF(X509) * path, struct kept_path **out);
void kept_path_free(struct kept_path *path);
bool kept_path_link(const struct kept_path *path, size_t index, struct peer_chain_link *link);
/* Leaf first; the caller's (sk_X509_pop_free). NULL when memory is out. */
STACK_OF(X509) * kept_path_parse(const struct crypto *crypto, const struct kept_path *path);

#endif
