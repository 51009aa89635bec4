/*
 * crl_builder: CRLs with chosen defects, made in memory by libcrypto. crl_of() describes a sound
 * and empty one; a test changes a field and builds. What cannot be built ends the test program.
 */
#ifndef BULKHEAD_TESTS_CRL_BUILDER_H
#define BULKHEAD_TESTS_CRL_BUILDER_H

#include "cert_builder.h"
#include "spiffe/crl.h"

enum { CRL_REVOKED_MAX = 8, CRL_NO_CODE = -1 };

struct crl_revoked {
    X509 *certificate;
    int reason;            /* CRL_NO_CODE or the code */
    const char *extension; /* "critical", "plain", "issuer"; NULL: none */
};

struct crl_spec {
    X509 *issuer;
    EVP_PKEY *key;
    int64_t this_update;
    int64_t next_update; /* 0: none */
    struct crl_revoked revoked[CRL_REVOKED_MAX];
    size_t revoked_count;
    bool key_identifier;
    const char *idp; /* as in openssl.cnf; NULL: none */
    bool delta;
    const char *private_extension; /* "critical" or "plain" */
    bool private_twice;
    long version; /* as encoded: 1 is v2 */
    bool no_extensions;
    const EVP_MD *digest;
};

static inline struct crl_spec crl_of(X509 *issuer, EVP_PKEY *key)
{
    struct crl_spec spec = {.issuer = issuer,
                            .key = key,
                            .this_update = CERT_NOW - CERT_DAY,
                            .next_update = CERT_NOW + CERT_DAY,
                            .key_identifier = true,
                            .version = 1};
    return spec;
}

static inline void crl_revoke(struct crl_spec *spec, X509 *certificate, int reason)
{
    CERT_MUST(spec->revoked_count < CRL_REVOKED_MAX);
    spec->revoked[spec->revoked_count++] = (struct crl_revoked){certificate, reason, NULL};
}

static inline X509_EXTENSION *crl_octets(ASN1_OBJECT *object, bool critical, const char *data,
                                         size_t len)
{
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    CERT_MUST(ASN1_OCTET_STRING_set(octets, (const unsigned char *)data, (int)len) == 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, octets);
    CERT_MUST(extension != NULL);
    ASN1_OCTET_STRING_free(octets);
    return extension;
}

static inline void crl_add(X509_CRL *crl, X509_EXTENSION *extension)
{
    CERT_MUST(extension != NULL && X509_CRL_add_ext(crl, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static inline void crl_add_extensions(X509_CRL *crl, const struct crl_spec *spec)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, spec->issuer, NULL, NULL, crl, 0);
    X509V3_set_ctx_nodb(&ctx);
    ASN1_OBJECT *private_oid = OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1);
    crl_add(crl, crl_octets(OBJ_nid2obj(NID_crl_number), false, "\x02\x01\x07", 3));
    if (spec->key_identifier) {
        crl_add(crl, X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid:always"));
    }
    if (spec->idp != NULL) {
        crl_add(crl, X509V3_EXT_conf_nid(NULL, &ctx, NID_issuing_distribution_point, spec->idp));
    }
    if (spec->delta) {
        crl_add(crl, crl_octets(OBJ_nid2obj(NID_delta_crl), true, "\x02\x01\x06", 3));
    }
    for (int i = 0; spec->private_extension != NULL && i < (spec->private_twice ? 2 : 1); i++) {
        crl_add(crl, crl_octets(private_oid, strcmp(spec->private_extension, "critical") == 0,
                                "\x05\x00", 2));
    }
    ASN1_OBJECT_free(private_oid);
}

static inline void crl_add_revoked(X509_CRL *crl, const struct crl_revoked *from)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *date = ASN1_TIME_set(NULL, CERT_NOW - 3600);
    CERT_MUST(entry != NULL && date != NULL);
    const ASN1_INTEGER *serial = X509_get0_serialNumber(from->certificate);
    ASN1_INTEGER *copy = ASN1_INTEGER_dup(serial);
    CERT_MUST(X509_REVOKED_set_serialNumber(entry, copy) == 1);
    CERT_MUST(X509_REVOKED_set_revocationDate(entry, date) == 1);
    if (from->reason != CRL_NO_CODE) {
        ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();
        CERT_MUST(ASN1_ENUMERATED_set(code, from->reason) == 1);
        CERT_MUST(X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, code, 0, 0) == 1);
        ASN1_ENUMERATED_free(code);
    }
    if (from->extension != NULL) {
        bool issuer = strcmp(from->extension, "issuer") == 0;
        ASN1_OBJECT *object =
            issuer ? OBJ_nid2obj(NID_certificate_issuer) : OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1);
        X509_EXTENSION *extension =
            crl_octets(object, issuer || strcmp(from->extension, "critical") == 0, "\x30\x00", 2);
        CERT_MUST(X509_REVOKED_add_ext(entry, extension, -1) == 1);
        X509_EXTENSION_free(extension);
        ASN1_OBJECT_free(object);
    }
    CERT_MUST(X509_CRL_add0_revoked(crl, entry) == 1);
    ASN1_INTEGER_free(copy);
    ASN1_TIME_free(date);
}

static inline X509_CRL *crl_build(const struct crl_spec *spec)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *from = ASN1_TIME_set(NULL, spec->this_update);
    CERT_MUST(crl != NULL && from != NULL);
    CERT_MUST(spec->version == 0 || X509_CRL_set_version(crl, spec->version) == 1);
    CERT_MUST(X509_CRL_set_issuer_name(crl, X509_get_subject_name(spec->issuer)) == 1);
    CERT_MUST(X509_CRL_set1_lastUpdate(crl, from) == 1);
    ASN1_TIME_free(from);
    if (spec->next_update != 0) {
        ASN1_TIME *until = ASN1_TIME_set(NULL, spec->next_update);
        CERT_MUST(until != NULL && X509_CRL_set1_nextUpdate(crl, until) == 1);
        ASN1_TIME_free(until);
    }
    for (size_t i = 0; i < spec->revoked_count; i++) {
        crl_add_revoked(crl, &spec->revoked[i]);
    }
    if (!spec->no_extensions) {
        crl_add_extensions(crl, spec);
    }
    const EVP_MD *digest = spec->digest;
    if (digest == NULL && EVP_PKEY_get_base_id(spec->key) != EVP_PKEY_ED25519) {
        digest = EVP_sha256();
    }
    CERT_MUST(X509_CRL_sign(crl, spec->key, digest) > 0);
    return crl;
}

/* free() it. */
static inline char *crl_der(const struct crl_spec *spec, size_t *len)
{
    X509_CRL *crl = crl_build(spec);
    unsigned char *der = NULL;
    int size = i2d_X509_CRL(crl, &der);
    CERT_MUST(size > 0);
    char *copy = malloc((size_t)size);
    CERT_MUST(copy != NULL);
    memcpy(copy, der, (size_t)size);
    *len = (size_t)size;
    OPENSSL_free(der);
    X509_CRL_free(crl);
    return copy;
}

/* PEM of count CRLs, one after the other; free() it. */
static inline char *crl_pem(const struct crl_spec *specs, size_t count)
{
    BIO *bio = BIO_new(BIO_s_mem());
    for (size_t i = 0; i < count; i++) {
        X509_CRL *crl = crl_build(&specs[i]);
        CERT_MUST(PEM_write_bio_X509_CRL(bio, crl) == 1);
        X509_CRL_free(crl);
    }
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = strndup(len > 0 ? data : "", (size_t)len);
    CERT_MUST(text != NULL);
    BIO_free(bio);
    return text;
}

static inline struct crl_set *crl_set_of(const struct crypto *crypto, const struct crl_spec *specs,
                                         size_t count)
{
    struct errbuf err;
    char *pem = crl_pem(specs, count);
    struct crl_set *set = crl_set_from_bytes(crypto, pem, strlen(pem), &err);
    if (set == NULL) {
        fprintf(stderr, "%s\n", err.text);
    }
    CERT_MUST(set != NULL);
    free(pem);
    return set;
}

#endif
