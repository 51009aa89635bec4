/*
 * crypto_memory: libcrypto's allocations, made so that what it frees while it reads a private key
 * is wiped first.
 *
 * libcrypto clears the numbers of a key that it frees, but not all the copies of the key's text and
 * DER that its decoders make on the way. They would stay in freed memory for as long as we run.
 */
#ifndef BULKHEAD_SPIFFE_CRYPTO_MEMORY_H
#define BULKHEAD_SPIFFE_CRYPTO_MEMORY_H

#include <stdbool.h>

/* Before anything else of libcrypto is used; again is fine. False: libcrypto has allocated by
   other functions already. */
bool crypto_memory_install(void);
/* From begin to end every block that libcrypto frees in this thread is wiped. Does not nest. */
void crypto_memory_wipe_begin(void);
void crypto_memory_wipe_end(void);

#endif
