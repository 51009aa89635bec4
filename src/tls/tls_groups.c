/*
 * The list's syntax is libssl's: up to 3.4 names and colons, and one key share, for the first; from
 * 3.5 on `*` asks for a key share, `?` passes over what the providers don't have (a FIPS module may
 * lack ML-KEM, and X25519 too), and `/` parts groups that a server prefers enough to ask for
 * another round.
 */
#include "tls_groups.h"

#include <openssl/crypto.h>
#include <openssl/obj_mac.h>

bool tls_groups_post_quantum(void)
{
    unsigned major = OPENSSL_version_major();
    return major > 3 || (major == 3 && OPENSSL_version_minor() >= 5);
}

bool tls_groups_set(SSL_CTX *ssl_ctx)
{
    /* Not const: libssl's macro casts it away. */
    char classical[] = "X25519:P-256:P-384:P-521";
    char post_quantum[] = "?*X25519MLKEM768/?*X25519:P-256:P-384:P-521";
    return SSL_CTX_set1_groups_list(ssl_ctx,
                                    tls_groups_post_quantum() ? post_quantum : classical) == 1;
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
