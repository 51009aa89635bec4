/*
 * The leaf's rules stand as a list of small checks in the order of the standard; the first that
 * fails gives the reason, and x509_svid_leaf_faults walks on for people who repair a certificate.
 * OpenSSL checks next to none of them: it accepts a leaf with cA=true or keyCertSign, a SAN with
 * bytes behind its SEQUENCE, a version-1 leaf and a URI of any length.
 *
 *     well formed → one URI SAN → SPIFFE ID → path → no CA → key usage → extended key usage →
 *     empty subject → key → critical extensions
 */
#include "spiffe/x509_svid.h"

#include "base/assert.h"
#include "x509_fields.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>

enum { X509_VERSION_WANTED = 2 }; /* X.509 v3 is encoded as 2 */

/* What the checks share; filled by the first ones. */
struct leaf {
    X509 *certificate;
    GENERAL_NAMES *names;      /* NULL: no SAN */
    const ASN1_IA5STRING *uri; /* the first URI SAN, within names */
    size_t uri_count;
    char *text; /* where the ID goes */
    struct spiffe_id id;
    char *detail; /* of size detail_size */
    size_t detail_size;
};

typedef enum reason leaf_check_fn(struct leaf *leaf);

static enum reason check_version(struct leaf *leaf)
{
    long version = X509_get_version(leaf->certificate);
    if (version != X509_VERSION_WANTED) {
        (void)snprintf(leaf->detail, leaf->detail_size, "version %ld", version + 1);
        return REASON_SVID_VERSION;
    }
    return REASON_NONE;
}

static enum reason check_well_formed(struct leaf *leaf)
{
    if (!x509_fields_extensions_sound(leaf->certificate, leaf->detail, leaf->detail_size)) {
        return REASON_SVID_MALFORMED;
    }
    ERR_set_mark();
    uint32_t flags = X509_get_extension_flags(leaf->certificate);
    (void)ERR_pop_to_mark();
    if ((flags & EXFLAG_SET) == 0 || (flags & (EXFLAG_INVALID | EXFLAG_NO_FINGERPRINT)) != 0) {
        (void)snprintf(leaf->detail, leaf->detail_size, "an extension has an impossible value");
        return REASON_SVID_MALFORMED;
    }
    return REASON_NONE;
}

static void collect_uris(struct leaf *leaf)
{
    int count = sk_GENERAL_NAME_num(leaf->names);
    for (int i = 0; i < count; i++) {
        const ASN1_IA5STRING *uri = x509_fields_uri(sk_GENERAL_NAME_value(leaf->names, i));
        if (uri != NULL) {
            leaf->uri = leaf->uri == NULL ? uri : leaf->uri;
            leaf->uri_count++;
        }
    }
}

/* A certificate without a SAN is one thing, one whose SAN can't be read now another. */
static enum reason read_names(struct leaf *leaf, enum reason if_absent)
{
    switch (x509_fields_san(leaf->certificate, &leaf->names)) {
    case X509_FIELDS_FOUND:
        return REASON_NONE;
    case X509_FIELDS_ABSENT:
        return if_absent;
    case X509_FIELDS_UNREADABLE:
        break;
    }
    (void)snprintf(leaf->detail, leaf->detail_size, "no memory for the subjectAltName");
    return REASON_OUT_OF_MEMORY;
}

/* X509-SVID 2: "MUST contain exactly one URI SAN"; identical ones are two as well. */
static enum reason check_one_uri(struct leaf *leaf)
{
    enum reason reason = read_names(leaf, REASON_SVID_NO_URI_SAN);
    if (reason == REASON_SVID_NO_URI_SAN) {
        (void)snprintf(leaf->detail, leaf->detail_size, "no subjectAltName extension");
    }
    if (reason != REASON_NONE) {
        return reason;
    }
    int count = sk_GENERAL_NAME_num(leaf->names);
    if (count > X509_FIELDS_SAN_NAMES_MAX) {
        (void)snprintf(leaf->detail, leaf->detail_size,
                       "subjectAltName has %d names; at most %d are accepted", count,
                       X509_FIELDS_SAN_NAMES_MAX);
        return REASON_SVID_MALFORMED;
    }
    collect_uris(leaf);
    if (leaf->uri_count == 0) {
        (void)snprintf(leaf->detail, leaf->detail_size, "%d SAN entries, none of them a URI",
                       count);
        return REASON_SVID_NO_URI_SAN;
    }
    if (leaf->uri_count > 1) {
        (void)snprintf(leaf->detail, leaf->detail_size, "%zu URI SANs", leaf->uri_count);
        return REASON_SVID_MULTIPLE_URI_SANS;
    }
    return REASON_NONE;
}

static enum reason check_id(struct leaf *leaf)
{
    int len = ASN1_STRING_length(leaf->uri);
    struct strview uri = {(const char *)ASN1_STRING_get0_data(leaf->uri), (size_t)len};
    const char *why = NULL;
    if (spiffe_id_parse(uri, &leaf->id, &why) < 0) {
        (void)snprintf(leaf->detail, leaf->detail_size, "%s", why);
        return REASON_SVID_BAD_SPIFFE_ID;
    }
    /* Bounded by the parser: the copy is what the caller's views point to. */
    ASSERT(uri.len <= SPIFFE_ID_MAX);
    memcpy(leaf->text, uri.ptr, uri.len);
    uri.ptr = leaf->text;
    ASSERT(spiffe_id_parse(uri, &leaf->id, &why) == 0);
    return REASON_NONE;
}

/* X509-SVID 5.2: a leaf's ID must have a path, the root path is none. */
static enum reason check_path(struct leaf *leaf)
{
    if (leaf->id.path.len == 0) {
        (void)snprintf(leaf->detail, leaf->detail_size, "the ID names a trust domain only");
        return REASON_SVID_NO_PATH;
    }
    return REASON_NONE;
}

static enum reason check_not_ca(struct leaf *leaf)
{
    uint32_t flags = X509_get_extension_flags(leaf->certificate);
    return (flags & EXFLAG_CA) != 0 ? REASON_SVID_LEAF_IS_CA : REASON_NONE;
}

static void list_key_usage(uint32_t usage, char *out, size_t size)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } BITS[] = {
        {X509v3_KU_DIGITAL_SIGNATURE, "digitalSignature"},
        {X509v3_KU_NON_REPUDIATION, "nonRepudiation"},
        {X509v3_KU_KEY_ENCIPHERMENT, "keyEncipherment"},
        {X509v3_KU_DATA_ENCIPHERMENT, "dataEncipherment"},
        {X509v3_KU_KEY_AGREEMENT, "keyAgreement"},
        {X509v3_KU_KEY_CERT_SIGN, "keyCertSign"},
        {X509v3_KU_CRL_SIGN, "cRLSign"},
        {X509v3_KU_ENCIPHER_ONLY, "encipherOnly"},
        {X509v3_KU_DECIPHER_ONLY, "decipherOnly"},
    };
    (void)snprintf(out, size, "keyUsage:");
    for (size_t i = 0; i < sizeof(BITS) / sizeof(BITS[0]); i++) {
        if ((usage & BITS[i].bit) != 0) {
            size_t used = strlen(out);
            (void)snprintf(out + used, size - used, " %s", BITS[i].name);
        }
    }
}

static enum reason check_key_usage_there(struct leaf *leaf)
{
    if (X509_get_ext_by_NID(leaf->certificate, NID_key_usage, -1) < 0) {
        return REASON_SVID_NO_KEY_USAGE;
    }
    /* X509-SVID 4.3: "MUST be marked critical". */
    return x509_fields_extension_critical(leaf->certificate, NID_key_usage)
               ? REASON_NONE
               : REASON_SVID_KEY_USAGE_NOT_CRITICAL;
}

static enum reason check_digital_signature(struct leaf *leaf)
{
    uint32_t usage = X509_get_key_usage(leaf->certificate);
    if (usage == UINT32_MAX || (usage & X509v3_KU_DIGITAL_SIGNATURE) != 0) {
        return REASON_NONE; /* none at all is the check before */
    }
    list_key_usage(usage, leaf->detail, leaf->detail_size);
    return REASON_SVID_KEY_USAGE_NO_DIGITAL_SIGNATURE;
}

static enum reason check_signs_nothing(struct leaf *leaf)
{
    uint32_t usage = X509_get_key_usage(leaf->certificate);
    if (usage == UINT32_MAX || (usage & (X509v3_KU_KEY_CERT_SIGN | X509v3_KU_CRL_SIGN)) == 0) {
        return REASON_NONE;
    }
    list_key_usage(usage, leaf->detail, leaf->detail_size);
    return REASON_SVID_KEY_USAGE_SIGNS;
}

/* X509-SVID 4.4: optional, but when it is there both purposes must be set. */
static enum reason check_extended_key_usage(struct leaf *leaf)
{
    if (X509_get_ext_by_NID(leaf->certificate, NID_ext_key_usage, -1) < 0) {
        return REASON_NONE;
    }
    uint32_t usage = X509_get_extended_key_usage(leaf->certificate);
    bool server = (usage & XKU_SSL_SERVER) != 0;
    bool client = (usage & XKU_SSL_CLIENT) != 0;
    if (server && client) {
        return REASON_NONE;
    }
    (void)snprintf(leaf->detail, leaf->detail_size, "extendedKeyUsage lacks %s",
                   server   ? "clientAuth"
                   : client ? "serverAuth"
                            : "serverAuth and clientAuth");
    return REASON_SVID_EXTENDED_KEY_USAGE;
}

/* RFC 5280 4.2.1.6, X509-SVID 3.1. */
static enum reason check_empty_subject(struct leaf *leaf)
{
    bool empty = X509_NAME_entry_count(X509_get_subject_name(leaf->certificate)) == 0;
    return empty && !x509_fields_extension_critical(leaf->certificate, NID_subject_alt_name)
               ? REASON_SVID_SAN_NOT_CRITICAL
               : REASON_NONE;
}

static enum reason check_key(struct leaf *leaf)
{
    ERR_set_mark();
    EVP_PKEY *key = X509_get0_pubkey(leaf->certificate);
    bool accepted = x509_fields_key_accepted(key, leaf->detail, leaf->detail_size);
    (void)ERR_pop_to_mark();
    return accepted ? REASON_NONE : REASON_SVID_WEAK_KEY;
}

/* RFC 5280 4.2: reject "a critical extension it does not recognize". */
static enum reason check_critical(struct leaf *leaf)
{
    int count = X509_get_ext_count(leaf->certificate);
    for (int i = 0; i < count; i++) {
        X509_EXTENSION *extension = X509_get_ext(leaf->certificate, i);
        if (X509_EXTENSION_get_critical(extension) != 0 && !X509_supported_extension(extension)) {
            char oid[80] = "";
            (void)OBJ_obj2txt(oid, sizeof(oid), X509_EXTENSION_get_object(extension), 0);
            (void)snprintf(leaf->detail, leaf->detail_size, "extension %s", oid);
            return REASON_SVID_CRITICAL_EXTENSION;
        }
    }
    return REASON_NONE;
}

/* The first FUNDAMENTAL ones make the rest meaningful: nothing is looked at behind a failed one. */
enum { FUNDAMENTAL = 4 };
static leaf_check_fn *const LEAF_CHECKS[] = {
    check_version,
    check_well_formed,
    check_one_uri,
    check_id,
    check_path,
    check_not_ca,
    check_key_usage_there,
    check_digital_signature,
    check_signs_nothing,
    check_extended_key_usage,
    check_empty_subject,
    check_key,
    check_critical,
};
enum { LEAF_CHECK_COUNT = sizeof(LEAF_CHECKS) / sizeof(LEAF_CHECKS[0]) };

static void describe(const struct leaf *leaf, enum reason reason, struct svid_failure *failure)
{
    failure->reason = reason;
    if (leaf->uri != NULL) {
        x509_fields_copy_bytes(ASN1_STRING_get0_data(leaf->uri),
                               (size_t)ASN1_STRING_length(leaf->uri), failure->claimed,
                               sizeof(failure->claimed));
    }
    x509_svid_describe(leaf->certificate, failure);
}

void x509_svid_describe(X509 *certificate, struct svid_failure *failure)
{
    x509_fields_name(X509_get_subject_name(certificate), failure->subject,
                     sizeof(failure->subject));
    x509_fields_serial(certificate, failure->serial, sizeof(failure->serial));
}

enum reason x509_svid_check_leaf(X509 *certificate, char text[SPIFFE_ID_MAX], struct spiffe_id *id,
                                 struct svid_failure *failure)
{
    memset(failure, 0, sizeof(*failure));
    struct leaf leaf = {.certificate = certificate,
                        .text = text,
                        .detail = failure->detail,
                        .detail_size = sizeof(failure->detail)};
    enum reason reason = REASON_NONE;
    for (size_t i = 0; reason == REASON_NONE && i < LEAF_CHECK_COUNT; i++) {
        reason = LEAF_CHECKS[i](&leaf);
    }
    if (reason == REASON_NONE) {
        *id = leaf.id;
    } else {
        describe(&leaf, reason, failure);
    }
    GENERAL_NAMES_free(leaf.names);
    return reason;
}

size_t x509_svid_leaf_faults(X509 *certificate, struct svid_failure *faults, size_t max)
{
    char text[SPIFFE_ID_MAX];
    char detail[sizeof(faults->detail)];
    struct leaf leaf = {
        .certificate = certificate, .text = text, .detail = detail, .detail_size = sizeof(detail)};
    size_t count = 0;
    for (size_t i = 0; count < max && i < LEAF_CHECK_COUNT; i++) {
        detail[0] = '\0';
        enum reason reason = LEAF_CHECKS[i](&leaf);
        if (reason == REASON_NONE) {
            continue;
        }
        memset(&faults[count], 0, sizeof(faults[count]));
        memcpy(faults[count].detail, detail, sizeof(detail));
        describe(&leaf, reason, &faults[count]);
        count++;
        if (i < FUNDAMENTAL) {
            break;
        }
    }
    GENERAL_NAMES_free(leaf.names);
    return count;
}

/*
 * X509-SVID 3.2: a signing certificate's SPIFFE ID, if it has one, "MUST NOT have a path" and
 * belongs to the trust domain that it signs for. A CA of another world may carry a URI of another
 * scheme: that is no SPIFFE ID and says nothing.
 */
static enum reason check_signing_uri(const ASN1_IA5STRING *uri, struct strview trust_domain,
                                     char *detail, size_t size)
{
    struct strview text = {(const char *)ASN1_STRING_get0_data(uri),
                           (size_t)ASN1_STRING_length(uri)};
    if (text.len < 7 || strncasecmp(text.ptr, "spiffe:", 7) != 0) {
        return REASON_NONE;
    }
    struct spiffe_id id;
    const char *why = NULL;
    if (spiffe_id_parse(text, &id, &why) < 0) {
        (void)snprintf(detail, size, "%s", why);
        return REASON_SVID_ISSUER_ID;
    }
    if (id.path.len != 0) {
        (void)snprintf(detail, size, "the signing certificate's ID has a path");
        return REASON_SVID_ISSUER_ID;
    }
    if (!strview_equal(id.trust_domain, trust_domain)) {
        (void)snprintf(detail, size, "the signing certificate's ID names \"%.*s\", not \"%.*s\"",
                       (int)id.trust_domain.len, id.trust_domain.ptr, (int)trust_domain.len,
                       trust_domain.ptr);
        return REASON_SVID_ISSUER_ID;
    }
    return REASON_NONE;
}

static enum reason check_signing_san(struct leaf *leaf, struct strview trust_domain)
{
    enum reason reason = read_names(leaf, REASON_NONE);
    int count = sk_GENERAL_NAME_num(leaf->names); /* -1 of none */
    if (count > X509_FIELDS_SAN_NAMES_MAX) {
        (void)snprintf(leaf->detail, leaf->detail_size, "subjectAltName has %d names", count);
        return REASON_SVID_MALFORMED;
    }
    for (int i = 0; reason == REASON_NONE && i < count; i++) {
        const ASN1_IA5STRING *uri = x509_fields_uri(sk_GENERAL_NAME_value(leaf->names, i));
        if (uri != NULL) {
            leaf->uri = uri;
            reason = check_signing_uri(uri, trust_domain, leaf->detail, leaf->detail_size);
        }
    }
    return reason;
}

/*
 * X509-SVID 4.1, 4.3. keyUsage may be absent from a self-signed anchor only: that one is trusted
 * because the operator says so, and roots made by hand often lack it.
 */
static enum reason check_signing_rights(struct leaf *leaf)
{
    uint32_t flags = X509_get_extension_flags(leaf->certificate);
    uint32_t usage = X509_get_key_usage(leaf->certificate);
    if ((flags & EXFLAG_CA) == 0) {
        (void)snprintf(leaf->detail, leaf->detail_size, "basicConstraints lack cA=true");
        return REASON_SVID_ISSUER_NOT_CA;
    }
    if (usage == UINT32_MAX && (flags & EXFLAG_SS) == 0) {
        (void)snprintf(leaf->detail, leaf->detail_size, "no keyUsage with keyCertSign");
        return REASON_SVID_ISSUER_NOT_CA;
    }
    if ((usage & X509v3_KU_KEY_CERT_SIGN) == 0) {
        list_key_usage(usage, leaf->detail, leaf->detail_size);
        return REASON_SVID_ISSUER_NOT_CA;
    }
    return REASON_NONE;
}

enum reason x509_svid_check_signing(X509 *certificate, struct strview trust_domain,
                                    struct svid_failure *failure)
{
    memset(failure, 0, sizeof(*failure));
    struct leaf leaf = {.certificate = certificate,
                        .detail = failure->detail,
                        .detail_size = sizeof(failure->detail)};
    enum reason reason = check_version(&leaf);
    if (reason == REASON_NONE) {
        reason = check_well_formed(&leaf);
    }
    if (reason == REASON_NONE) {
        reason = check_signing_rights(&leaf);
    }
    if (reason == REASON_NONE) {
        reason = check_signing_san(&leaf, trust_domain);
    }
    if (reason != REASON_NONE) {
        describe(&leaf, reason, failure);
    }
    GENERAL_NAMES_free(leaf.names);
    return reason;
}

int x509_svid_validity(const X509 *certificate, int64_t *not_before, int64_t *not_after)
{
    ERR_set_mark();
    bool read = x509_fields_time(X509_get0_notBefore(certificate), not_before) &&
                x509_fields_time(X509_get0_notAfter(certificate), not_after);
    (void)ERR_pop_to_mark();
    return read ? 0 : -1;
}
