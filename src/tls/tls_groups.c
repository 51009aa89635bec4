/*
 * Up to 3.4 libssl has no syntax for several key shares, so the hybrid needs 3.5 in any case.
 */
#include "tls_groups.h"

#include <openssl/crypto.h>
#include <openssl/obj_mac.h>

bool tls_groups_post_quantum(void)
{
    unsigned major = OPENSSL_version_major();
    return major > 3 || (major == 3 && OPENSSL_version_minor() >= 5);
}

const char *tls_groups_name(SSL *ssl)
{
    /* It has no NID: libssl gives its number among TLS's groups, marked. */
    enum { X25519_MLKEM768 = 0x11ec };
    switch ((int)SSL_get_negotiated_group(ssl)) {
    case TLSEXT_nid_unknown | X25519_MLKEM768:
        return "X25519MLKEM768";
    case NID_X25519:
        return "X25519";
    case NID_X9_62_prime256v1:
        return "P-256";
    case NID_secp384r1:
        return "P-384";
    case NID_secp521r1:
        return "P-521";
    default:
        return "";
    }
}
