/*
 * cert_builder: certificates with chosen defects, made in memory by libcrypto.
 *
 * cert_leaf() and cert_ca() describe sound ones; a test changes a field and builds. What cannot
 * be built (memory, a bad description) ends the test program.
 */
#ifndef BULKHEAD_TESTS_CERT_BUILDER_H
#define BULKHEAD_TESTS_CERT_BUILDER_H

#include "base/errbuf.h"
#include "spiffe/crypto.h"
#include "test_provider.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define CERT_MUST(expression)                                                             \
    do {                                                                                  \
        if (!(expression)) {                                                              \
            fprintf(stderr, "%s:%d: can't build: %s\n", __FILE__, __LINE__, #expression); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

enum { CERT_NOW = 1800000000, CERT_DAY = 86400, CERT_NAMES_MAX = 160 };

struct cert_name {
    int type; /* GEN_URI, GEN_DNS, GEN_EMAIL */
    const char *bytes;
    size_t len; /* 0: strlen */
};

struct cert_spec {
    const char *cn; /* NULL: an empty subject */
    struct cert_name names[CERT_NAMES_MAX];
    size_t name_count; /* 0: no SAN extension */
    bool san_critical;
    bool san_trailing_bytes;
    bool san_twice;
    const char *san_raw; /* instead of names: the extension's octets */
    size_t san_raw_len;
    const char *basic_constraints; /* as in openssl.cnf; NULL: absent */
    const char *key_usage;
    const char *extended_key_usage;
    const char *name_constraints;
    const char *policy_constraints;
    const char *crl_distribution_points;
    const char *private_extension; /* "critical" or "plain" */
    bool private_twice;
    bool key_identifiers;
    long version; /* as encoded: 2 is v3 */
    bool no_extensions;
    int64_t not_before;
    int64_t not_after;
    const EVP_MD *digest; /* NULL: what suits the issuer's key */
};

static inline struct cert_spec cert_leaf(const char *id)
{
    struct cert_spec spec = {.cn = "leaf",
                             .names = {{GEN_URI, id, 0}},
                             .name_count = 1,
                             .basic_constraints = "critical,CA:FALSE",
                             .key_usage = "critical,digitalSignature",
                             .extended_key_usage = "serverAuth,clientAuth",
                             .key_identifiers = true,
                             .version = 2,
                             .not_before = CERT_NOW - CERT_DAY,
                             .not_after = CERT_NOW + CERT_DAY};
    return spec;
}

static inline struct cert_spec cert_ca(const char *cn)
{
    struct cert_spec spec = {.cn = cn,
                             .basic_constraints = "critical,CA:TRUE",
                             .key_usage = "critical,keyCertSign,cRLSign",
                             .key_identifiers = true,
                             .version = 2,
                             .not_before = CERT_NOW - 10 * CERT_DAY,
                             .not_after = CERT_NOW + 10 * CERT_DAY};
    return spec;
}

static inline void cert_add_name(struct cert_spec *spec, int type, const char *bytes, size_t len)
{
    CERT_MUST(spec->name_count < CERT_NAMES_MAX);
    spec->names[spec->name_count++] = (struct cert_name){type, bytes, len};
}

/* Keys and certificates are made with all algorithms of libcrypto, whatever the context under test
   lacks: a bad certificate must be there to be refused. */
static inline OSSL_LIB_CTX *cert_maker(const struct crypto *crypto)
{
    CERT_MUST(crypto != NULL); /* without one libcrypto's memory is not set up */
    return NULL;
}

static inline EVP_PKEY *cert_ec_key(const struct crypto *crypto, const char *curve)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(cert_maker(crypto), NULL, "EC", curve);
    CERT_MUST(key != NULL);
    return key;
}

static inline EVP_PKEY *cert_rsa_key(const struct crypto *crypto, size_t bits)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(cert_maker(crypto), NULL, "RSA", bits);
    CERT_MUST(key != NULL);
    return key;
}

static inline EVP_PKEY *cert_ed25519_key(const struct crypto *crypto)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(cert_maker(crypto), NULL, "ED25519");
    CERT_MUST(key != NULL);
    return key;
}

/* An EC key whose public form spells the curve out. */
static inline EVP_PKEY *cert_explicit_key(const struct crypto *crypto, const char *curve)
{
    EVP_PKEY *key = NULL;
    char name[32];
    char explicit_form[] = OSSL_PKEY_EC_ENCODING_EXPLICIT;
    (void)snprintf(name, sizeof(name), "%s", curve);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, name, 0),
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, explicit_form, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(cert_maker(crypto), "EC", NULL);
    CERT_MUST(ctx != NULL && EVP_PKEY_keygen_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_params(ctx, params) == 1 && EVP_PKEY_generate(ctx, &key) == 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* Only the public half, never generated: a large key costs nothing to make. */
static inline EVP_PKEY *cert_fake_rsa_key(const struct crypto *crypto, int bits, int exponent_bits)
{
    BIGNUM *n = BN_new();
    BIGNUM *e = BN_new();
    CERT_MUST(BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD) == 1);
    CERT_MUST(BN_rand(e, exponent_bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD) == 1);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    CERT_MUST(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1);
    CERT_MUST(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(cert_maker(crypto), "RSA", NULL);
    EVP_PKEY *key = NULL;
    CERT_MUST(EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return key;
}

static inline void cert_add_conf(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    if (value == NULL) {
        return;
    }
    X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CERT_MUST(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static inline void cert_add_octets(X509 *certificate, ASN1_OBJECT *object, bool critical,
                                   const unsigned char *data, size_t len)
{
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    CERT_MUST(ASN1_OCTET_STRING_set(octets, data, (int)len) == 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, octets);
    CERT_MUST(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(octets);
}

static inline size_t cert_san_der(const struct cert_spec *spec, unsigned char **der)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    for (size_t i = 0; i < spec->name_count; i++) {
        const struct cert_name *from = &spec->names[i];
        size_t len = from->len > 0 ? from->len : strlen(from->bytes);
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        CERT_MUST(ASN1_STRING_set(text, from->bytes, (int)len) == 1);
        GENERAL_NAME_set0_value(name, from->type, text);
        CERT_MUST(sk_GENERAL_NAME_push(names, name) > 0);
    }
    *der = NULL;
    int len = i2d_GENERAL_NAMES(names, der);
    CERT_MUST(len > 0);
    GENERAL_NAMES_free(names);
    return (size_t)len;
}

static inline void cert_add_san(X509 *certificate, const struct cert_spec *spec)
{
    ASN1_OBJECT *object = OBJ_nid2obj(NID_subject_alt_name);
    if (spec->san_raw != NULL) {
        cert_add_octets(certificate, object, spec->san_critical,
                        (const unsigned char *)spec->san_raw, spec->san_raw_len);
        return;
    }
    if (spec->name_count == 0) {
        return;
    }
    unsigned char *der = NULL;
    size_t len = cert_san_der(spec, &der);
    der = OPENSSL_realloc(der, len + 2);
    CERT_MUST(der != NULL);
    memcpy(der + len, "\x05\x00", 2); /* an ASN.1 NULL behind the SEQUENCE */
    for (int i = 0; i < (spec->san_twice ? 2 : 1); i++) {
        cert_add_octets(certificate, object, spec->san_critical, der,
                        len + (spec->san_trailing_bytes ? 2 : 0));
    }
    OPENSSL_free(der);
}

static inline void cert_add_extensions(X509 *certificate, X509 *issuer,
                                       const struct cert_spec *spec)
{
    cert_add_conf(certificate, issuer, NID_basic_constraints, spec->basic_constraints);
    cert_add_conf(certificate, issuer, NID_key_usage, spec->key_usage);
    cert_add_conf(certificate, issuer, NID_ext_key_usage, spec->extended_key_usage);
    cert_add_conf(certificate, issuer, NID_name_constraints, spec->name_constraints);
    cert_add_conf(certificate, issuer, NID_policy_constraints, spec->policy_constraints);
    cert_add_conf(certificate, issuer, NID_crl_distribution_points, spec->crl_distribution_points);
    cert_add_san(certificate, spec);
    if (spec->key_identifiers) {
        cert_add_conf(certificate, issuer, NID_subject_key_identifier, "hash");
        if (X509_get_ext_by_NID(issuer, NID_subject_key_identifier, -1) >= 0) {
            cert_add_conf(certificate, issuer, NID_authority_key_identifier, "keyid:always");
        }
    }
    if (spec->private_extension != NULL) {
        ASN1_OBJECT *object = OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1);
        bool critical = strcmp(spec->private_extension, "critical") == 0;
        for (int i = 0; i < (spec->private_twice ? 2 : 1); i++) {
            cert_add_octets(certificate, object, critical, (const unsigned char *)"\x05\x00", 2);
        }
        ASN1_OBJECT_free(object);
    }
}

/* Through its DER, so that the certificate is what a peer's would be after parsing. */
static inline X509 *cert_reparse(const struct crypto *crypto, X509 *certificate)
{
    unsigned char *der = NULL;
    int len = i2d_X509(certificate, &der);
    CERT_MUST(len > 0);
    const unsigned char *cursor = der;
    X509 *parsed = X509_new_ex(crypto_libctx(crypto), NULL);
    ASN1_VALUE *value = (ASN1_VALUE *)parsed;
    CERT_MUST(ASN1_item_d2i(&value, &cursor, len, ASN1_ITEM_rptr(X509)) != NULL);
    OPENSSL_free(der);
    return parsed;
}

/* OpenSSL 3.5 signs what has extensions as version 3, whatever was set: signed anew as it was. */
static inline void cert_keep_version(X509 *certificate, long version, EVP_PKEY *key,
                                     const EVP_MD *digest)
{
    if (X509_get_version(certificate) == version) {
        return;
    }
    CERT_MUST(X509_set_version(certificate, version) == 1);
    unsigned char *der = NULL;
    int len = i2d_re_X509_tbs(certificate, &der);
    unsigned char signature[1024];
    size_t size = sizeof(signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CERT_MUST(len > 0 && EVP_DigestSignInit(ctx, NULL, digest, NULL, key) == 1 &&
              EVP_DigestSign(ctx, signature, &size, der, (size_t)len) == 1);
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    const ASN1_BIT_STRING *kept;
    X509_get0_signature(&kept, NULL, certificate);
    CERT_MUST(ASN1_STRING_set((ASN1_STRING *)(uintptr_t)kept, signature, (int)size) == 1);
}

/* issuer NULL: self-signed. The caller frees. */
static inline X509 *cert_build(const struct crypto *crypto, const struct cert_spec *spec,
                               EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *certificate = X509_new_ex(cert_maker(crypto), NULL);
    unsigned char serial_bytes[8];
    CERT_MUST(RAND_bytes(serial_bytes, sizeof(serial_bytes)) == 1);
    serial_bytes[0] &= 0x7f;
    BIGNUM *serial = BN_bin2bn(serial_bytes, sizeof(serial_bytes), NULL);
    CERT_MUST(X509_set_version(certificate, spec->version) == 1);
    CERT_MUST(BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) != NULL);
    BN_free(serial);
    CERT_MUST(ASN1_TIME_set(X509_getm_notBefore(certificate), spec->not_before) != NULL);
    CERT_MUST(ASN1_TIME_set(X509_getm_notAfter(certificate), spec->not_after) != NULL);
    X509_NAME *subject = X509_get_subject_name(certificate);
    if (spec->cn != NULL) {
        CERT_MUST(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                             (const unsigned char *)spec->cn, -1, -1, 0) == 1);
    }
    X509 *signer = issuer != NULL ? issuer : certificate;
    EVP_PKEY *signing_key = issuer != NULL ? issuer_key : key;
    CERT_MUST(X509_set_issuer_name(certificate, X509_get_subject_name(signer)) == 1);
    CERT_MUST(X509_set_pubkey(certificate, key) == 1);
    if (!spec->no_extensions) {
        cert_add_extensions(certificate, signer, spec);
    }
    const EVP_MD *digest = spec->digest;
    if (digest == NULL && EVP_PKEY_get_base_id(signing_key) != EVP_PKEY_ED25519) {
        digest = EVP_sha256();
    }
    CERT_MUST(X509_sign(certificate, signing_key, digest) > 0);
    cert_keep_version(certificate, spec->version, signing_key, digest);
    X509 *parsed = cert_reparse(crypto, certificate);
    X509_free(certificate);
    return parsed;
}

/* Flips the last bit of the signature. */
static inline X509 *cert_break_signature(const struct crypto *crypto, X509 *certificate)
{
    unsigned char *der = NULL;
    int len = i2d_X509(certificate, &der);
    CERT_MUST(len > 0);
    der[len - 1] ^= 1;
    const unsigned char *cursor = der;
    X509 *broken = X509_new_ex(crypto_libctx(crypto), NULL);
    ASN1_VALUE *value = (ASN1_VALUE *)broken;
    CERT_MUST(ASN1_item_d2i(&value, &cursor, len, ASN1_ITEM_rptr(X509)) != NULL);
    OPENSSL_free(der);
    return broken;
}

/* PEM of the certificates up to NULL, one after the other; free() it. */
static inline char *cert_pem(X509 *const *certificates)
{
    BIO *bio = BIO_new(BIO_s_mem());
    for (size_t i = 0; certificates[i] != NULL; i++) {
        CERT_MUST(PEM_write_bio_X509(bio, certificates[i]) == 1);
    }
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = strndup(len > 0 ? data : "", (size_t)len);
    CERT_MUST(text != NULL);
    BIO_free(bio);
    return text;
}

static inline char *cert_pem_one(X509 *certificate)
{
    X509 *const list[] = {certificate, NULL};
    return cert_pem(list);
}

/* PKCS#8; with a passphrase when there is one. free() it. */
static inline char *cert_key_pem(EVP_PKEY *key, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const EVP_CIPHER *cipher = passphrase != NULL ? EVP_aes_128_cbc() : NULL;
    CERT_MUST(PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, passphrase,
                                            passphrase != NULL ? (int)strlen(passphrase) : 0, NULL,
                                            NULL) == 1);
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)len);
    CERT_MUST(text != NULL);
    BIO_free(bio);
    return text;
}

static inline struct crypto *cert_crypto(void)
{
    struct errbuf err;
    struct crypto *crypto = test_crypto_new(&err);
    CERT_MUST(crypto != NULL);
    return crypto;
}

#endif
