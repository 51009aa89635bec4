/*
 * libcrypto's X509_CRL makes five objects of each entry, some 400 bytes; a list of a million
 * would take hundreds of MiB. Here the bytes stay as they are, and a hash table of offsets finds a
 * serial in them: 8 to 16 bytes more per entry.
 *
 *     bytes:  header | entry | entry | entry | … | extensions | signature
 *     slots:    0  0  7  0  0  1  0 …      (offset of an entry + 1)
 *
 * All entries are looked at when the list is loaded: one that can't be read, or that has a
 * critical extension which we don't know, makes the list unusable (RFC 5280 5.3).
 */
#include "crl_private.h"

#include "base/hash.h"
#include "base/memory.h"

#include <limits.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/rsa.h>

enum { EXTENSIONS_MAX = 64, VERSION_2 = 1, UTC_LEN = 13, GENERALIZED_LEN = 15 };

struct crl *crl_ref(struct crl *crl)
{
    atomic_fetch_add_explicit(&crl->refs, 1, memory_order_relaxed);
    return crl;
}

void crl_unref(struct crl *crl)
{
    if (crl == NULL || atomic_fetch_sub_explicit(&crl->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    X509_NAME_free(crl->issuer);
    X509_ALGOR_free(crl->algorithm);
    ASN1_BIT_STRING_free(crl->signature);
    ASN1_OCTET_STRING_free(crl->key_id);
    GENERAL_NAMES_free(crl->point);
    mem_free(crl->slots);
    mem_free(crl->bytes);
    mem_free(crl);
}

/* YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ, as RFC 5280 4.1.2.5 wants both. */
static bool is_time(const struct der_value *value)
{
    size_t len = value->tag == DER_UTC_TIME ? UTC_LEN : GENERALIZED_LEN;
    if ((value->tag != DER_UTC_TIME && value->tag != DER_GENERALIZED_TIME) ||
        value->body.len != len || value->body.ptr[len - 1] != 'Z') {
        return false;
    }
    for (size_t i = 0; i + 1 < len; i++) {
        if (value->body.ptr[i] < '0' || value->body.ptr[i] > '9') {
            return false;
        }
    }
    return true;
}

static bool time_seconds(const struct der_value *value, int64_t *seconds)
{
    if (!is_time(value)) {
        return false;
    }
    const unsigned char *cursor = value->whole.ptr;
    ASN1_TIME *time = d2i_ASN1_TIME(NULL, &cursor, (long)value->whole.len);
    bool read = time != NULL && x509_fields_time(time, seconds);
    ASN1_TIME_free(time);
    return read;
}

bool crl_entry_date(const struct crl_entry *entry, int64_t *seconds)
{
    ERR_set_mark();
    bool read = time_seconds(&entry->date, seconds);
    (void)ERR_pop_to_mark();
    return read;
}

/* An INTEGER in its shortest form. */
static bool is_integer(struct der body)
{
    if (body.len == 0) {
        return false;
    }
    return body.len == 1 || !((body.ptr[0] == 0x00 && (body.ptr[1] & 0x80) == 0) ||
                              (body.ptr[0] == 0xff && (body.ptr[1] & 0x80) != 0));
}

/* X.690 8.19.2: arcs in base 128, each in its shortest form and with an end. */
static bool is_object(struct der body)
{
    bool begins = true;
    for (size_t i = 0; i < body.len; i++) {
        if (begins && body.ptr[i] == 0x80) {
            return false;
        }
        begins = (body.ptr[i] & 0x80) == 0;
    }
    return body.len > 0 && begins;
}

/* 2.5.29.x: all extensions of entries that there are. 0 for any other. */
static uint8_t entry_extension(struct der object)
{
    return object.len == 3 && object.ptr[0] == 0x55 && object.ptr[1] == 0x1d ? object.ptr[2] : 0;
}

static const char *read_entry_extension(struct der_value *extension, struct crl_entry *entry)
{
    enum { REASON_CODE = 21, HOLD_INSTRUCTION = 23, INVALIDITY_DATE = 24, CERTIFICATE_ISSUER = 29 };
    struct der_value object;
    struct der_value flag;
    struct der_value octets;
    struct der_value code;
    bool critical = false;
    struct der in = extension->body;
    bool sound = der_next_tagged(&in, DER_OBJECT, &object) && is_object(object.body);
    if (sound && der_next_tagged(&in, DER_BOOLEAN, &flag)) {
        sound = flag.body.len == 1;
        critical = sound && flag.body.ptr[0] != 0;
    }
    if (!sound || !der_next_tagged(&in, DER_OCTET_STRING, &octets) || in.len != 0) {
        return "an entry's extension can't be decoded";
    }
    switch (entry_extension(object.body)) {
    case REASON_CODE:
        in = octets.body;
        if (!der_next_tagged(&in, DER_ENUMERATED, &code) || in.len != 0 || code.body.len != 1 ||
            code.body.ptr[0] > 10 || entry->reason_code != CRL_NO_REASON_CODE) {
            return "an entry's reason code can't be decoded";
        }
        entry->reason_code = code.body.ptr[0];
        return NULL;
    case HOLD_INSTRUCTION:
    case INVALIDITY_DATE:
        return NULL;
    case CERTIFICATE_ISSUER:
        return "an indirect CRL (an entry names another issuer); these are not supported";
    default:
        return critical ? "an entry has a critical extension that is not known (RFC 5280 5.3)"
                        : NULL;
    }
}

int crl_next_entry(struct der *revoked, struct crl_entry *entry, const char **why)
{
    struct der_value item;
    struct der_value serial;
    if (revoked->len == 0) {
        return 0;
    }
    *why = "an entry can't be decoded";
    if (!der_next_tagged(revoked, DER_SEQUENCE, &item)) {
        return -1;
    }
    struct der in = item.body;
    if (!der_next_tagged(&in, DER_INTEGER, &serial) || !is_integer(serial.body) ||
        !der_next(&in, &entry->date) || !is_time(&entry->date)) {
        return -1;
    }
    entry->serial = serial.body;
    entry->reason_code = CRL_NO_REASON_CODE;
    if (in.len == 0) {
        return 1;
    }
    struct der_value list;
    struct der_value extension;
    if (!der_next_tagged(&in, DER_SEQUENCE, &list) || in.len != 0) {
        return -1;
    }
    while (der_next_tagged(&list.body, DER_SEQUENCE, &extension)) {
        const char *fault = read_entry_extension(&extension, entry);
        if (fault != NULL) {
            *why = fault;
            return -1;
        }
    }
    return list.body.len == 0 ? 1 : -1;
}

static uint64_t hash_serial(struct der serial)
{
    return hash_bytes(serial.ptr, serial.len, 0x9e3779b97f4a7c15u);
}

static size_t slot_of(const struct crl *crl, struct der serial)
{
    return (size_t)hash_serial(serial) & (crl->slot_count - 1);
}

/* The entry at a slot that is taken; it was read once, so it is sound. */
static void entry_at(const struct crl *crl, size_t slot, struct crl_entry *entry)
{
    const char *why = NULL;
    size_t offset = crl->slots[slot] - 1;
    struct der from = {crl->revoked.ptr + offset, crl->revoked.len - offset};
    (void)crl_next_entry(&from, entry, &why);
}

static void insert(struct crl *crl, const struct crl_entry *entry, size_t offset)
{
    size_t slot = slot_of(crl, entry->serial);
    while (crl->slots[slot] != 0) {
        struct crl_entry other;
        entry_at(crl, slot, &other);
        if (der_equal(other.serial, entry->serial)) {
            return; /* twice in the list: revoked all the same */
        }
        slot = (slot + 1) & (crl->slot_count - 1);
    }
    crl->slots[slot] = (uint32_t)offset + 1;
    crl->revoked_count++;
}

bool crl_find(const struct crl *crl, struct der serial, struct crl_entry *entry)
{
    if (crl->slot_count == 0) {
        return false;
    }
    for (size_t slot = slot_of(crl, serial); crl->slots[slot] != 0;
         slot = (slot + 1) & (crl->slot_count - 1)) {
        entry_at(crl, slot, entry);
        if (der_equal(entry->serial, serial)) {
            return true;
        }
    }
    return false;
}

/* Looks at every entry, then builds the table. */
static int index_entries(struct crl *crl, struct errbuf *err)
{
    struct crl_entry entry;
    const char *why = NULL;
    size_t count = 0;
    struct der in = crl->revoked;
    int status;
    while ((status = crl_next_entry(&in, &entry, &why)) == 1) {
        count++;
    }
    if (status < 0) {
        errbuf_set(err, "entry %zu: %s", count, why);
        return -1;
    }
    if (count == 0) {
        return 0;
    }
    crl->slot_count = 2;
    while (crl->slot_count < 2 * count) {
        crl->slot_count *= 2;
    }
    crl->slots = mem_alloc_array(crl->slot_count, sizeof(uint32_t));
    in = crl->revoked;
    for (size_t i = 0; i < count; i++) {
        size_t offset = (size_t)(in.ptr - crl->revoked.ptr);
        (void)crl_next_entry(&in, &entry, &why);
        /* RFC 5280 5.3.1: such an entry takes a revocation back. It does not undo another entry
           of the same list, though: then the certificate counts as revoked. */
        if (entry.reason_code != CRL_REMOVE_FROM_CRL) {
            insert(crl, &entry, offset);
        }
    }
    return 0;
}

static int read_authority_key_id(struct crl *crl, const ASN1_OCTET_STRING *octets,
                                 struct errbuf *err)
{
    const unsigned char *cursor = ASN1_STRING_get0_data(octets);
    const unsigned char *end = cursor + ASN1_STRING_length(octets);
    AUTHORITY_KEYID *id = d2i_AUTHORITY_KEYID(NULL, &cursor, ASN1_STRING_length(octets));
    if (id == NULL || cursor != end) {
        AUTHORITY_KEYID_free(id);
        errbuf_set(err, "its authorityKeyIdentifier can't be decoded");
        return -1;
    }
    crl->key_id = id->keyid;
    id->keyid = NULL;
    AUTHORITY_KEYID_free(id);
    return 0;
}

static const char *unsupported_scope(const ISSUING_DIST_POINT *idp)
{
    if (idp->indirectCRL > 0) {
        return "it is an indirect CRL; these are not supported";
    }
    if (idp->onlysomereasons != NULL) {
        return "it covers only some reasons of revocation; give one that covers all";
    }
    if (idp->onlyattr > 0) {
        return "it covers attribute certificates only";
    }
    if (idp->onlyuser > 0 && idp->onlyCA > 0) {
        return "its issuingDistributionPoint contradicts itself";
    }
    if (idp->distpoint != NULL && idp->distpoint->type != 0) {
        return "its distribution point has a relative name; these are not supported";
    }
    return NULL;
}

/* RFC 5280 5.2.5. */
static int read_scope(struct crl *crl, const ASN1_OCTET_STRING *octets, struct errbuf *err)
{
    const unsigned char *start = ASN1_STRING_get0_data(octets);
    const unsigned char *cursor = start;
    int len = ASN1_STRING_length(octets);
    ISSUING_DIST_POINT *idp = d2i_ISSUING_DIST_POINT(NULL, &cursor, len);
    const char *fault = "its issuingDistributionPoint can't be decoded";
    if (idp != NULL && cursor == start + len) {
        fault = unsupported_scope(idp);
    }
    if (fault == NULL) {
        crl->only_leaves = idp->onlyuser > 0;
        crl->only_cas = idp->onlyCA > 0;
        if (idp->distpoint != NULL) {
            crl->point = idp->distpoint->name.fullname;
            idp->distpoint->name.fullname = NULL;
        }
    }
    ISSUING_DIST_POINT_free(idp);
    if (fault != NULL) {
        errbuf_set(err, "%s", fault);
        return -1;
    }
    return 0;
}

static int read_extension(struct crl *crl, X509_EXTENSION *extension, struct errbuf *err)
{
    char oid[80] = "";
    ASN1_OBJECT *object = X509_EXTENSION_get_object(extension);
    const ASN1_OCTET_STRING *octets = X509_EXTENSION_get_data(extension);
    switch (OBJ_obj2nid(object)) {
    case NID_authority_key_identifier:
        return read_authority_key_id(crl, octets, err);
    case NID_issuing_distribution_point:
        return read_scope(crl, octets, err);
    case NID_crl_number:
        return 0;
    case NID_delta_crl:
        errbuf_set(err, "it is a delta CRL, which says nothing by itself; give the complete one");
        return -1;
    default:
        if (X509_EXTENSION_get_critical(extension) == 0) {
            return 0;
        }
        (void)OBJ_obj2txt(oid, sizeof(oid), object, 0);
        errbuf_set(err, "it has the critical extension %s, which is not known (RFC 5280 5.2)", oid);
        return -1;
    }
}

/* Where the issuingDistributionPoint stands in the bytes: equal scopes are equal bytes. */
static void find_scope_bytes(struct crl *crl, struct der list)
{
    static const uint8_t IDP[] = {0x55, 0x1d, 0x1c};
    struct der_value extension;
    while (der_next_tagged(&list, DER_SEQUENCE, &extension)) {
        struct der_value object;
        struct der in = extension.body;
        if (der_next_tagged(&in, DER_OBJECT, &object) &&
            der_equal(object.body, (struct der){IDP, sizeof(IDP)})) {
            crl->idp = extension.whole;
        }
    }
}

static int read_extensions(struct crl *crl, struct der in, struct errbuf *err)
{
    struct der_value list;
    int status = -1;
    if (!der_next_tagged(&in, DER_SEQUENCE, &list) || in.len != 0) {
        errbuf_set(err, "its extensions can't be decoded");
        return -1;
    }
    const unsigned char *cursor = list.whole.ptr;
    X509_EXTENSIONS *extensions = d2i_X509_EXTENSIONS(NULL, &cursor, (long)list.whole.len);
    int count = sk_X509_EXTENSION_num(extensions);
    if (extensions == NULL || cursor != in.ptr || count > EXTENSIONS_MAX) {
        errbuf_set(err, "its extensions can't be decoded, or are more than %d", EXTENSIONS_MAX);
        goto out;
    }
    for (int i = 0; i < count; i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);
        ASN1_OBJECT *object = X509_EXTENSION_get_object(extension);
        if (X509v3_get_ext_by_OBJ(extensions, object, i) >= 0) {
            errbuf_set(err, "one of its extensions is there twice");
            goto out;
        }
        if (read_extension(crl, extension, err) < 0) {
            goto out;
        }
    }
    find_scope_bytes(crl, list.body);
    status = 0;
out:
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return status;
}

/* What path validation demands of certificates (112 bits), for the list's signature. */
static bool digest_accepted(const X509_ALGOR *algorithm)
{
    int digest = NID_undef;
    int key = NID_undef;
    const ASN1_OBJECT *object = NULL;
    int type = 0;
    const void *value = NULL;
    X509_ALGOR_get0(&object, &type, &value, algorithm);
    if (OBJ_find_sigid_algs(OBJ_obj2nid(object), &digest, &key) != 1) {
        return false;
    }
    if (key == NID_rsassaPss || OBJ_obj2nid(object) == NID_rsassaPss) {
        RSA_PSS_PARAMS *pss = type == V_ASN1_SEQUENCE
                                  ? ASN1_item_unpack(value, ASN1_ITEM_rptr(RSA_PSS_PARAMS))
                                  : NULL;
        /* Absent means SHA-1 (RFC 4055 3.1). */
        digest = pss != NULL && pss->hashAlgorithm != NULL
                     ? OBJ_obj2nid(pss->hashAlgorithm->algorithm)
                     : NID_sha1;
        RSA_PSS_PARAMS_free(pss);
    }
    switch (digest) {
    case NID_sha224:
    case NID_sha256:
    case NID_sha384:
    case NID_sha512:
    case NID_sha512_256:
    case NID_sha3_256:
    case NID_sha3_384:
    case NID_sha3_512:
        return true;
    case NID_undef:
        return key == NID_ED25519;
    default:
        return false;
    }
}

static int read_times(struct crl *crl, struct der *in, struct errbuf *err)
{
    struct der_value value;
    if (!der_next(in, &value) || !time_seconds(&value, &crl->this_update)) {
        errbuf_set(err, "its thisUpdate can't be read");
        return -1;
    }
    if (!der_next_is(in, DER_UTC_TIME) && !der_next_is(in, DER_GENERALIZED_TIME)) {
        errbuf_set(err, "it has no nextUpdate, so nobody can tell when it is out of date "
                        "(RFC 5280 5.1.2.5)");
        return -1;
    }
    if (!der_next(in, &value) || !time_seconds(&value, &crl->next_update)) {
        errbuf_set(err, "its nextUpdate can't be read");
        return -1;
    }
    if (crl->next_update <= crl->this_update) {
        errbuf_set(err, "its nextUpdate is not after its thisUpdate");
        return -1;
    }
    return 0;
}

/* version, signature, issuer. */
static int read_head(struct crl *crl, struct der *in, bool *version_2, struct der *algorithm,
                     struct errbuf *err)
{
    struct der_value value;
    *version_2 = der_next_tagged(in, DER_INTEGER, &value);
    if (*version_2 && (value.body.len != 1 || value.body.ptr[0] != VERSION_2)) {
        errbuf_set(err, "it is of an unknown version");
        return -1;
    }
    if (!der_next_tagged(in, DER_SEQUENCE, &value)) {
        errbuf_set(err, "it can't be decoded as a CRL");
        return -1;
    }
    *algorithm = value.whole;
    if (!der_next_tagged(in, DER_SEQUENCE, &value)) {
        errbuf_set(err, "its issuer can't be decoded");
        return -1;
    }
    const unsigned char *cursor = value.whole.ptr;
    crl->issuer = d2i_X509_NAME(NULL, &cursor, (long)value.whole.len);
    if (crl->issuer == NULL || value.body.len == 0) {
        errbuf_set(err, "its issuer can't be decoded, or is empty");
        return -1;
    }
    return 0;
}

/* RFC 5280 5.1.2. */
static int read_tbs(struct crl *crl, struct der in, struct der *algorithm, struct errbuf *err)
{
    bool version_2 = false;
    struct der_value value;
    if (read_head(crl, &in, &version_2, algorithm, err) < 0 || read_times(crl, &in, err) < 0) {
        return -1;
    }
    if (der_next_is(&in, DER_SEQUENCE)) {
        if (!der_next(&in, &value)) {
            errbuf_set(err, "its entries can't be decoded");
            return -1;
        }
        crl->revoked = value.body;
    }
    if (der_next_tagged(&in, DER_CONTEXT_0, &value)) {
        if (!version_2) {
            errbuf_set(err, "it has extensions and is of version 1");
            return -1;
        }
        if (read_extensions(crl, value.body, err) < 0) {
            return -1;
        }
    }
    if (in.len != 0) {
        errbuf_set(err, "it can't be decoded as a CRL");
        return -1;
    }
    return index_entries(crl, err);
}

static int read_signature(struct crl *crl, const struct der_value *algorithm,
                          const struct der_value *signature, struct errbuf *err)
{
    const unsigned char *cursor = algorithm->whole.ptr;
    crl->algorithm = d2i_X509_ALGOR(NULL, &cursor, (long)algorithm->whole.len);
    cursor = signature->whole.ptr;
    crl->signature = d2i_ASN1_BIT_STRING(NULL, &cursor, (long)signature->whole.len);
    if (crl->algorithm == NULL || crl->signature == NULL) {
        errbuf_set(err, "its signature can't be decoded");
        return -1;
    }
    if (!digest_accepted(crl->algorithm)) {
        errbuf_set(
            err,
            "its signature uses a digest that is too weak or not known; SHA-256 would be accepted");
        return -1;
    }
    return 0;
}

/* CertificateList ::= { tbsCertList, signatureAlgorithm, signatureValue }. */
static int read_list(struct crl *crl, struct errbuf *err)
{
    struct der in = {crl->bytes, crl->len};
    struct der_value list;
    struct der_value tbs;
    struct der_value algorithm;
    struct der_value signature;
    struct der signed_algorithm = {NULL, 0};
    if (!der_next_tagged(&in, DER_SEQUENCE, &list) || in.len != 0) {
        errbuf_set(err, "no CRL in DER, or bytes behind it");
        return -1;
    }
    in = list.body;
    if (!der_next_tagged(&in, DER_SEQUENCE, &tbs) ||
        !der_next_tagged(&in, DER_SEQUENCE, &algorithm) ||
        !der_next_tagged(&in, DER_BIT_STRING, &signature) || in.len != 0) {
        errbuf_set(err, "it can't be decoded as a CRL");
        return -1;
    }
    crl->tbs = tbs.whole;
    if (read_signature(crl, &algorithm, &signature, err) < 0 ||
        read_tbs(crl, tbs.body, &signed_algorithm, err) < 0) {
        return -1;
    }
    if (!der_equal(algorithm.whole, signed_algorithm)) {
        errbuf_set(err, "its two signature algorithms differ (RFC 5280 5.1.1.2)");
        return -1;
    }
    return 0;
}

struct crl *crl_parse(uint8_t *bytes, size_t len, struct errbuf *err)
{
    struct crl *crl = mem_alloc(sizeof(*crl));
    atomic_init(&crl->refs, 1);
    crl->bytes = bytes;
    crl->len = len;
    ERR_set_mark();
    int status = read_list(crl, err);
    (void)ERR_pop_to_mark();
    if (status < 0) {
        crl_unref(crl);
        return NULL;
    }
    return crl;
}
