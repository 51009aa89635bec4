/*
 * Server: tickets are session IDs (stateful, SSL_OP_NO_TICKET): the secrets stay here, the peer's
 * whole chain with them (a stateless ticket has the leaf alone), and to forget is to revoke. TLS
 * 1.3 only; no early data, no psk_ke: a resumed handshake has its own key exchange.
 *
 * One ticket for a connection, with the first application bytes that flow to the client: a client
 * that writes and closes without reading would have its kernel answer an unread ticket with RST,
 * which destroys what it wrote last. A client that did not offer psk_dhe_ke gets none (RFC 8446
 * 4.2.9).
 *
 * Tickets may be used more than once, until their end: it is the client that shall not reuse them,
 * for its privacy (RFC 8446 C.4). Refusing would gain nothing, because a handshake proves the
 * secret and there is no early data to replay; it would cost a full handshake for each of several
 * connections that a client opens at once. So a session in the store is never changed: who resumes
 * gets a copy. Outbound we are the client: a session is taken out of the store, and used once.
 *
 * What is stored is the very session of the connection that lives on (a copy for each would be 1.2
 * KiB of an idle connection). Once its ticket is made, nobody writes to it but libssl, when a fatal
 * alert ends the connection: it marks it, and the session leaves the store. That a session is
 * shared so between threads is what libssl's own cache does.
 *
 * What a session is bound to:
 *
 *     session id context      role, listener's name, generation of the credentials (trust, CRLs,
 *                             own SVID); libssl resumes within the same only
 *     mark in the session     the time of the full handshake, which every renewal inherits: libssl
 *                             restarts its own timer with each ticket. The store's until_s comes
 *                             from it and from the chain's notAfter.
 *     key, outbound           all of the first, the context, the server's address and the SNI. Who
 *                             it must be (peer_check) is asked again after each handshake.
 *
 * SNI is no part of it inbound, because it chooses nothing there: one listener, one policy, one
 * identity.
 *
 * The store's bounds count sessions, and a session holds what the peer has sent: with all of the
 * certificates that a handshake reads, one peer's sessions were 80 MiB. Who sends more than chains
 * and tickets of SVIDs have makes full handshakes.
 */
#include "tls_resumption.h"

#include "base/assert.h"
#include "base/clock.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "tls_bio.h"
#include "tls_conn_private.h"
#include "tls_context_private.h"
#include "tls_error.h"
#include "tls_session_store_private.h"
#include "tls_thread.h"
#include "tls_verify.h"

#include <openssl/evp.h>
#include <openssl/tls1.h>

#include <string.h>
#include <sys/socket.h>

enum { PSK_DHE_KE = 1 }; /* RFC 8446 4.2.9 */
/* Of a session that is kept. Six RSA 4096 certificates, or a ticket that holds three, have less. */
enum { CHAIN_BYTES_MAX = 12 * 1024, TICKET_BYTES_MAX = 8 * 1024 };
enum { ID_CONTEXT_SIZE = TLS_NAME_HASH_SIZE + sizeof(uint64_t) };
_Static_assert((int)ID_CONTEXT_SIZE == SSL_MAX_SID_CTX_LENGTH, "fills the id context");
_Static_assert((int)TLS_SESSION_KEY_SIZE == SSL_MAX_SSL_SESSION_ID_LENGTH, "an ID is a key");

/* Travels in the session's application data, which libssl copies with it. */
struct mark {
    int64_t from_s;                    /* of the full handshake */
    uint8_t key[TLS_SESSION_KEY_SIZE]; /* client only */
};

static bool get_mark(SSL_SESSION *session, struct mark *mark)
{
    void *data = NULL;
    size_t len = 0;
    if (SSL_SESSION_get0_ticket_appdata(session, &data, &len) != 1 || len != sizeof(*mark)) {
        return false;
    }
    memcpy(mark, data, sizeof(*mark));
    return true;
}

static void make_id_context(const struct tls_conn *tls, uint8_t id[ID_CONTEXT_SIZE])
{
    uint64_t generation = tls_thread_generation(tls->thread);
    memcpy(id, tls->context->name_hash, TLS_NAME_HASH_SIZE);
    memcpy(id + TLS_NAME_HASH_SIZE, &generation, sizeof(generation));
}

bool tls_resumption_bind(struct tls_conn *tls)
{
    uint8_t id[ID_CONTEXT_SIZE];
    make_id_context(tls, id);
    return SSL_set_session_id_context(tls->ssl, id, sizeof(id)) == 1;
}

/* Was the session made here, under the credentials that are in force now? */
static bool is_bound(const struct tls_conn *tls, const SSL_SESSION *session)
{
    uint8_t id[ID_CONTEXT_SIZE];
    make_id_context(tls, id);
    unsigned len = 0;
    const unsigned char *of_session = SSL_SESSION_get0_id_context(session, &len);
    return len == sizeof(id) && memcmp(of_session, id, sizeof(id)) == 0;
}

static int64_t until_of(const struct tls_conn *tls, const struct mark *mark)
{
    int64_t until = mark->from_s + tls_session_store_max_age_s(tls->context->sessions);
    int64_t not_after = peer_chain_not_after(tls->peer.chain);
    return not_after < until ? not_after : until;
}

/* RFC 8446 4.6.1: a ticket_lifetime of zero means that it is to be thrown away. */
static int64_t until_by_hint(const SSL_SESSION *session, int64_t until)
{
    int64_t hinted = clock_wall_s() + (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session);
    return hinted < until ? hinted : until;
}

/* What is to be kept of the session; false when nothing is. */
static bool facts_of(const struct tls_conn *tls, SSL_SESSION *session,
                     struct tls_session_facts *facts)
{
    struct mark mark;
    if (!is_bound(tls, session) || !get_mark(session, &mark)) {
        return false;
    }
    *facts = (struct tls_session_facts){.role = tls->context->server ? TLS_SESSION_SERVER
                                                                     : TLS_SESSION_CLIENT,
                                        .peer = peer_chain_id(tls->peer.chain)->text,
                                        .generation = tls_thread_generation(tls->thread),
                                        .from_s = mark.from_s,
                                        .until_s = until_of(tls, &mark)};
    if (!tls->context->server) {
        memcpy(facts->key, mark.key, sizeof(facts->key));
        facts->until_s = until_by_hint(session, facts->until_s);
        return true;
    }
    unsigned len = 0;
    const unsigned char *id = SSL_SESSION_get_id(session, &len);
    memcpy(facts->key, id, len < sizeof(facts->key) ? len : sizeof(facts->key));
    return len == sizeof(facts->key);
}

static bool is_too_large(const SSL_SESSION *session)
{
    const unsigned char *ticket = NULL;
    size_t len = 0;
    SSL_SESSION_get0_ticket(session, &ticket, &len);
    return len > TICKET_BYTES_MAX;
}

/* A ticket has been made, or has come. 1: libssl's reference has become ours. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_conn *tls = tls_bio_conn(ssl);
    struct tls_session_facts facts;
    /* In TLS 1.2 a session begins within the handshake, before anybody was judged. */
    if (tls->state != TLS_STATE_OPEN || SSL_version(ssl) != TLS1_3_VERSION ||
        is_too_large(session) || !facts_of(tls, session, &facts) ||
        facts.until_s <= clock_wall_s()) {
        return 0;
    }
    tls_session_store_put(tls->context->sessions, &facts, session);
    return 1;
}

/* Server: a client offers a session ID. What is not found means a full handshake. */
static SSL_SESSION *on_get_session(SSL *ssl, const unsigned char *id, int len, int *copy)
{
    *copy = 0; /* the reference that is returned becomes libssl's */
    struct tls_conn *tls = tls_bio_conn(ssl);
    if (SSL_version(ssl) != TLS1_3_VERSION || len != TLS_SESSION_KEY_SIZE ||
        tls_verify_own(tls) != REASON_NONE) {
        return NULL;
    }
    SSL_SESSION *stored =
        tls_session_store_find(tls->context->sessions, TLS_SESSION_SERVER, id, clock_wall_s());
    if (stored == NULL) {
        return NULL;
    }
    SSL_SESSION *own = SSL_SESSION_dup(stored);
    SSL_SESSION_free(stored);
    return own;
}

static void drop(struct tls_context *context, SSL_SESSION *session)
{
    struct mark mark;
    unsigned len = 0;
    const unsigned char *id = SSL_SESSION_get_id(session, &len);
    if (context->server && len == TLS_SESSION_KEY_SIZE) {
        tls_session_store_drop(context->sessions, TLS_SESSION_SERVER, id, session);
    } else if (!context->server && get_mark(session, &mark)) {
        tls_session_store_drop(context->sessions, TLS_SESSION_CLIENT, mark.key, session);
    }
}

/* A fatal alert was sent or received. RFC 8446 6.2: tickets of failed connections "SHOULD be
   discarded if possible". */
static void on_remove_session(SSL_CTX *ssl_ctx, SSL_SESSION *session)
{
    drop(SSL_CTX_get_app_data(ssl_ctx), session);
}

void tls_resumption_init(struct tls_context *context)
{
    SSL_CTX *ssl_ctx = context->ssl_ctx;
    if (context->sessions == NULL) {
        (void)SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
        return;
    }
    long role = context->server ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_CLIENT;
    (void)SSL_CTX_set_session_cache_mode(ssl_ctx, role | SSL_SESS_CACHE_NO_INTERNAL |
                                                      SSL_SESS_CACHE_NO_AUTO_CLEAR);
    SSL_CTX_set_app_data(ssl_ctx, context);
    SSL_CTX_sess_set_new_cb(ssl_ctx, on_new_session);
    SSL_CTX_sess_set_remove_cb(ssl_ctx, on_remove_session);
    if (context->server) {
        SSL_CTX_sess_set_get_cb(ssl_ctx, on_get_session);
    }
}

void tls_resumption_look_at_hello(struct tls_conn *tls)
{
    const unsigned char *data;
    size_t len;
    if (SSL_client_hello_get0_ext(tls->ssl, TLSEXT_TYPE_psk_kex_modes, &data, &len) == 1 &&
        len > 1) {
        tls->handshake->can_resume = memchr(data + 1, PSK_DHE_KE, len - 1) != NULL;
    }
}

/* Everything that must be the same for a session to be offered. */
static bool make_key(const struct tls_conn *tls, int fd, const char *sni,
                     uint8_t key[TLS_SESSION_KEY_SIZE])
{
    struct {
        uint8_t id_context[ID_CONTEXT_SIZE];
        uint64_t context;
        struct sockaddr_storage address;
        char sni[TLSEXT_MAXLEN_host_name + 1];
    } parts;
    memset(&parts, 0, sizeof(parts));
    make_id_context(tls, parts.id_context);
    parts.context = tls->context->serial;
    socklen_t address_len = sizeof(parts.address);
    if (getpeername(fd, (struct sockaddr *)&parts.address, &address_len) != 0) {
        return false;
    }
    if (sni != NULL) {
        memcpy(parts.sni, sni, strlen(sni)); /* libssl has taken it, so it has room */
    }
    unsigned len = 0;
    return EVP_Digest(&parts, sizeof(parts), key, &len, tls->context->sha256, NULL) == 1 &&
           len == TLS_SESSION_KEY_SIZE;
}

void tls_resumption_offer(struct tls_conn *tls, int fd, const char *sni)
{
    struct tls_handshake *handshake = tls->handshake;
    if (tls->context->sessions == NULL) {
        return;
    }
    handshake->can_resume = make_key(tls, fd, sni, handshake->session_key);
    if (!handshake->can_resume || tls_verify_own(tls) != REASON_NONE) {
        return;
    }
    SSL_SESSION *session = tls_session_store_take(tls->context->sessions, TLS_SESSION_CLIENT,
                                                  handshake->session_key, clock_wall_s());
    SSL_SESSION *own = session == NULL ? NULL : SSL_SESSION_dup(session);
    if (own != NULL) {
        /* Without memory it is a full handshake. */
        (void)SSL_set_session(tls->ssl, own);
    }
    SSL_SESSION_free(own);
    SSL_SESSION_free(session);
}

bool tls_resumption_allows(const struct tls_conn *tls)
{
    struct mark mark;
    if (tls->context->sessions == NULL || SSL_version(tls->ssl) != TLS1_3_VERSION ||
        !get_mark(SSL_get_session(tls->ssl), &mark)) {
        return false;
    }
    int64_t now = clock_wall_s();
    return mark.from_s <= now &&
           now - mark.from_s < tls_session_store_max_age_s(tls->context->sessions);
}

/* Of the peer's certificates, as it sent them. */
static bool has_short_chain(const struct tls_conn *tls)
{
    const STACK_OF(X509) *sent =
        SSL_get_peer_cert_chain(tls->ssl); /* a client's without its leaf */
    int total = tls->context->server ? i2d_X509(SSL_get0_peer_certificate(tls->ssl), NULL) : 0;
    for (int i = 0; i < sk_X509_num(sent); i++) {
        total += i2d_X509(sk_X509_value(sent, i), NULL);
    }
    return total <= CHAIN_BYTES_MAX;
}

void tls_resumption_begin(struct tls_conn *tls)
{
    const struct tls_handshake *handshake = tls->handshake;
    if (tls->context->sessions == NULL || SSL_version(tls->ssl) != TLS1_3_VERSION ||
        !handshake->can_resume) {
        return;
    }
    if (!tls->peer.resumed) {
        if (!has_short_chain(tls)) {
            return; /* what has no mark is not kept */
        }
        struct mark mark = {.from_s = clock_wall_s()};
        memcpy(mark.key, handshake->session_key, sizeof(mark.key));
        if (SSL_SESSION_set1_ticket_appdata(SSL_get_session(tls->ssl), &mark, sizeof(mark)) != 1) {
            return; /* without memory there is no ticket: what has no mark is not kept */
        }
    }
    tls->ticket_due = tls->context->server;
}

void tls_resumption_issue(struct tls_conn *tls)
{
    ASSERT(tls->ticket_due);
    tls->ticket_due = false;
    SSL_SESSION *session = SSL_get_session(tls->ssl);
    struct mark mark;
    if (!is_bound(tls, session) || !get_mark(session, &mark)) {
        return; /* the credentials were swapped since: it could not be used */
    }
    int64_t left = until_of(tls, &mark) - clock_wall_s();
    if (left > 0) {
        (void)SSL_SESSION_set_timeout(session, left); /* the lifetime that the client is told */
        (void)SSL_new_session_ticket(tls->ssl);       /* none, if memory is out */
    }
}

void tls_resumption_forget(struct tls_conn *tls)
{
    if (tls->context->sessions != NULL) {
        drop(tls->context, SSL_get_session(tls->ssl));
    }
}
