/*
 * x509_fields: single facts of a certificate, read with explicit lengths and in bounded space.
 *
 * For spiffe/ only. Texts are for people and logs: nothing is ever decided by a printed form
 * (CVE-2021-44532). Any thread.
 */
#ifndef BULKHEAD_SPIFFE_X509_FIELDS_H
#define BULKHEAD_SPIFFE_X509_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct crypto;

enum {
    X509_FIELDS_SHA256_SIZE = 32,
    X509_FIELDS_EXTENSIONS_MAX = 64, /* in one certificate; real ones have about ten */
    X509_FIELDS_SAN_NAMES_MAX = 128  /* in one SAN */
};

enum x509_fields_found {
    X509_FIELDS_UNREADABLE = 0, /* it is there: undecodable, there twice, or memory is out */
    X509_FIELDS_ABSENT,
    X509_FIELDS_FOUND
};

/* One line in the manner of RFC 2253, cut at size. */
void x509_fields_name(const X509_NAME *name, char *out, size_t size);
/* Hexadecimal, cut at size. */
void x509_fields_serial(const X509 *certificate, char *out, size_t size);
/* Copies bytes that may hold NUL into a C string; a NUL becomes \x00. Cut at size. */
void x509_fields_copy_bytes(const unsigned char *data, size_t len, char *out, size_t size);
/* SHA-256 of the DER. False when memory is out. */
bool x509_fields_sha256(const X509 *certificate, uint8_t out[X509_FIELDS_SHA256_SIZE])
    __attribute__((warn_unused_result));
/*
 * SHA-256 of the SubjectPublicKeyInfo, the same for every certificate of one key: however often
 * it is certified and in whichever form its point stands. False when memory is out.
 */
bool x509_fields_key_sha256(const struct crypto *crypto, const X509 *certificate,
                            uint8_t out[X509_FIELDS_SHA256_SIZE])
    __attribute__((warn_unused_result));
/* Seconds since 1970; 9999-12-31 does not overflow. False for what can't be read. */
bool x509_fields_time(const ASN1_TIME *time, int64_t *seconds);
/* "EC P-256", "RSA 2048", "Ed25519", or the name of what is not accepted. */
void x509_fields_key_text(const X509 *certificate, char *out, size_t size);

/*
 * The kinds of key that we accept: EC on the named curves P-256, P-384, P-521, RSA of 2048 to
 * 4096 bits with an exponent of at most 64, Ed25519. Explicit curve parameters are refused
 * (CVE-2022-0778), and what is so large that its use would be an attack (CVE-2023-6237). False
 * with the fact in why.
 */
bool x509_fields_key_accepted(EVP_PKEY *key, char *why, size_t size);

/*
 * RFC 5280 4.2: no extension twice; those that decide here (SAN, basicConstraints, keyUsage,
 * extendedKeyUsage, nameConstraints) hold exactly one DER value of their type and nothing behind
 * it. False with the fact in why.
 */
bool x509_fields_extensions_sound(const X509 *certificate, char *why, size_t size);
/* False when there is no such extension. */
bool x509_fields_extension_critical(const X509 *certificate, int nid);
/* The decoded extension, for the caller to free; NULL unless X509_FIELDS_FOUND. In a certificate
   whose extensions are sound, X509_FIELDS_UNREADABLE means that memory is out. */
enum x509_fields_found x509_fields_read(const X509 *certificate, int nid, void **value)
    __attribute__((warn_unused_result));
/* The SAN, by GENERAL_NAMES_free. */
enum x509_fields_found x509_fields_san(const X509 *certificate, GENERAL_NAMES **names)
    __attribute__((warn_unused_result));
/* The URI of a GENERAL_NAME, or NULL when it is of another type. */
const ASN1_IA5STRING *x509_fields_uri(const GENERAL_NAME *name);

#endif
