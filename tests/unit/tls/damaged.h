/*
 * damaged: identities whose certificate no parser takes, as a peer's libssl sends it nevertheless.
 */
#ifndef BULKHEAD_TESTS_UNIT_TLS_DAMAGED_H
#define BULKHEAD_TESTS_UNIT_TLS_DAMAGED_H

#include "unit/tls/tls_test.h"

/* What libcrypto writes as it is told, and does not read. */
enum damage {
    DAMAGE_OID_PADDED,     /* X.690 8.19.2: a subidentifier begins with 0x80 */
    DAMAGE_OID_UNFINISHED, /* the last byte says that another follows */
    DAMAGE_COUNT
};

static inline ASN1_OBJECT *damaged_oid(enum damage damage)
{
    unsigned char padded[] = {0x2b, 0x80, 0x01};
    unsigned char unfinished[] = {0x2b, 0x06, 0x81};
    unsigned char *bytes = damage == DAMAGE_OID_PADDED ? padded : unfinished;
    ASN1_OBJECT *object = ASN1_OBJECT_create(NID_undef, bytes, 3, "damaged", "damaged");
    assert_non_null(object);
    return object;
}

/* A sound identity, but for the OID of its last extension; signed as it is. */
static inline struct identity make_damaged(struct world *world, enum damage damage)
{
    struct identity made = make_identity(&world->anchor, PEER_ID, false, -HOUR, HOUR);
    ASN1_OBJECT *object = damaged_oid(damage);
    /* Adding an extension would parse it. */
    X509_EXTENSION *extension = X509_get_ext(made.cert, X509_get_ext_count(made.cert) - 1);
    assert_int_equal(X509_EXTENSION_set_object(extension, object), 1);
    assert_true(X509_sign(made.cert, world->anchor.key, EVP_sha256()) > 0);
    ASN1_OBJECT_free(object);

    unsigned char *der = NULL;
    int len = i2d_X509(made.cert, &der);
    assert_true(len > 0);
    const unsigned char *cursor = der;
    assert_null(d2i_X509(NULL, &cursor, len)); /* it is damaged indeed */
    ERR_clear_error();
    OPENSSL_free(der);
    return made;
}

#endif
