/*
 * Our own SVID, from PEM or DER. Stricter than needed for a handshake to succeed: a certificate
 * that our peers' verifiers would refuse is found here, at the load, with the rule that it breaks.
 */
#include "spiffe/x509_svid.h"

#include "base/assert.h"
#include "base/memory.h"
#include "der_chain.h"
#include "pem.h"
#include "spiffe/crypto.h"
#include "spiffe/signer.h"
#include "spiffe/svid_verify.h"
#include "x509_fields.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct x509_svid {
    atomic_size_t refs;
    X509 *leaf;
    STACK_OF(X509) * intermediates; /* never NULL */
    struct signer *signer;
    struct spiffe_id id; /* views into text */
    char text[SPIFFE_ID_MAX];
    int64_t not_before; /* the latest of the chain */
    int64_t not_after;  /* the earliest of the chain */
    const char *signature_algorithm;
    char key_algorithm[16];
};

static void svid_free(struct x509_svid *svid)
{
    X509_free(svid->leaf);
    sk_X509_pop_free(svid->intermediates, X509_free);
    signer_unref(svid->signer);
    mem_free(svid);
}

/* Takes it over (NULL: err is set already): the first is the leaf, a root behind it is dropped. */
static int add_certificate(struct x509_svid *svid, X509 *certificate, struct errbuf *err)
{
    if (certificate == NULL) {
        return -1;
    }
    if (svid->leaf == NULL) {
        svid->leaf = certificate;
        return 0;
    }
    if ((X509_get_extension_flags(certificate) & EXFLAG_SS) != 0) {
        X509_free(certificate); /* peers have it as their anchor, or don't trust us at all */
        return 0;
    }
    if (sk_X509_push(svid->intermediates, certificate) <= 0) {
        X509_free(certificate);
        errbuf_set(err, "memory is out");
        return -1;
    }
    return 0;
}

static int read_chain(struct x509_svid *svid, const struct crypto *crypto, const char *pem,
                      size_t len, struct errbuf *err)
{
    struct pem_reader reader = {.pem = {pem, len}};
    struct pem_block block;
    bool has_key = false;
    int status;
    while ((status = pem_next(&reader, &block, err)) == 1) {
        has_key = has_key || pem_is_private_key(&block);
        if (strview_equal_text(block.label, "CERTIFICATE")) {
            if (add_certificate(svid, pem_certificate(crypto, &block, err), err) < 0) {
                return -1;
            }
        } else if (!pem_is_private_key(&block) &&
                   !strview_equal_text(block.label, "EC PARAMETERS")) {
            errbuf_set(err, "line %zu: \"%.*s\" is no certificate", block.line,
                       (int)(block.label.len < 64 ? block.label.len : 64), block.label.ptr);
            return -1;
        }
    }
    if (status == 0 && svid->leaf == NULL) {
        errbuf_set(err, "no PEM certificate in it%s",
                   has_key ? " but a private key; are the two files exchanged?" : "");
        return -1;
    }
    return status;
}

static int read_der_chain(struct x509_svid *svid, const struct crypto *crypto, const void *chain,
                          size_t len, struct errbuf *err)
{
    struct der in = {chain, len};
    X509 *certificate = NULL;
    size_t count = 0;
    int status;
    while ((status = der_chain_next(crypto, &in, &count, &certificate, err)) == 1) {
        if (count > SVID_CHAIN_MAX + 1) { /* a root behind it is dropped */
            X509_free(certificate);
            errbuf_set(err, "a chain of at most %d certificates is accepted", SVID_CHAIN_MAX);
            return -1;
        }
        if (add_certificate(svid, certificate, err) < 0) {
            return -1;
        }
    }
    if (status == 0 && svid->leaf == NULL) {
        errbuf_set(err, "no certificate in it");
        return -1;
    }
    return status;
}

static void set_failure(struct errbuf *err, size_t index, const struct svid_failure *failure)
{
    errbuf_set(err, "certificate %zu (%s): %s%s%s", index + 1,
               failure->subject[0] != '\0' ? failure->subject : "empty subject",
               reason_sentence(failure->reason), failure->detail[0] != '\0' ? ": " : "",
               failure->detail);
}

static int narrow_validity(struct x509_svid *svid, const X509 *certificate, struct errbuf *err)
{
    int64_t not_before = 0;
    int64_t not_after = 0;
    if (x509_svid_validity(certificate, &not_before, &not_after) < 0) {
        errbuf_set(err, "a certificate's validity can't be read");
        return -1;
    }
    if (not_before > svid->not_before) {
        svid->not_before = not_before;
    }
    if (not_after < svid->not_after) {
        svid->not_after = not_after;
    }
    return 0;
}

/* Every rule but the clock's. */
static int check_chain(struct x509_svid *svid, struct errbuf *err)
{
    struct svid_failure failure;
    if (x509_svid_check_leaf(svid->leaf, svid->text, &svid->id, &failure) != REASON_NONE) {
        set_failure(err, 0, &failure);
        return -1;
    }
    svid->not_before = INT64_MIN;
    svid->not_after = INT64_MAX;
    if (narrow_validity(svid, svid->leaf, err) < 0) {
        return -1;
    }
    int count = sk_X509_num(svid->intermediates);
    if (count + 1 > SVID_CHAIN_MAX) {
        errbuf_set(err, "%d certificates; a chain of at most %d is accepted", count + 1,
                   SVID_CHAIN_MAX);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        X509 *certificate = sk_X509_value(svid->intermediates, i);
        if (x509_svid_check_signing(certificate, svid->id.trust_domain, &failure) != REASON_NONE) {
            set_failure(err, (size_t)i + 1, &failure);
            return -1;
        }
        if (narrow_validity(svid, certificate, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/*
 * Signs with the private key and verifies with the leaf's. X509_check_private_key alone compares
 * public parts, and a key file carries one that may not belong to its private number.
 */
static bool key_signs_for_leaf(const struct crypto *crypto, EVP_PKEY *private_key,
                               EVP_PKEY *public_key)
{
    static const unsigned char MESSAGE[] = "bulkhead";
    const char *digest = EVP_PKEY_get_base_id(private_key) == EVP_PKEY_ED25519 ? NULL : "SHA256";
    unsigned char signature[1024]; /* RSA 4096: 512 bytes */
    size_t len = sizeof(signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool signs = ctx != NULL &&
                 EVP_DigestSignInit_ex(ctx, NULL, digest, crypto_libctx(crypto), NULL, private_key,
                                       NULL) == 1 &&
                 EVP_DigestSign(ctx, signature, &len, MESSAGE, sizeof(MESSAGE)) == 1 &&
                 EVP_MD_CTX_reset(ctx) == 1 &&
                 EVP_DigestVerifyInit_ex(ctx, NULL, digest, crypto_libctx(crypto), NULL, public_key,
                                         NULL) == 1 &&
                 EVP_DigestVerify(ctx, signature, len, MESSAGE, sizeof(MESSAGE)) == 1;
    EVP_MD_CTX_free(ctx);
    return signs;
}

static int check_key(const struct x509_svid *svid, const struct crypto *crypto, struct errbuf *err)
{
    EVP_PKEY *key = signer_key(svid->signer);
    ERR_set_mark();
    bool matches = X509_check_private_key(svid->leaf, key) == 1 &&
                   key_signs_for_leaf(crypto, key, X509_get0_pubkey(svid->leaf));
    (void)ERR_pop_to_mark();
    if (!matches) {
        errbuf_set(err, "the private key does not belong to the certificate");
        return -1;
    }
    return 0;
}

/* Kinds of key that the checks let through have a name here. */
static void name_algorithms(struct x509_svid *svid)
{
    const EVP_PKEY *key = X509_get0_pubkey(svid->leaf);
    int kind = EVP_PKEY_get_base_id(key);
    if (kind == EVP_PKEY_RSA || kind == EVP_PKEY_EC) {
        (void)snprintf(svid->key_algorithm, sizeof(svid->key_algorithm), "%s%d",
                       kind == EVP_PKEY_RSA ? "RSA" : "EC", EVP_PKEY_get_bits(key));
    } else {
        (void)snprintf(svid->key_algorithm, sizeof(svid->key_algorithm), "%s", OBJ_nid2sn(kind));
    }
    svid->signature_algorithm = OBJ_nid2sn(X509_get_signature_nid(svid->leaf));
}

static struct x509_svid *svid_new(void)
{
    struct x509_svid *svid = mem_alloc(sizeof(*svid));
    atomic_init(&svid->refs, 1);
    svid->intermediates = sk_X509_new_null();
    ASSERT(svid->intermediates != NULL); /* a cold path: memory that is out ends us */
    return svid;
}

/* status: of reading the chain. */
static int finish_chain(struct x509_svid *svid, int status, struct errbuf *err)
{
    if (status < 0 || check_chain(svid, err) < 0) {
        errbuf_prefix(err, "certificate chain");
        return -1;
    }
    return 0;
}

/* Takes the signer over (NULL: err is set already); the SVID, or NULL and it is freed. */
static struct x509_svid *finish(struct x509_svid *svid, const struct crypto *crypto,
                                struct signer *signer, struct errbuf *err)
{
    svid->signer = signer;
    if (signer == NULL) {
        errbuf_prefix(err, "private key");
    }
    if (signer == NULL || check_key(svid, crypto, err) < 0) {
        svid_free(svid);
        return NULL;
    }
    name_algorithms(svid);
    return svid;
}

struct x509_svid *x509_svid_from_pem(const struct crypto *crypto, const char *chain_pem,
                                     size_t chain_len, const char *key_pem, size_t key_len,
                                     struct errbuf *err)
{
    struct x509_svid *svid = svid_new();
    if (finish_chain(svid, read_chain(svid, crypto, chain_pem, chain_len, err), err) < 0) {
        svid_free(svid);
        return NULL;
    }
    return finish(svid, crypto, signer_from_pem(crypto, key_pem, key_len, err), err);
}

struct x509_svid *x509_svid_from_der(const struct crypto *crypto, const void *chain,
                                     size_t chain_len, const void *key, size_t key_len,
                                     struct errbuf *err)
{
    struct x509_svid *svid = svid_new();
    if (finish_chain(svid, read_der_chain(svid, crypto, chain, chain_len, err), err) < 0) {
        svid_free(svid);
        return NULL;
    }
    return finish(svid, crypto, signer_from_pkcs8(crypto, key, key_len, err), err);
}

struct x509_svid *x509_svid_ref(struct x509_svid *svid)
{
    atomic_fetch_add_explicit(&svid->refs, 1, memory_order_relaxed);
    return svid;
}

void x509_svid_unref(struct x509_svid *svid)
{
    if (svid != NULL && atomic_fetch_sub_explicit(&svid->refs, 1, memory_order_acq_rel) == 1) {
        svid_free(svid);
    }
}

bool x509_svid_same(const struct x509_svid *a, const struct x509_svid *b)
{
    int count = sk_X509_num(a->intermediates);
    if (X509_cmp(a->leaf, b->leaf) != 0 || count != sk_X509_num(b->intermediates)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (X509_cmp(sk_X509_value(a->intermediates, i), sk_X509_value(b->intermediates, i)) != 0) {
            return false;
        }
    }
    return true;
}

const struct spiffe_id *x509_svid_id(const struct x509_svid *svid)
{
    return &svid->id;
}

int64_t x509_svid_not_before(const struct x509_svid *svid)
{
    return svid->not_before;
}

int64_t x509_svid_not_after(const struct x509_svid *svid)
{
    return svid->not_after;
}

const char *x509_svid_signature_algorithm(const struct x509_svid *svid)
{
    return svid->signature_algorithm;
}

const char *x509_svid_key_algorithm(const struct x509_svid *svid)
{
    return svid->key_algorithm;
}

X509 *x509_svid_leaf(const struct x509_svid *svid)
{
    return svid->leaf;
}

size_t x509_svid_intermediate_count(const struct x509_svid *svid)
{
    return (size_t)sk_X509_num(svid->intermediates);
}

struct x509_st *x509_svid_intermediate(const struct x509_svid *svid, size_t index)
{
    return sk_X509_value(svid->intermediates, (int)index);
}

STACK_OF(X509) * x509_svid_intermediates(const struct x509_svid *svid)
{
    return svid->intermediates;
}

struct signer *x509_svid_signer(const struct x509_svid *svid)
{
    return svid->signer;
}
