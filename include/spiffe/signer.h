/*
 * signer: the private key of an SVID behind a handle, so that a key that lives elsewhere (a
 * helper process, hardware) can take its place without its users changing.
 *
 * Immutable, counted (atomically), any thread. A bare EVP_PKEY is seen in spiffe/ and tls/ only.
 */
#ifndef BULKHEAD_SPIFFE_SIGNER_H
#define BULKHEAD_SPIFFE_SIGNER_H

#include "base/errbuf.h"

#include <stddef.h>

struct crypto;
struct signer;
struct evp_pkey_st;

/* From a PEM private key (PKCS#8, SEC 1 or PKCS#1; no passphrase). Text is not kept. */
struct signer *signer_from_pem(const struct crypto *crypto, const char *pem, size_t len,
                               struct errbuf *err);
/* From exactly len bytes of PKCS#8 in DER, unencrypted (RFC 5958). They are not kept. */
struct signer *signer_from_pkcs8(const struct crypto *crypto, const void *der, size_t len,
                                 struct errbuf *err);
struct signer *signer_ref(struct signer *signer);
void signer_unref(struct signer *signer); /* the last one wipes the key */
/* The key in this process; valid as long as the signer. */
struct evp_pkey_st *signer_key(const struct signer *signer);

#endif
