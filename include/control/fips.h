/*
 * fips: a host that asks for FIPS 140 cryptography, and what of that bulkhead honours, for the log
 * at start. Control thread.
 */
#ifndef BULKHEAD_CONTROL_FIPS_H
#define BULKHEAD_CONTROL_FIPS_H

#include "spiffe/crypto.h"

#include <stdbool.h>

struct fips_request {
    enum crypto_provider provider; /* what tls.provider says */
    bool kernel;                   /* /proc/sys/crypto/fips_enabled is 1 */
    enum crypto_fips wanted;       /* by the host's OpenSSL configuration */
    bool enforced;                 /* our library context takes nothing else by default */
};

/* Whether that file says 1; one that can't be read asks for nothing. */
bool fips_kernel_asks(const char *path);
/* Who asks; NULL: nobody. */
const char *fips_asked_by(const struct fips_request *request);
/* What is honoured, a sentence; NULL: nobody asks. *all: everything is. */
const char *fips_answer(const struct fips_request *request, bool *all);

#endif
