/* The length of the next SEQUENCE says where it ends; what is in it is libcrypto's to read. */
#include "der_chain.h"

#include "pem.h"

int der_chain_next(const struct crypto *crypto, struct der *in, size_t *count,
                   struct x509_st **certificate, struct errbuf *err)
{
    struct der_value value;
    if (in->len == 0) {
        return 0;
    }
    ++*count;
    if (!der_next_tagged(in, DER_SEQUENCE, &value)) {
        errbuf_set(err, "certificate %zu: no DER, or cut off", *count);
        return -1;
    }
    *certificate = pem_parse_der(crypto, value.whole.ptr, value.whole.len);
    if (*certificate == NULL) {
        errbuf_set(err, "certificate %zu: no X.509 certificate", *count);
        return -1;
    }
    return 1;
}
