/*
 * libssl queues the root cause first and its consequences after it, so the oldest entry with a row
 * in the table decides; an alert from the peer is an entry with a reason code of 1000 + its number.
 */
#include "tls_error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct row {
    int code;
    enum reason reason;
};

/* Codes of ERR_LIB_SSL. */
static const struct row rows[] = {
    {SSL_R_NO_SHARED_CIPHER, REASON_TLS_NO_COMMON},
    {SSL_R_NO_CIPHERS_AVAILABLE, REASON_TLS_NO_COMMON},
    {SSL_R_NO_CIPHERS_SPECIFIED, REASON_TLS_NO_COMMON},
    {SSL_R_NO_CIPHER_MATCH, REASON_TLS_NO_COMMON},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, REASON_TLS_NO_COMMON},
    {SSL_R_UNSUPPORTED_PROTOCOL, REASON_TLS_NO_COMMON},
    {SSL_R_UNSUPPORTED_SSL_VERSION, REASON_TLS_NO_COMMON},
    {SSL_R_VERSION_TOO_LOW, REASON_TLS_NO_COMMON},
    {SSL_R_VERSION_TOO_HIGH, REASON_TLS_NO_COMMON},
    {SSL_R_WRONG_SSL_VERSION, REASON_TLS_NO_COMMON},
    {SSL_R_UNKNOWN_PROTOCOL, REASON_TLS_NO_COMMON},
    {SSL_R_NO_SUITABLE_KEY_SHARE, REASON_TLS_NO_COMMON},
    {SSL_R_NO_SUITABLE_GROUPS, REASON_TLS_NO_COMMON},
    {SSL_R_NO_SHARED_GROUPS, REASON_TLS_NO_COMMON},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, REASON_TLS_NO_COMMON},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, REASON_TLS_NO_COMMON},
    {SSL_R_WRONG_CURVE, REASON_TLS_NO_COMMON},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, REASON_SVID_NO_CERTIFICATE},
    {SSL_R_CERT_LENGTH_MISMATCH, REASON_SVID_MALFORMED},
    {SSL_R_BAD_ECPOINT, REASON_TLS_PROTOCOL},
    {ERR_R_ASN1_LIB, REASON_SVID_MALFORMED},
    {ERR_R_X509_LIB, REASON_SVID_MALFORMED},
    {SSL_R_UNABLE_TO_FIND_PUBLIC_KEY_PARAMETERS, REASON_SVID_WEAK_KEY},
    {SSL_R_UNKNOWN_CERTIFICATE_TYPE, REASON_SVID_WEAK_KEY},
    {SSL_R_EE_KEY_TOO_SMALL, REASON_SVID_WEAK_KEY},
    {SSL_R_CA_KEY_TOO_SMALL, REASON_SVID_WEAK_KEY},
    {SSL_R_CA_MD_TOO_WEAK, REASON_SVID_WEAK_KEY},
    {SSL_R_CERTIFICATE_VERIFY_FAILED, REASON_SVID_VERIFY_FAILED},
    {SSL_R_CERT_CB_ERROR, REASON_OWN_CREDENTIALS},
    {SSL_R_NO_CERTIFICATE_ASSIGNED, REASON_OWN_CREDENTIALS},
    {SSL_R_NO_CERTIFICATE_SET, REASON_OWN_CREDENTIALS},
    {ERR_R_MALLOC_FAILURE, REASON_OUT_OF_MEMORY},
    {ERR_R_INTERNAL_ERROR, REASON_INTERNAL},
};

struct alert_name {
    int alert;
    const char *name;
};

/* RFC 8446 6, and those of TLS 1.2 (RFC 5246 7.2, RFC 7301 3.2) that it no longer has. */
static const struct alert_name alert_names[] = {
    {0, "close_notify"},
    {10, "unexpected_message"},
    {20, "bad_record_mac"},
    {21, "decryption_failed"},
    {22, "record_overflow"},
    {30, "decompression_failure"},
    {40, "handshake_failure"},
    {41, "no_certificate"},
    {42, "bad_certificate"},
    {43, "unsupported_certificate"},
    {44, "certificate_revoked"},
    {45, "certificate_expired"},
    {46, "certificate_unknown"},
    {47, "illegal_parameter"},
    {48, "unknown_ca"},
    {49, "access_denied"},
    {50, "decode_error"},
    {51, "decrypt_error"},
    {60, "export_restriction"},
    {70, "protocol_version"},
    {71, "insufficient_security"},
    {80, "internal_error"},
    {86, "inappropriate_fallback"},
    {90, "user_canceled"},
    {100, "no_renegotiation"},
    {109, "missing_extension"},
    {110, "unsupported_extension"},
    {111, "certificate_unobtainable"},
    {112, "unrecognized_name"},
    {113, "bad_certificate_status_response"},
    {114, "bad_certificate_hash_value"},
    {115, "unknown_psk_identity"},
    {116, "certificate_required"},
    {120, "no_application_protocol"},
};

enum { ALERT_CODES = 256 };

void tls_error_clear(void)
{
    /* Clearing walks all slots; asking first is what makes it cheap per record. */
    if (ERR_peek_error() != 0) {
        ERR_clear_error();
    }
}

const char *tls_error_alert_name(int alert)
{
    for (size_t i = 0; i < sizeof(alert_names) / sizeof(alert_names[0]); i++) {
        if (alert_names[i].alert == alert) {
            return alert_names[i].name;
        }
    }
    return "unknown_alert";
}

/* REASON_NONE: the table has no row. */
static enum reason reason_of(int code)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].code == code) {
            return rows[i].reason;
        }
    }
    return REASON_NONE;
}

static void describe(struct tls_error *error, unsigned long entry)
{
    const char *text = ERR_reason_error_string(entry);
    if (text != NULL) {
        (void)snprintf(error->detail, sizeof(error->detail), "%s", text);
    } else {
        (void)snprintf(error->detail, sizeof(error->detail), "error %lx", entry);
    }
}

/* libssl has one code for every extension that is wrong; the function tells which it was. */
static bool is_alpn_refusal(int code, const char *function)
{
    return code == SSL_R_BAD_EXTENSION && strcmp(function, "tls_parse_stoc_alpn") == 0;
}

/* Whether this entry says why, so that the later ones don't matter. */
static bool judge_entry(struct tls_error *error, unsigned long entry, const char *function)
{
    int code = ERR_GET_REASON(entry);
    /* Out of memory is told alike by every library below libssl. */
    if (code == ERR_R_MALLOC_FAILURE) {
        error->reason = REASON_OUT_OF_MEMORY;
        return true;
    }
    if (ERR_GET_LIB(entry) != ERR_LIB_SSL) {
        return false;
    }
    if (code >= SSL_AD_REASON_OFFSET && code < SSL_AD_REASON_OFFSET + ALERT_CODES) {
        error->alert = code - SSL_AD_REASON_OFFSET;
        return true;
    }
    error->too_large = code == SSL_R_EXCESSIVE_MESSAGE_SIZE;
    enum reason reason =
        is_alpn_refusal(code, function) ? REASON_UPSTREAM_ALPN_MISMATCH : reason_of(code);
    if (reason != REASON_NONE) {
        error->reason = reason;
    }
    return reason != REASON_NONE || error->too_large;
}

void tls_error_take(struct tls_error *error)
{
    *error = (struct tls_error){.reason = REASON_TLS_PROTOCOL, .alert = TLS_ALERT_NONE};
    bool decided = false;
    unsigned long entry;
    const char *function = NULL;
    while ((entry = ERR_get_error_all(NULL, NULL, &function, NULL, NULL)) != 0) {
        if (decided) {
            continue;
        }
        decided = judge_entry(error, entry, function != NULL ? function : "");
        if (decided || error->detail[0] == '\0') {
            describe(error, entry);
        }
    }
}
