/*
 *     start (deferred) --> client: first flight
 *                          both: wait for bytes
 *     bytes --> peek --> SSL_do_handshake --> take from the socket what libssl has read
 *                          |-- wants more: wait
 *                          |-- done --> tls_peer_admit --> OPEN, on_handshake(NULL)
 *                          `-- failed -----------------> FAILED, on_handshake(failure)
 *
 * Why peek: libssl reads record by record and stops after the one that ends the handshake. What
 * the peer sent behind it stays in the kernel, where it is bounded, costs no memory of ours, and
 * makes the socket readable as soon as somebody wants to read.
 */
#include "tls_handshake.h"

#include "base/assert.h"
#include "base/memory.h"
#include "tls_conn_private.h"
#include "tls_context_private.h"
#include "tls_error.h"
#include "tls_groups.h"
#include "tls_hello.h"
#include "tls_resumption.h"
#include "tls_thread.h"
#include "tls_verify.h"

#include <openssl/evp.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The end of a handshake that failed. The callee may close the conn: nothing is touched after. */
static void fail(struct tls_conn *tls, enum reason reason)
{
    struct tls_handshake *handshake = tls->handshake;
    ASSERT(reason != REASON_NONE);
    handshake->failure.reason = reason;
    handshake->failure.got_bytes = handshake->bytes_in > 0;
    tls_conn_enter(tls, TLS_STATE_FAILED);
    conn_stop_reading(&tls->conn);
    conn_set_handler(&tls->conn, NULL, NULL);
    handshake->callbacks->on_handshake(handshake->arg, &handshake->failure);
}

/* The socket ended, or can't be written to. */
static void fail_closed(struct tls_conn *tls, enum conn_end end)
{
    tls->end = end;
    if (end == CONN_END_NO_MEMORY) {
        fail(tls, REASON_OUT_OF_MEMORY);
    } else if (!tls->context->server) {
        fail(tls, REASON_UPSTREAM_HANDSHAKE_CLOSED);
    } else if (tls->handshake->bytes_in == 0) {
        fail(tls, REASON_CLOSED_BEFORE_HELLO);
    } else {
        fail(tls, REASON_HANDSHAKE_CLOSED);
    }
}

/* libssl gave up; error says why as far as it knows. What our callbacks found out goes first. */
static void fail_tls(struct tls_conn *tls, const struct tls_error *error)
{
    struct tls_handshake *handshake = tls->handshake;
    struct tls_failure *failure = &handshake->failure;
    (void)snprintf(failure->detail, sizeof(failure->detail), "%s", error->detail);
    if (error->alert != TLS_ALERT_NONE) {
        failure->alert = tls_error_alert_name(error->alert);
    }
    if (failure->reason != REASON_NONE) {
        fail(tls, failure->reason);
    } else if (error->alert != TLS_ALERT_NONE) {
        fail(tls, tls->context->server ? REASON_TLS_ALERT_RECEIVED : REASON_UPSTREAM_REFUSED_US);
    } else if (error->too_large && (handshake->hello_seen || !tls->context->server)) {
        /* The only long message behind the hello is Certificate. */
        fail(tls, REASON_SVID_CHAIN_TOO_LONG);
    } else {
        fail(tls, error->reason);
    }
}

/* Frees what is in it, whoever else has a reference: any type will do. */
static void empty(EVP_PKEY *key)
{
    (void)EVP_PKEY_set_type(key, EVP_PKEY_X25519);
    EVP_PKEY_free(key);
}

/*
 * libssl keeps the keys of the key exchange for as long as the connection lives, though nothing
 * needs them. Who reads our memory later could decrypt what was recorded before (RFC 8446 E.1,
 * forward secrecy), and of ML-KEM they are 6 to 8 KiB.
 */
static void forget_ephemeral_keys(SSL *ssl)
{
    EVP_PKEY *key = NULL;
    if (SSL_get_tmp_key(ssl, &key) == 1) {
        empty(key);
    }
    if (SSL_get_peer_tmp_key(ssl, &key) == 1) {
        empty(key);
    }
    tls_error_clear();
}

static void open_conn(struct tls_conn *tls, const char *alpn)
{
    struct peer_info *peer = &tls->peer;
    const char *cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(tls->ssl));
    peer->version = SSL_get_version(tls->ssl);
    peer->cipher = cipher != NULL ? cipher : "";
    peer->group = tls_groups_name(tls->ssl);
    peer->alpn = alpn;
    peer->resumed = SSL_session_reused(tls->ssl) != 0;
    tls_resumption_begin(tls);
    /* Our chain and key are in the credentials alone again, so that a rotation can wipe them. */
    SSL_certs_clear(tls->ssl);
    forget_ephemeral_keys(tls->ssl);
    mem_free(tls->handshake);
    tls->handshake = NULL;
    tls_conn_enter(tls, TLS_STATE_OPEN);
    conn_stop_reading(&tls->conn);
    conn_set_late(&tls->conn, false);
    conn_set_handler(&tls->conn, NULL, NULL);
}

static void finish(struct tls_conn *tls)
{
    enum reason reason = tls_peer_admit(tls);
    if (reason != REASON_NONE) {
        tls_resumption_forget(tls); /* so that the next try shows its certificate */
        tls_error_clear();
        fail(tls, reason);
        return;
    }
    const char *alpn = tls_hello_selected(tls);
    if (alpn == NULL) {
        fail(tls, REASON_UPSTREAM_ALPN_MISMATCH);
        return;
    }
    const struct tls_conn_callbacks *callbacks = tls->handshake->callbacks;
    void *arg = tls->handshake->arg;
    open_conn(tls, alpn);
    callbacks->on_handshake(arg, NULL);
}

/* RFC 8446 5.1: a record begins with its type, handshake (22), and the major version 3. A server
   may answer with an alert (21) at once. Told apart here, so that libssl never sees plaintext and
   nothing is said to a peer that doesn't speak TLS. */
static bool is_tls(const struct tls_conn *tls, const uint8_t *data, size_t len)
{
    enum { TYPE_ALERT = 21, TYPE_HANDSHAKE = 22, MAJOR = 3 };
    for (size_t i = 0; i < len && tls->handshake->bytes_in + i < 2; i++) {
        bool right =
            tls->handshake->bytes_in + i == 0
                ? data[i] == TYPE_HANDSHAKE || (data[i] == TYPE_ALERT && !tls->context->server)
                : data[i] == MAJOR;
        if (!right) {
            return false;
        }
    }
    return true;
}

/* Hellos are in the clear: the first and, in TLS 1.3, one after a retry request. */
static bool has_sound_hello(struct tls_conn *tls, const uint8_t *data, size_t len)
{
    struct tls_handshake *handshake = tls->handshake;
    bool may_be_hello =
        tls->context->server && (!handshake->hello_seen || SSL_version(tls->ssl) == TLS1_3_VERSION);
    return !may_be_hello || hello_size_feed(&handshake->hello_size, data, len);
}

/* Takes from the socket what libssl has read of the peeked bytes. */
static bool take(struct tls_conn *tls, size_t len)
{
    while (len > 0) {
        enum conn_end end = CONN_END_NONE;
        ssize_t got = tls_conn_receive(tls, tls->thread->cipher_in, len, 0, &end);
        if (got <= 0) {
            return false; /* the peer's reset came in between */
        }
        len -= (size_t)got;
        tls->handshake->bytes_in += (size_t)got;
    }
    return true;
}

/* One go of libssl over len peeked bytes. */
static void advance(struct tls_conn *tls, size_t len)
{
    struct tls_io *io = &tls->thread->io;
    struct tls_error error = {.reason = REASON_INTERNAL, .alert = TLS_ALERT_NONE};
    tls_io_begin(tls, tls->thread->cipher_in, len);
    tls_error_clear();
    int result = SSL_do_handshake(tls->ssl);
    int code = SSL_get_error(tls->ssl, result);
    if (code == SSL_ERROR_SSL || code == SSL_ERROR_SYSCALL) {
        tls_error_take(&error);
    }
    enum conn_end end = tls_io_end(tls);
    bool taken = take(tls, len - io->in_left);

    if (result != 1 && (code == SSL_ERROR_SSL || tls->handshake->failure.reason != REASON_NONE)) {
        fail_tls(tls, &error);
    } else if (end != CONN_END_NONE || !taken || code == SSL_ERROR_ZERO_RETURN) {
        fail_closed(tls, end != CONN_END_NONE ? end : CONN_END_RESET);
    } else if (result == 1) {
        finish(tls);
    } else if (code != SSL_ERROR_WANT_READ) {
        fail_tls(tls, &error);
    }
}

static void on_readable(void *arg)
{
    struct tls_conn *tls = arg;
    ASSERT(tls->state == TLS_STATE_HANDSHAKE);
    enum conn_end end = CONN_END_NONE;
    ssize_t got =
        tls_conn_receive(tls, tls->thread->cipher_in, TLS_HANDSHAKE_READ_MAX, MSG_PEEK, &end);
    if (end != CONN_END_NONE) {
        fail_closed(tls, end);
        return;
    }
    if (got <= 0) {
        return;
    }
    if (!is_tls(tls, tls->thread->cipher_in, (size_t)got)) {
        tls->handshake->bytes_in += (size_t)got;
        fail(tls, REASON_TLS_NOT_TLS);
        return;
    }
    if (!has_sound_hello(tls, tls->thread->cipher_in, (size_t)got)) {
        struct tls_failure *failure = &tls->handshake->failure;
        (void)snprintf(failure->detail, sizeof(failure->detail),
                       "a ClientHello of more than %d bytes", HELLO_SIZE_MAX);
        tls->handshake->bytes_in += (size_t)got;
        fail(tls, REASON_TLS_PROTOCOL);
        return;
    }
    advance(tls, (size_t)got);
}

static void on_drained(void *arg)
{
    (void)arg; /* only bytes that arrive move a handshake on */
}

static void on_write_failed(void *arg, enum conn_end end)
{
    fail_closed(arg, end);
}

static void on_start(void *arg)
{
    struct tls_conn *tls = arg;
    if (tls->conn.closed || tls->state != TLS_STATE_HANDSHAKE) {
        return;
    }
    if (conn_want_read(&tls->conn, true) != 0) {
        fail(tls, REASON_OUT_OF_MEMORY);
        return;
    }
    if (!tls->context->server) {
        advance(tls, 0);
    }
}

void tls_handshake_start(struct tls_conn *tls)
{
    static const struct conn_handler handler = {on_readable, on_drained, on_write_failed};
    conn_set_handler(&tls->conn, &handler, tls);
    conn_set_late(&tls->conn, true); /* a storm of handshakes must not stall data that flows */
    loop_defer(tls->conn.loop, &tls->handshake->start, on_start, tls);
}
