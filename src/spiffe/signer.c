/*
 * The key is decoded in our library context and lives in an EVP_PKEY, whose private numbers
 * libcrypto clears when it is freed. The copies that its decoders make of the text and the DER are
 * wiped because all that libcrypto frees in the meantime is (spiffe/crypto_memory.h); the text
 * itself is wiped by whoever read the file.
 */
#include "spiffe/signer.h"

#include "base/memory.h"
#include "pem.h"
#include "spiffe/crypto.h"
#include "spiffe/crypto_memory.h"
#include "x509_fields.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

struct signer {
    atomic_size_t refs;
    EVP_PKEY *key;
};

/* Never asks on a terminal: an encrypted key is an error, not a prompt. */
static int on_passphrase(char *buf, int size, int for_writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)for_writing;
    (void)arg;
    return -1;
}

/* PKCS#8's own label, or the headers of RFC 1421. */
static bool is_encrypted(const struct pem_block *block)
{
    static const char MARK[] = "Proc-Type: 4,ENCRYPTED";
    return strview_equal_text(block->label, "ENCRYPTED PRIVATE KEY") ||
           memmem(block->text.ptr, block->text.len, MARK, sizeof(MARK) - 1) != NULL;
}

/* The one private key of the text. Certificates and curve parameters beside it are no harm. */
static int find_key(const char *pem, size_t len, struct pem_block *key, struct errbuf *err)
{
    struct pem_reader reader = {.pem = {pem, len}};
    struct pem_block block;
    size_t found = 0;
    bool has_certificate = false;
    int status;
    while ((status = pem_next(&reader, &block, err)) == 1) {
        has_certificate = has_certificate || strview_equal_text(block.label, "CERTIFICATE");
        if (pem_is_private_key(&block)) {
            *key = block;
            found++;
        }
    }
    if (status < 0) {
        return -1;
    }
    if (found == 0) {
        errbuf_set(err, "no PEM private key in it%s",
                   has_certificate ? " but a certificate; are the two files exchanged?" : "");
        return -1;
    }
    if (found > 1) {
        errbuf_set(err, "more than one private key in it");
        return -1;
    }
    if (is_encrypted(key)) {
        errbuf_set(err,
                   "line %zu: the private key is encrypted; a key without a passphrase is "
                   "needed (openssl pkey -in … -out …)",
                   key->line);
        return -1;
    }
    return 0;
}

static EVP_PKEY *decode_key(const struct crypto *crypto, const struct pem_block *block)
{
    if (block->text.len > INT_MAX) {
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(block->text.ptr, (int)block->text.len);
    if (bio == NULL) {
        return NULL;
    }
    EVP_PKEY *key =
        PEM_read_bio_PrivateKey_ex(bio, NULL, on_passphrase, NULL, crypto_libctx(crypto), NULL);
    BIO_free(bio);
    return key;
}

/* Takes the key over. */
static struct signer *make_signer(EVP_PKEY *key, struct errbuf *err)
{
    char why[128];
    if (!x509_fields_key_accepted(key, why, sizeof(why))) {
        errbuf_set(err, "%s", why);
        EVP_PKEY_free(key);
        return NULL;
    }
    struct signer *signer = mem_alloc(sizeof(*signer));
    atomic_init(&signer->refs, 1);
    signer->key = key;
    return signer;
}

struct signer *signer_from_pem(const struct crypto *crypto, const char *pem, size_t len,
                               struct errbuf *err)
{
    struct pem_block block = {.line = 0};
    if (find_key(pem, len, &block, err) < 0) {
        return NULL;
    }
    ERR_set_mark();
    crypto_memory_wipe_begin();
    EVP_PKEY *key = decode_key(crypto, &block);
    crypto_memory_wipe_end();
    (void)ERR_pop_to_mark();
    if (key == NULL) {
        errbuf_set(err, "line %zu: the private key can't be decoded", block.line);
        return NULL;
    }
    struct signer *signer = make_signer(key, err);
    if (signer == NULL) {
        errbuf_prefix(err, "line %zu", block.line);
    }
    return signer;
}

static EVP_PKEY *decode_pkcs8(const struct crypto *crypto, const void *der, size_t len)
{
    const unsigned char *cursor = der;
    if (len > LONG_MAX) {
        return NULL;
    }
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &cursor, (long)len);
    EVP_PKEY *key = NULL;
    if (info != NULL && cursor == (const unsigned char *)der + len) {
        key = EVP_PKCS82PKEY_ex(info, crypto_libctx(crypto), NULL);
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

struct signer *signer_from_pkcs8(const struct crypto *crypto, const void *der, size_t len,
                                 struct errbuf *err)
{
    ERR_set_mark();
    crypto_memory_wipe_begin();
    EVP_PKEY *key = decode_pkcs8(crypto, der, len);
    crypto_memory_wipe_end();
    (void)ERR_pop_to_mark();
    if (key == NULL) {
        errbuf_set(err, "it is no unencrypted PKCS#8 key in DER");
        return NULL;
    }
    return make_signer(key, err);
}

struct signer *signer_ref(struct signer *signer)
{
    atomic_fetch_add_explicit(&signer->refs, 1, memory_order_relaxed);
    return signer;
}

void signer_unref(struct signer *signer)
{
    if (signer == NULL || atomic_fetch_sub_explicit(&signer->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    EVP_PKEY_free(signer->key);
    mem_free(signer);
}

EVP_PKEY *signer_key(const struct signer *signer)
{
    return signer->key;
}
