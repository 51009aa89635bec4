/*
 * Which entry of libssl's queue decides, and what alerts are called.
 */
#include "unit/net/net_test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "../../../src/tls/tls_error.h"

static void test_names_alerts(void **state)
{
    (void)state;
    assert_string_equal(tls_error_alert_name(SSL_AD_BAD_CERTIFICATE), "bad_certificate");
    assert_string_equal(tls_error_alert_name(SSL_AD_UNKNOWN_CA), "unknown_ca");
    assert_string_equal(tls_error_alert_name(SSL_AD_CERTIFICATE_REQUIRED), "certificate_required");
    assert_string_equal(tls_error_alert_name(120), "no_application_protocol");
    assert_string_equal(tls_error_alert_name(0), "close_notify");
    assert_string_equal(tls_error_alert_name(1), "unknown_alert");
    assert_string_equal(tls_error_alert_name(255), "unknown_alert");
    assert_string_equal(tls_error_alert_name(TLS_ALERT_NONE), "unknown_alert");
}

static void test_empty_queue_is_a_protocol_error(void **state)
{
    (void)state;
    struct tls_error error;
    ERR_clear_error();
    tls_error_take(&error);
    assert_int_equal(error.reason, REASON_TLS_PROTOCOL);
    assert_int_equal(error.alert, TLS_ALERT_NONE);
    assert_false(error.too_large);
    assert_string_equal(error.detail, "");
}

struct queue_case {
    int library[3];
    int code[3];
    enum reason reason;
    int alert;
};

static void test_the_oldest_that_says_something_decides(void **state)
{
    (void)state;
    static const struct queue_case cases[] = {
        {{ERR_LIB_SSL}, {SSL_R_NO_SHARED_CIPHER}, REASON_TLS_NO_COMMON, TLS_ALERT_NONE},
        {{ERR_LIB_SSL},
         {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE},
         REASON_SVID_NO_CERTIFICATE,
         TLS_ALERT_NONE},
        {{ERR_LIB_ASN1, ERR_LIB_SSL},
         {ERR_R_NESTED_ASN1_ERROR, ERR_R_ASN1_LIB},
         REASON_SVID_MALFORMED,
         TLS_ALERT_NONE},
        {{ERR_LIB_SSL, ERR_LIB_SSL},
         {SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_CERT_CB_ERROR},
         REASON_TLS_NO_COMMON,
         TLS_ALERT_NONE},
        {{ERR_LIB_SSL, ERR_LIB_SSL},
         {SSL_R_BAD_LENGTH, SSL_R_NO_SHARED_GROUPS},
         REASON_TLS_NO_COMMON,
         TLS_ALERT_NONE},
        {{ERR_LIB_EVP}, {ERR_R_MALLOC_FAILURE}, REASON_OUT_OF_MEMORY, TLS_ALERT_NONE},
        {{ERR_LIB_SSL}, {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE}, REASON_TLS_PROTOCOL, 42},
        {{ERR_LIB_SSL}, {SSL_R_TLSV1_ALERT_UNKNOWN_CA}, REASON_TLS_PROTOCOL, 48},
        {{ERR_LIB_SSL}, {SSL_R_BAD_LENGTH}, REASON_TLS_PROTOCOL, TLS_ALERT_NONE},
        /* Another library's code may have an alert's number. */
        {{ERR_LIB_EVP}, {SSL_R_TLSV1_ALERT_UNKNOWN_CA}, REASON_TLS_PROTOCOL, TLS_ALERT_NONE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ERR_clear_error();
        for (size_t n = 0; n < 3 && cases[i].library[n] != 0; n++) {
            ERR_raise(cases[i].library[n], cases[i].code[n]);
        }
        struct tls_error error;
        tls_error_take(&error);
        assert_int_equal(error.reason, cases[i].reason);
        assert_int_equal(error.alert, cases[i].alert);
        assert_true(error.detail[0] != '\0');
        assert_int_equal(ERR_peek_error(), 0); /* drained */
    }
}

static void test_tells_messages_that_are_too_large(void **state)
{
    (void)state;
    struct tls_error error;
    ERR_raise(ERR_LIB_SSL, SSL_R_EXCESSIVE_MESSAGE_SIZE);
    tls_error_take(&error);
    assert_true(error.too_large);
    assert_int_equal(error.reason, REASON_TLS_PROTOCOL);
}

static void test_clears(void **state)
{
    (void)state;
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    tls_error_clear();
    assert_int_equal(ERR_peek_error(), 0);
    tls_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_alerts),
        cmocka_unit_test(test_empty_queue_is_a_protocol_error),
        cmocka_unit_test(test_the_oldest_that_says_something_decides),
        cmocka_unit_test(test_tells_messages_that_are_too_large),
        cmocka_unit_test(test_clears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
