/*
 * Credentials from files. Certificate and key are read one after the other and judged as a
 * pair: a key that is not the certificate's is an error here and never goes live.
 */
#include "identity/file_source.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "spiffe/crl.h"
#include "spiffe/crypto.h"
#include "spiffe/signer.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

enum { CREDENTIAL_MAX_BYTES = 4 * 1024 * 1024, PAIR_TRIES = 3 };

static void wipe_and_free(char *text, size_t len)
{
    if (text != NULL) {
        explicit_bzero(text, len);
        mem_free(text);
    }
}

/* What both files held, read as one step. */
struct pair {
    char *chain;
    size_t chain_len;
    char *key;
    size_t key_len;
    struct file_key_facts facts;
};

static void pair_fini(struct pair *pair)
{
    wipe_and_free(pair->key, pair->key_len);
    mem_free(pair->chain);
    *pair = (struct pair){.chain = NULL};
}

static int read_pair(struct pair *pair, const char *certificate_path, const char *key_path,
                     struct errbuf *err)
{
    struct errbuf key_err;
    int others_may_read = 0;
    int chain_read =
        file_read(certificate_path, CREDENTIAL_MAX_BYTES, &pair->chain, &pair->chain_len, err);
    int key_read = file_read_secret(key_path, CREDENTIAL_MAX_BYTES, &pair->key, &pair->key_len,
                                    &others_may_read, &key_err);
    pair->facts.world_readable = others_may_read != 0;
    pair->facts.at_fault = chain_read == 0 && key_read != 0;
    if (chain_read != 0 && key_read != 0) {
        struct errbuf chain_err = *err;
        errbuf_set(err, "%s; %s", chain_err.text, key_err.text);
    } else if (key_read != 0) {
        *err = key_err;
    }
    return chain_read == 0 && key_read == 0 ? 0 : -1;
}

/* Was the certificate exchanged while the key was being read? */
static bool is_torn(const struct pair *pair, const char *certificate_path)
{
    struct errbuf err;
    char *again = NULL;
    size_t len = 0;
    if (file_read(certificate_path, CREDENTIAL_MAX_BYTES, &again, &len, &err) != 0) {
        return true;
    }
    bool same = len == pair->chain_len && memcmp(again, pair->chain, len) == 0;
    mem_free(again);
    return !same;
}

/* Why the two make no SVID: the key alone, or the certificate, or that they don't match. */
static struct x509_svid *make_svid(const struct crypto *crypto, struct pair *pair,
                                   const char *certificate_path, const char *key_path,
                                   struct errbuf *err)
{
    struct x509_svid *svid =
        x509_svid_from_pem(crypto, pair->chain, pair->chain_len, pair->key, pair->key_len, err);
    if (svid != NULL) {
        return svid;
    }
    struct errbuf key_err;
    struct signer *key = signer_from_pem(crypto, pair->key, pair->key_len, &key_err);
    pair->facts.at_fault = key == NULL;
    if (key == NULL) {
        *err = key_err;
        errbuf_prefix(err, "%s", key_path);
    } else {
        errbuf_prefix(err, "%s and %s", certificate_path, key_path);
    }
    signer_unref(key);
    return NULL;
}

struct x509_svid *file_source_load_svid(const struct crypto *crypto, const char *certificate_path,
                                        const char *key_path, struct file_key_facts *key,
                                        struct errbuf *err)
{
    struct pair pair = {.chain = NULL};
    struct x509_svid *svid = NULL;
    for (int tries = 0; tries < PAIR_TRIES; tries++) {
        pair_fini(&pair);
        if (read_pair(&pair, certificate_path, key_path, err) != 0) {
            goto out;
        }
        if (!is_torn(&pair, certificate_path)) {
            break;
        }
    }
    svid = make_svid(crypto, &pair, certificate_path, key_path, err);
out:
    *key = pair.facts;
    pair_fini(&pair);
    return svid;
}

static bool make_digest(const struct crypto *crypto, const char *data, size_t len,
                        uint8_t sha256[32])
{
    size_t written = 0;
    return EVP_Q_digest(crypto_libctx(crypto), "SHA256", NULL, data, len, sha256, &written) == 1;
}

/* True when the content is what it was; else the new digest, or none, is in *fresh. */
static bool is_same(const struct crypto *crypto, const char *data, size_t len,
                    const struct file_digest *digest, struct file_digest *fresh)
{
    fresh->known = make_digest(crypto, data, len, fresh->sha256);
    return fresh->known && digest->known &&
           memcmp(fresh->sha256, digest->sha256, sizeof(fresh->sha256)) == 0;
}

struct trust_bundle *file_source_load_bundle(const struct crypto *crypto, const char *domain,
                                             const char *path, struct trust_bundle *former,
                                             struct file_digest *digest, struct errbuf *err)
{
    char *data = NULL;
    size_t len = 0;
    struct file_digest fresh;
    if (file_read(path, CREDENTIAL_MAX_BYTES, &data, &len, err) != 0) {
        return NULL;
    }
    if (is_same(crypto, data, len, digest, &fresh) && former != NULL) {
        mem_free(data);
        return trust_bundle_ref(former);
    }
    struct trust_bundle *bundle = trust_bundle_from_bytes(crypto, domain, data, len, err);
    mem_free(data);
    if (bundle == NULL) {
        errbuf_prefix(err, "%s", path);
        return NULL;
    }
    *digest = fresh;
    return bundle;
}

struct crl_set *file_source_load_crls(const struct crypto *crypto, const char *path,
                                      struct crl_set *former, struct file_digest *digest,
                                      struct errbuf *err)
{
    char *data = NULL;
    size_t len = 0;
    struct file_digest fresh;
    if (file_read(path, CRL_BYTES_MAX, &data, &len, err) != 0) {
        return NULL;
    }
    if (is_same(crypto, data, len, digest, &fresh) && former != NULL) {
        mem_free(data);
        return crl_set_ref(former);
    }
    struct crl_set *crls = crl_set_from_bytes(crypto, data, len, err);
    mem_free(data);
    if (crls == NULL) {
        errbuf_prefix(err, "%s", path);
        return NULL;
    }
    *digest = fresh;
    return crls;
}
