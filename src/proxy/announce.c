/*
 * What is verified (the SPIFFE ID, the certificate, our own rule) is told as it stands. What a peer
 * or its CA may choose (SNI, CN) is told whole or not at all, and only in the characters that such
 * a name has: a server that prints it gets no surprise from us.
 */
#include "proxy/announce.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "net/conn.h"
#include "net/proxy_header.h"
#include "net/socket.h"
#include "proxy/session.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"
#include "spiffe/common_name.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "spiffe/spiffe_id.h"
#include "spiffe/x509_svid.h"
#include "tls/tls_conn.h"

/* Of everything but a certificate: addresses, ALPN and SNI of 255 bytes, CN of 256, an ID of 2048,
   names of algorithms, a rule's name. */
enum { WITHOUT_CERTIFICATE = 4096 };

bool announce_is_wanted(const struct session *session)
{
    return session->listener->config->proxy_protocol == CONFIG_PROXY_PROTOCOL_V2;
}

const char *announce_unique_id(const struct session *session, char out[ANNOUNCE_UNIQUE_ID_SIZE])
{
    (void)snprintf(out, ANNOUNCE_UNIQUE_ID_SIZE, "%016" PRIx64 "-%" PRIu64,
                   session->worker->unique_mark, session->id);
    return out;
}

/* RFC 6066 3: a host name in ASCII, as DNS has it; anything else is not told. */
static struct strview server_name(const struct conn *downstream)
{
    struct strview name = strview_from(tls_conn_server_name(downstream));
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_') {
            return (struct strview){NULL, 0};
        }
    }
    return name;
}

/* The registered names (RFC 8446 4.2.7, draft-ietf-tls-ecdhe-mlkem) of those in peer_info. */
static const char *group_name(const char *group)
{
    static const char *const names[][2] = {{"X25519MLKEM768", "X25519MLKEM768"},
                                           {"X25519", "x25519"},
                                           {"P-256", "secp256r1"},
                                           {"P-384", "secp384r1"},
                                           {"P-521", "secp521r1"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(group, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return "";
}

static void fill_tls(struct proxy_header *header, const struct session *session,
                     const struct peer_info *peer, const struct peer_chain_link *leaf)
{
    const struct x509_svid *own = credentials_own(session->snapshot->credentials);
    header->tls.flags = PROXY_HEADER_CLIENT_SSL | PROXY_HEADER_CLIENT_CERT_SESS;
    if (!peer->resumed) {
        header->tls.flags |= PROXY_HEADER_CLIENT_CERT_CONN;
    }
    header->tls.verified = true; /* or there would be no session to tell of */
    header->tls.version = strview_from(peer->version);
    header->tls.cipher = strview_from(tls_conn_cipher_name(session->downstream));
    header->tls.group = strview_from(group_name(peer->group));
    if (own != NULL) { /* or it has been withdrawn, and the session ends */
        header->tls.signature_algorithm = strview_from(x509_svid_signature_algorithm(own));
        header->tls.key_algorithm = strview_from(x509_svid_key_algorithm(own));
    }
    header->tls.common_name = common_name_read(leaf->der);
    if (session->listener->config->proxy_protocol_certificate) {
        header->tls.certificate = leaf->der;
    }
}

static enum reason reason_of(enum conn_end end)
{
    switch (end) {
    case CONN_END_NONE:
        return REASON_NONE;
    case CONN_END_NO_MEMORY:
        return REASON_OUT_OF_MEMORY;
    case CONN_END_VANISHED:
        return REASON_UPSTREAM_VANISHED;
    case CONN_END_RESET:
    case CONN_END_CLEAN:
    case CONN_END_TRUNCATED:
    case CONN_END_ALERT:
    case CONN_END_PROTOCOL:
    case CONN_END_NO_PROGRESS:
        break;
    }
    return REASON_UPSTREAM_RESET;
}

/* In one piece, as the specification wants it; what the kernel does not take goes out first. */
static enum reason write_header(const struct proxy_header *header, struct conn *upstream,
                                uint8_t *memory, size_t size)
{
    size_t len = proxy_header_write(header, memory, size);
    if (len == 0) {
        return REASON_PROXY_HEADER_TOO_LONG;
    }
    return reason_of(conn_write(upstream, memory, len));
}

enum reason announce_send(const struct session *session, struct conn *upstream)
{
    const struct peer_info *peer = session_downstream_peer(session);
    struct peer_chain_link leaf;
    if (peer == NULL || !peer_chain_link(peer->chain, 0, &leaf)) {
        return REASON_INTERNAL;
    }
    char unique_id[ANNOUNCE_UNIQUE_ID_SIZE];
    struct proxy_header header = {
        .source = netaddr_of(&session->peer),
        .alpn = strview_from(peer->alpn),
        .authority = server_name(session->downstream),
        .unique_id = strview_from(announce_unique_id(session, unique_id)),
        .spiffe_id = peer_chain_id(peer->chain)->text,
        .rule = strview_from(exchange_rule_name(&session->exchange, session)),
    };
    socket_local_address(conn_fd(session->downstream), &header.destination);
    fill_tls(&header, session, peer, &leaf);
    uint8_t fixed[WITHOUT_CERTIFICATE];
    if (header.tls.certificate.len == 0) {
        return write_header(&header, upstream, fixed, sizeof(fixed));
    }
    size_t size = WITHOUT_CERTIFICATE + header.tls.certificate.len;
    uint8_t *memory = mem_try_alloc(size);
    if (memory == NULL) {
        return REASON_OUT_OF_MEMORY;
    }
    enum reason reason = write_header(&header, upstream, memory, size);
    mem_free(memory);
    return reason;
}
