/*
 * proxy_header: the bytes of a PROXY protocol header, version 2, that tells a server who called.
 *
 * By proxy-protocol.txt of HAProxy, 2.2, the sender's side. Pure; any thread. What is told, and
 * whether it was verified, is the caller's business (proxy/announce.h); here is only how it is
 * written. Nothing is cut to fit: what can't be written whole is an answer of its own.
 *
 *     signature 12 | version and command 1 | family 1 | length 2 | addresses | TLVs
 */
#ifndef BULKHEAD_NET_PROXY_HEADER_H
#define BULKHEAD_NET_PROXY_HEADER_H

#include "base/netaddr.h"
#include "base/strview.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The types that are written. 0xE0 to 0xEF are for applications to give a meaning to: ours. */
enum proxy_header_type {
    PROXY_HEADER_ALPN = 0x01,
    PROXY_HEADER_AUTHORITY = 0x02,
    PROXY_HEADER_UNIQUE_ID = 0x05,
    PROXY_HEADER_SSL = 0x20,
    PROXY_HEADER_SSL_VERSION = 0x21,
    PROXY_HEADER_SSL_CN = 0x22,
    PROXY_HEADER_SSL_CIPHER = 0x23,
    PROXY_HEADER_SSL_SIG_ALG = 0x24,
    PROXY_HEADER_SSL_KEY_ALG = 0x25,
    PROXY_HEADER_SSL_GROUP = 0x26,
    PROXY_HEADER_SSL_CLIENT_CERT = 0x28,
    PROXY_HEADER_SPIFFE_ID = 0xe0,
    PROXY_HEADER_RULE = 0xe1
};

/* Of PROXY_HEADER_SSL. */
enum {
    PROXY_HEADER_CLIENT_SSL = 0x01,       /* the client came over TLS */
    PROXY_HEADER_CLIENT_CERT_CONN = 0x02, /* and showed its certificate on this connection */
    PROXY_HEADER_CLIENT_CERT_SESS = 0x04  /* or in the TLS session that this connection goes on */
};

enum {
    PROXY_HEADER_MAX = 16 + 65535, /* the length has 16 bits */
    PROXY_HEADER_UNIQUE_ID_MAX = 128
};

/* Empty texts leave their TLV out. */
struct proxy_header {
    struct netaddr source; /* of the client; of the same family, or both are not told */
    struct netaddr destination;
    struct strview alpn;
    struct strview authority;
    struct strview unique_id;
    struct {
        uint8_t flags; /* PROXY_HEADER_CLIENT_*; 0: no TLS, and nothing of this is written */
        bool verified;
        struct strview version;
        struct strview cipher;
        struct strview group;
        struct strview signature_algorithm; /* of our own certificate */
        struct strview key_algorithm;
        struct strview common_name; /* of the client's */
        struct strview certificate; /* DER */
    } tls;
    struct strview spiffe_id;
    struct strview rule;
};

/*
 * Writes it and returns its length; 0, and out holds nothing of use, when it is longer than size or
 * than the protocol can say, or unique_id is too long.
 *
 * IPv4 mapped into IPv6 is IPv4. Unix: family AF_UNIX, with the paths that there are, an unnamed
 * end being all zeros. Addresses that are unset or of two families are family UNSPEC, and none.
 */
size_t proxy_header_write(const struct proxy_header *header, uint8_t *out, size_t size)
    __attribute__((warn_unused_result));

#endif
