/*
 * Own credentials are put into the SSL by the certificate callback and judged against by the
 * verify callback, both from what is in force in the thread at that moment: never from the SSL_CTX,
 * so that a rotation or a new bundle takes effect with the next handshake.
 *
 * The verify callback replaces libssl's own verification wholly. Two traps: a refusal must set
 * the store context's error, or the SSL's verify result stays X509_V_OK; and nothing but 1 may
 * mean admission (CVE-2021-3450, CVE-2021-4044).
 */
#include "tls_verify.h"

#include "base/assert.h"
#include "base/clock.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "spiffe/signer.h"
#include "tls_bio.h"
#include "tls_conn_private.h"
#include "tls_error.h"
#include "tls_resumption.h"
#include "tls_thread.h"

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct row {
    enum reason reason;
    int x509_error;
};

/* libssl makes the alert out of the X509 error; the comment says which. A policy's refusal looks
   like any other certificate that is not wanted: the peer learns no detail. */
static const struct row rows[] = {
    {REASON_SVID_EXPIRED, X509_V_ERR_CERT_HAS_EXPIRED},                    /* certificate_expired */
    {REASON_SVID_NOT_YET_VALID, X509_V_ERR_CERT_NOT_YET_VALID},            /* bad_certificate */
    {REASON_SVID_BAD_SIGNATURE, X509_V_ERR_CERT_SIGNATURE_FAILURE},        /* decrypt_error */
    {REASON_SVID_UNTRUSTED, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY}, /* unknown_ca */
    {REASON_SVID_UNKNOWN_TRUST_DOMAIN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY},
    {REASON_SVID_CHAIN_TOO_LONG, X509_V_ERR_CERT_CHAIN_TOO_LONG}, /* unknown_ca */
    {REASON_SVID_ISSUER_NOT_CA, X509_V_ERR_INVALID_CA},           /* unknown_ca */
    {REASON_SVID_REVOKED, X509_V_ERR_CERT_REVOKED},               /* certificate_revoked */
    {REASON_SVID_PURPOSE, X509_V_ERR_INVALID_PURPOSE},            /* unsupported_certificate */
    {REASON_SVID_EXTENDED_KEY_USAGE, X509_V_ERR_INVALID_PURPOSE},
    {REASON_OUT_OF_MEMORY, X509_V_ERR_OUT_OF_MEM},    /* internal_error */
    {REASON_OWN_CREDENTIALS, X509_V_ERR_UNSPECIFIED}, /* internal_error */
    {REASON_OWN_SVID_EXPIRED, X509_V_ERR_UNSPECIFIED},
    {REASON_OWN_SVID_MISSING, X509_V_ERR_UNSPECIFIED},
};

static int x509_error_of(enum reason reason)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].reason == reason) {
            return rows[i].x509_error;
        }
    }
    return X509_V_ERR_CERT_REJECTED; /* bad_certificate */
}

enum reason tls_verify_own(const struct tls_conn *tls)
{
    const struct credentials *credentials = tls->thread->credentials;
    const struct x509_svid *own = credentials != NULL ? credentials_own(credentials) : NULL;
    if (own == NULL) {
        return credentials == NULL ? REASON_OWN_CREDENTIALS : REASON_OWN_SVID_MISSING;
    }
    return x509_svid_not_after(own) <= clock_wall_s() ? REASON_OWN_SVID_EXPIRED : REASON_NONE;
}

/* What the outside says to this peer, which is admitted as far as its certificate goes. */
static enum reason ask_outside(struct tls_conn *tls, struct peer_chain *chain, X509 *leaf)
{
    struct tls_handshake *handshake = tls->handshake;
    if (handshake->callbacks->peer_check == NULL) {
        return REASON_NONE;
    }
    struct svid_failure *svid = &handshake->failure.svid;
    const struct spiffe_id *id = peer_chain_id(chain);
    enum reason reason =
        handshake->callbacks->peer_check(handshake->arg, chain, svid->detail, sizeof(svid->detail));
    if (reason != REASON_NONE) {
        svid->reason = reason;
        x509_svid_describe(leaf, svid);
        (void)snprintf(svid->claimed, sizeof(svid->claimed), "%.*s", (int)id->text.len,
                       id->text.ptr);
    }
    return reason;
}

/* libssl asks for our certificate. 0 ends the handshake. */
static int on_own_certificate(SSL *ssl, void *arg)
{
    (void)arg;
    struct tls_conn *tls = tls_bio_conn(ssl);
    ASSERT(tls->handshake != NULL);
    struct tls_failure *failure = &tls->handshake->failure;
    failure->reason = tls_verify_own(tls);
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    if (failure->reason == REASON_NONE && tls->peer.chain != NULL && leaf != NULL) {
        failure->reason = ask_outside(tls, tls->peer.chain, leaf);
    }
    if (failure->reason != REASON_NONE) {
        return 0;
    }
    const struct x509_svid *own = credentials_own(tls->thread->credentials);
    if (SSL_use_cert_and_key(ssl, x509_svid_leaf(own), signer_key(x509_svid_signer(own)),
                             x509_svid_intermediates(own), 1) != 1) {
        failure->reason = REASON_OWN_CREDENTIALS;
        return 0;
    }
    return 1;
}

/* Everything there is to judge, under the credentials in force. On success tls->peer.chain. */
static enum reason judge(struct tls_conn *tls, X509 *leaf, STACK_OF(X509) * sent)
{
    struct tls_handshake *handshake = tls->handshake;
    struct svid_failure *svid = &handshake->failure.svid;
    const struct credentials *credentials = tls->thread->credentials;
    peer_chain_unref(tls->peer.chain);
    tls->peer.chain = NULL;
    if (credentials == NULL) {
        return REASON_OWN_CREDENTIALS;
    }
    if (sk_X509_num(sent) > SVID_CHAIN_MAX) {
        svid->reason = REASON_SVID_CHAIN_TOO_LONG;
        (void)snprintf(svid->detail, sizeof(svid->detail), "%d certificates", sk_X509_num(sent));
        return REASON_SVID_CHAIN_TOO_LONG;
    }
    enum svid_role role = SSL_is_server(tls->ssl) ? SVID_ROLE_CLIENT : SVID_ROLE_SERVER;
    struct peer_chain *chain =
        peer_chain_admit(tls->thread->chains, credentials, leaf, sent, role, clock_wall_s(), svid);
    if (chain == NULL) {
        return svid->reason != REASON_NONE ? svid->reason : REASON_SVID_VERIFY_FAILED;
    }
    enum reason reason = ask_outside(tls, chain, leaf);
    if (reason != REASON_NONE) {
        peer_chain_unref(chain);
        return reason;
    }
    tls->peer.chain = chain;
    handshake->generation = credentials_generation(credentials);
    return REASON_NONE;
}

/* libssl takes the peer's certificates, which the session then keeps, from the list of those that
   were sent: the list's are exchanged before it does. */
static void share_certificates(struct tls_conn *tls, X509_STORE_CTX *store)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    if (sk_X509_value(sent, 0) == X509_STORE_CTX_get0_cert(store)) {
        peer_chain_share(tls->peer.chain, sent);
        X509_STORE_CTX_set_cert(store, sk_X509_value(sent, 0));
        tls_error_clear();
    }
}

/* Instead of X509_verify_cert. 1 admits, 0 refuses; -1 would mean "ask again". */
static int on_verify(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_conn *tls = tls_bio_conn(ssl);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    enum reason reason = REASON_SVID_VERIFY_FAILED;
    if (tls->state == TLS_STATE_HANDSHAKE && leaf != NULL) {
        reason = judge(tls, leaf, X509_STORE_CTX_get0_untrusted(store));
        tls->handshake->failure.reason = reason;
    }
    /* What the judgement left in the queue is none of this handshake's errors. */
    tls_error_clear();
    if (reason != REASON_NONE) {
        X509_STORE_CTX_set_error(store, x509_error_of(reason));
        return 0;
    }
    share_certificates(tls, store);
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

void tls_verify_init(SSL_CTX *ssl_ctx, bool server)
{
    int mode = SSL_VERIFY_PEER | (server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(ssl_ctx, mode, NULL);
    SSL_CTX_set_cert_verify_callback(ssl_ctx, on_verify, NULL);
    SSL_CTX_set_cert_cb(ssl_ctx, on_own_certificate, NULL);
}

enum reason tls_peer_admit(struct tls_conn *tls)
{
    ASSERT(tls->state == TLS_STATE_HANDSHAKE);
    X509 *leaf = SSL_get0_peer_certificate(tls->ssl);
    if (leaf == NULL) {
        return REASON_SVID_NO_CERTIFICATE;
    }
    if (SSL_get_verify_result(tls->ssl) != X509_V_OK) {
        return REASON_SVID_VERIFY_FAILED;
    }
    /* The verify callback does not run on a resumed handshake: then there is no chain yet. */
    bool resumed = SSL_session_reused(tls->ssl) != 0;
    if (resumed ? !tls_resumption_allows(tls) : tls->peer.chain == NULL) {
        return REASON_SVID_VERIFY_FAILED;
    }
    /* A server that asks for no certificate, or a swap since it did. */
    enum reason own = tls_verify_own(tls);
    if (own != REASON_NONE) {
        return own;
    }
    if (resumed || tls->handshake->generation != tls_thread_generation(tls->thread)) {
        enum reason reason = judge(tls, leaf, SSL_get_peer_cert_chain(tls->ssl));
        tls_error_clear();
        if (reason != REASON_NONE) {
            return reason;
        }
    }
    if (peer_chain_not_after(tls->peer.chain) <= clock_wall_s()) {
        tls->handshake->failure.svid.reason = REASON_SVID_EXPIRED;
        return REASON_SVID_EXPIRED;
    }
    return REASON_NONE;
}
