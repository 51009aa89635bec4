/*
 * Everything here reads through accessors and lengths; allocations are bounded by the size of
 * the certificate, which the TLS layer bounds in turn.
 */
#include "x509_fields.h"

#include "base/memory.h"
#include "spiffe/crypto.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 4096, RSA_EXPONENT_BITS_MAX = 64 };

/* ASN1_get_object's mark for a constructed value of indefinite length, which DER forbids. */
enum { ASN1_INDEFINITE = 0x01, ASN1_BAD = 0x80 };

void x509_fields_copy_bytes(const unsigned char *data, size_t len, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        size_t need = data[i] == 0 ? 4 : 1;
        if (used + need >= size) {
            break;
        }
        if (data[i] == 0) {
            memcpy(out + used, "\\x00", 4);
        } else {
            out[used] = (char)data[i];
        }
        used += need;
    }
    out[used] = '\0';
}

void x509_fields_name(const X509_NAME *name, char *out, size_t size)
{
    out[0] = '\0';
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL) {
        return; /* a text less, for people; nothing depends on it */
    }
    char *text = NULL;
    if (X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(bio, &text);
        if (len > 0) {
            x509_fields_copy_bytes((const unsigned char *)text, (size_t)len, out, size);
        }
    }
    BIO_free(bio);
}

void x509_fields_serial(const X509 *certificate, char *out, size_t size)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    const unsigned char *data = ASN1_STRING_get0_data(serial);
    int len = ASN1_STRING_length(serial);
    size_t used = 0;
    out[0] = '\0';
    if (ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER && size > 1) {
        out[used++] = '-';
        out[used] = '\0';
    }
    for (int i = 0; i < len && used + 3 <= size; i++) {
        (void)snprintf(out + used, size - used, "%02x", data[i]);
        used += 2;
    }
}

/* The length is asked for because libcrypto 3.0 gives the SHA-1 that it keeps of a certificate when
   it has no memory to find out which digest is wanted. */
bool x509_fields_sha256(const X509 *certificate, uint8_t out[X509_FIELDS_SHA256_SIZE])
{
    unsigned len = X509_FIELDS_SHA256_SIZE;
    return X509_digest(certificate, EVP_sha256(), out, &len) == 1 && len == X509_FIELDS_SHA256_SIZE;
}

/* The key in its one form: a point of a curve has a compressed one, too. NULL when memory is out.
 */
static EVP_PKEY *key_in_one_form(EVP_PKEY *key)
{
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) {
        return EVP_PKEY_up_ref(key) == 1 ? key : NULL;
    }
    EVP_PKEY *copy = EVP_PKEY_dup(key);
    if (copy != NULL &&
        EVP_PKEY_set_utf8_string_param(copy, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                       OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) != 1) {
        EVP_PKEY_free(copy);
        return NULL;
    }
    return copy;
}

/* The octets of the certificate's SubjectPublicKeyInfo; -1 when memory is out. */
static int encode_key(const X509 *certificate, unsigned char **der)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    if (key == NULL) { /* of a kind that libcrypto doesn't know: as it stands */
        return i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), der);
    }
    EVP_PKEY *same = key_in_one_form(key);
    int len = same != NULL ? i2d_PUBKEY(same, der) : -1;
    EVP_PKEY_free(same);
    return len;
}

bool x509_fields_key_sha256(const struct crypto *crypto, const X509 *certificate,
                            uint8_t out[X509_FIELDS_SHA256_SIZE])
{
    unsigned char *der = NULL;
    size_t size = 0;
    ERR_set_mark();
    int len = encode_key(certificate, &der);
    bool hashed = len > 0 && EVP_Q_digest(crypto_libctx(crypto), "SHA256", NULL, der, (size_t)len,
                                          out, &size) == 1;
    OPENSSL_free(der);
    (void)ERR_pop_to_mark();
    return hashed;
}

/* 9999-12-31 (RFC 5280 4.1.2.5) fits: time_t has 64 bits. */
bool x509_fields_time(const ASN1_TIME *time, int64_t *seconds)
{
    struct tm tm;
    _Static_assert(sizeof(time_t) == 8, "dates beyond 2038 need a 64-bit time_t");
    if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1) {
        return false;
    }
    *seconds = timegm(&tm);
    return true;
}

/* The NIST name of an accepted curve, else NULL. */
static const char *curve_name(const char *group)
{
    static const char *const CURVES[][2] = {
        {"prime256v1", "P-256"}, {"secp384r1", "P-384"}, {"secp521r1", "P-521"}};
    for (size_t i = 0; i < sizeof(CURVES) / sizeof(CURVES[0]); i++) {
        if (strcmp(group, CURVES[i][0]) == 0 || strcmp(group, CURVES[i][1]) == 0) {
            return CURVES[i][1];
        }
    }
    return NULL;
}

static bool ec_accepted(EVP_PKEY *key, char *why, size_t size)
{
    char group[64] = "";
    size_t len = 0;
    int explicit_parameters = 0;
    /* A missing answer counts as explicit: there is no name to accept. */
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                               &explicit_parameters) != 1 ||
        explicit_parameters != 0 || EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1) {
        (void)snprintf(why, size, "the EC key has explicit curve parameters, not a named curve");
        return false;
    }
    if (curve_name(group) == NULL) {
        (void)snprintf(why, size, "EC curve %s; P-256, P-384 and P-521 are accepted", group);
        return false;
    }
    return true;
}

static bool rsa_accepted(EVP_PKEY *key, char *why, size_t size)
{
    int bits = EVP_PKEY_get_bits(key);
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX) {
        (void)snprintf(why, size, "RSA key of %d bits; %d to %d are accepted", bits, RSA_BITS_MIN,
                       RSA_BITS_MAX);
        return false;
    }
    BIGNUM *exponent = NULL;
    bool fits = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
                BN_num_bits(exponent) <= RSA_EXPONENT_BITS_MAX;
    BN_free(exponent);
    if (!fits) {
        (void)snprintf(why, size, "RSA public exponent of more than %d bits",
                       RSA_EXPONENT_BITS_MAX);
    }
    return fits;
}

bool x509_fields_key_accepted(EVP_PKEY *key, char *why, size_t size)
{
    if (key == NULL) {
        (void)snprintf(why, size, "the public key can't be decoded or is of an unknown kind");
        return false;
    }
    ERR_set_mark();
    bool accepted = false;
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
        accepted = ec_accepted(key, why, size);
        break;
    case EVP_PKEY_RSA:
        accepted = rsa_accepted(key, why, size);
        break;
    case EVP_PKEY_ED25519:
        accepted = true;
        break;
    default: {
        const char *name = EVP_PKEY_get0_type_name(key);
        (void)snprintf(why, size, "%s key; EC, RSA and Ed25519 are accepted",
                       name != NULL ? name : "unknown");
    }
    }
    (void)ERR_pop_to_mark();
    return accepted;
}

void x509_fields_key_text(const X509 *certificate, char *out, size_t size)
{
    char group[64] = "";
    size_t len = 0;
    ERR_set_mark();
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    const char *type = key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;
    if (type == NULL) {
        (void)snprintf(out, size, "unknown");
    } else if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC) {
        if (EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1) {
            (void)snprintf(group, sizeof(group), "explicit parameters");
        }
        const char *curve = curve_name(group);
        (void)snprintf(out, size, "EC %s", curve != NULL ? curve : group);
    } else if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) {
        (void)snprintf(out, size, "Ed25519");
    } else {
        (void)snprintf(out, size, "%s %d", type, EVP_PKEY_get_bits(key));
    }
    (void)ERR_pop_to_mark();
}

/* True when the octets are one definite-length value and nothing more. */
static bool is_one_value(const ASN1_OCTET_STRING *octets)
{
    const unsigned char *start = ASN1_STRING_get0_data(octets);
    const unsigned char *cursor = start;
    long total = ASN1_STRING_length(octets);
    long len = 0;
    int tag = 0;
    int class = 0;
    int form = ASN1_get_object(&cursor, &len, &tag, &class, total);
    return (form & (ASN1_BAD | ASN1_INDEFINITE)) == 0 && cursor - start + len == total;
}

static const char *deciding_extension_name(int nid)
{
    switch (nid) {
    case NID_subject_alt_name:
        return "subjectAltName";
    case NID_basic_constraints:
        return "basicConstraints";
    case NID_key_usage:
        return "keyUsage";
    case NID_ext_key_usage:
        return "extendedKeyUsage";
    case NID_name_constraints:
        return "nameConstraints";
    default:
        return NULL;
    }
}

static bool decodes(X509_EXTENSION *extension)
{
    const X509V3_EXT_METHOD *method = X509V3_EXT_get(extension);
    const ASN1_OCTET_STRING *octets = X509_EXTENSION_get_data(extension);
    const unsigned char *cursor = ASN1_STRING_get0_data(octets);
    int len = ASN1_STRING_length(octets);
    if (method == NULL || method->it == NULL) {
        return false;
    }
    ASN1_VALUE *value = ASN1_item_d2i(NULL, &cursor, len, ASN1_ITEM_ptr(method->it));
    bool whole = value != NULL && cursor == ASN1_STRING_get0_data(octets) + len;
    ASN1_item_free(value, ASN1_ITEM_ptr(method->it));
    return whole;
}

static bool extension_sound(const X509 *certificate, int index, char *why, size_t size)
{
    X509_EXTENSION *extension = X509_get_ext(certificate, index);
    ASN1_OBJECT *object = X509_EXTENSION_get_object(extension);
    /* RFC 5280 4.2: "MUST NOT include more than one instance of a particular extension". */
    if (X509_get_ext_by_OBJ(certificate, object, index) >= 0) {
        char oid[80] = "";
        (void)OBJ_obj2txt(oid, sizeof(oid), object, 0);
        (void)snprintf(why, size, "the extension %s is there twice", oid);
        return false;
    }
    const char *name = deciding_extension_name(OBJ_obj2nid(object));
    if (name == NULL) {
        return true;
    }
    if (!is_one_value(X509_EXTENSION_get_data(extension))) {
        (void)snprintf(why, size, "%s: bytes before or behind its DER value", name);
        return false;
    }
    if (!decodes(extension)) {
        (void)snprintf(why, size, "%s: can't be decoded", name);
        return false;
    }
    return true;
}

bool x509_fields_extensions_sound(const X509 *certificate, char *why, size_t size)
{
    int count = X509_get_ext_count(certificate);
    if (count > X509_FIELDS_EXTENSIONS_MAX) {
        (void)snprintf(why, size, "%d extensions; at most %d are accepted", count,
                       X509_FIELDS_EXTENSIONS_MAX);
        return false;
    }
    bool sound = true;
    ERR_set_mark();
    for (int i = 0; sound && i < count; i++) {
        sound = extension_sound(certificate, i, why, size);
    }
    (void)ERR_pop_to_mark();
    return sound;
}

bool x509_fields_extension_critical(const X509 *certificate, int nid)
{
    int index = X509_get_ext_by_NID(certificate, nid, -1);
    return index >= 0 && X509_EXTENSION_get_critical(X509_get_ext(certificate, index)) != 0;
}

enum x509_fields_found x509_fields_read(const X509 *certificate, int nid, void **value)
{
    enum { ABSENT = -1 };
    int critical = 0;
    ERR_set_mark();
    *value = X509_get_ext_d2i(certificate, nid, &critical, NULL);
    (void)ERR_pop_to_mark();
    if (*value != NULL) {
        return X509_FIELDS_FOUND;
    }
    return critical == ABSENT ? X509_FIELDS_ABSENT : X509_FIELDS_UNREADABLE;
}

enum x509_fields_found x509_fields_san(const X509 *certificate, GENERAL_NAMES **names)
{
    void *value = NULL;
    enum x509_fields_found found = x509_fields_read(certificate, NID_subject_alt_name, &value);
    *names = value;
    return found;
}

const ASN1_IA5STRING *x509_fields_uri(const GENERAL_NAME *name)
{
    int type = 0;
    const ASN1_IA5STRING *value = GENERAL_NAME_get0_value(name, &type);
    return type == GEN_URI ? value : NULL;
}
