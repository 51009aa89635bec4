/*
 * A host asks in one of three ways: by its kernel (which no stock OpenSSL looks at), by activating
 * the FIPS module, or by default properties that leave nothing else.
 */
#include "control/fips.h"

#include <stdio.h>

bool fips_kernel_asks(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false; /* no kernel with FIPS has it not */
    }
    int first = fgetc(file);
    (void)fclose(file);
    return first == '1';
}

const char *fips_asked_by(const struct fips_request *request)
{
    switch (request->wanted) {
    case CRYPTO_FIPS_PROPERTIES:
        return "default_properties";
    case CRYPTO_FIPS_PROVIDER:
        return "fips module";
    case CRYPTO_FIPS_NONE:
        break;
    }
    return request->kernel ? "kernel" : NULL;
}

const char *fips_answer(const struct fips_request *request, bool *all)
{
    *all = false;
    if (fips_asked_by(request) == NULL) {
        return NULL;
    }
    if (request->provider != CRYPTO_SYSTEM) {
        return "nothing of it is honoured: all cryptography is that of OpenSSL's default provider, "
               "which is no FIPS module; tls.provider: system honours the host's OpenSSL "
               "configuration";
    }
    if (request->enforced) {
        *all = true;
        return "honoured: every algorithm comes from a FIPS module, and TLS offers what is left of "
               "bulkhead's own list";
    }
    if (request->wanted == CRYPTO_FIPS_PROVIDER) {
        return "honoured in part: the FIPS module is active, but no default_properties demand it, "
               "so that algorithms come from any active provider";
    }
    return "not honoured: the kernel is in FIPS mode, but the host's OpenSSL configuration "
           "activates no FIPS module";
}
