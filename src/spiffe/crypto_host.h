/*
 * crypto_host: the OpenSSL configuration of the host: brought into a library context, or only asked
 * whether it wants FIPS.
 *
 * For spiffe/ only. At start, one thread. The file is the one that any program with OpenSSL reads:
 * what OPENSSL_CONF names, else openssl.cnf in OpenSSL's own directory; none where OPENSSL_CONF is
 * empty or the latter does not exist.
 */
#ifndef BULKHEAD_SPIFFE_CRYPTO_HOST_H
#define BULKHEAD_SPIFFE_CRYPTO_HOST_H

#include "base/errbuf.h"
#include "spiffe/crypto.h"

#include <openssl/types.h>

/* Providers, properties and what libssl is to start from. *path is what was read, for mem_free, or
   NULL: there is none. -1 for whatever in it can't be done: a part of it would be nobody's wish. */
int crypto_host_load(OSSL_LIB_CTX *libctx, char **path, struct errbuf *err)
    __attribute__((warn_unused_result));
/* Looks at the file's text alone, and does nothing that it says. What can't be read asks for
   nothing. */
enum crypto_fips crypto_host_wants_fips(void);

#endif
