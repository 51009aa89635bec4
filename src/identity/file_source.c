/*
 * Credentials from files. Certificate and key are read one after the other and judged as a
 * pair: a key that is not the certificate's is an error here and never goes live.
 */
#include "identity/file_source.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

enum { CREDENTIAL_MAX_BYTES = 4 * 1024 * 1024 };

static void wipe_and_free(char *text, size_t len)
{
    if (text != NULL) {
        explicit_bzero(text, len);
        mem_free(text);
    }
}

struct x509_svid *file_source_load_svid(const struct crypto *crypto, const char *certificate_path,
                                        const char *key_path, bool *world_readable,
                                        struct errbuf *err)
{
    struct x509_svid *svid = NULL;
    char *chain = NULL;
    char *key = NULL;
    size_t chain_len = 0;
    size_t key_len = 0;
    int others_may_read = 0;

    struct errbuf key_err;
    int chain_read = file_read(certificate_path, CREDENTIAL_MAX_BYTES, &chain, &chain_len, err);
    int key_read = file_read_secret(key_path, CREDENTIAL_MAX_BYTES, &key, &key_len,
                                    &others_may_read, &key_err);
    if (chain_read != 0 || key_read != 0) {
        if (chain_read != 0 && key_read != 0) {
            struct errbuf chain_err = *err;
            errbuf_set(err, "%s; %s", chain_err.text, key_err.text);
        } else if (key_read != 0) {
            *err = key_err;
        }
        goto out;
    }
    svid = x509_svid_from_pem(crypto, chain, chain_len, key, key_len, err);
    if (svid == NULL) {
        errbuf_prefix(err, "%s and %s", certificate_path, key_path);
    }
    *world_readable = others_may_read != 0;
out:
    wipe_and_free(key, key_len);
    mem_free(chain);
    return svid;
}

struct trust_bundle *file_source_load_bundle(const struct crypto *crypto, const char *domain,
                                             const char *path, struct errbuf *err)
{
    char *data = NULL;
    size_t len = 0;
    if (file_read(path, CREDENTIAL_MAX_BYTES, &data, &len, err) != 0) {
        return NULL;
    }
    struct trust_bundle *bundle = trust_bundle_from_bytes(crypto, domain, data, len, err);
    mem_free(data);
    if (bundle == NULL) {
        errbuf_prefix(err, "%s", path);
    }
    return bundle;
}
