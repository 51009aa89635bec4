/*
 * tls_conn: making one, and its stream after the handshake.
 *
 * Reading: one read() fills the thread's window, SSL_read runs until the window is empty. Then
 * libssl holds at most the beginning of one record: no readiness is ever lost inside of it.
 * Writing: all records of a write lie side by side before the first send.
 *
 * Bounds on a peer that is admitted but hostile: records without data (KeyUpdate, tickets, empty
 * ones) in a row; messages in a second, because a KeyUpdate costs some fifty times what a record
 * of its size does, and a byte of data behind each would make it look alive; and answers that
 * nobody reads (KeyUpdate may ask for one; TLS 1.2 owes an alert to each try at renegotiation).
 */
#include "tls_conn_private.h"

#include "base/assert.h"
#include "base/memory.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "tls_context_private.h"
#include "tls_error.h"
#include "tls_handshake.h"
#include "tls_hello.h"
#include "tls_linger.h"
#include "tls_resumption.h"
#include "tls_thread.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    IDLE_BYTES_MAX = 64 * 1024,
    IDLE_MESSAGES_MAX = 32,
    /* In a second; and one more with each so many bytes of data. */
    MESSAGES_PER_SECOND_MAX = 128,
    BYTES_PER_MESSAGE = 16 * 1024,
    /* Pending output at which we make no more answers; ordinary back-pressure stays below. */
    ANSWERS_PENDING_MAX = 256 * 1024
};

static const struct conn_ops ops;

struct tls_conn *tls_conn_from(struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(conn->ops == &ops);
    return (struct tls_conn *)conn;
}

void tls_conn_enter(struct tls_conn *tls, enum tls_state state)
{
    ASSERT(tls->state < state);
    ASSERT(state != TLS_STATE_FAILED || tls->state == TLS_STATE_HANDSHAKE);
    ASSERT(state != TLS_STATE_LINGER || tls->state != TLS_STATE_OPEN);
    tls->state = state;
}

ssize_t tls_conn_receive(struct tls_conn *tls, uint8_t *out, size_t size, int flags,
                         enum conn_end *end)
{
    ssize_t got;
    do {
        got = recv(tls->conn.fd, out, size, flags);
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        *end = CONN_END_TRUNCATED;
    } else if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        *end = conn_end_of_error(errno);
    }
    return got;
}

/* An application byte, or an end, is what a read is for. Counts what is neither; false: too much
   of it. */
static bool count_idle(struct tls_conn *tls, size_t bytes)
{
    tls->idle_bytes += (uint32_t)bytes;
    return tls->idle_bytes <= IDLE_BYTES_MAX && tls->idle_messages <= IDLE_MESSAGES_MAX;
}

static enum conn_end end_of(struct tls_conn *tls, int code)
{
    struct tls_error error;
    tls_error_take(&error);
    if (code == SSL_ERROR_ZERO_RETURN) {
        return CONN_END_CLEAN;
    }
    if (error.alert != TLS_ALERT_NONE) {
        tls->alert = (int16_t)error.alert;
        return CONN_END_ALERT;
    }
    return error.reason == REASON_OUT_OF_MEMORY ? CONN_END_NO_MEMORY : CONN_END_PROTOCOL;
}

/* The same for a message that is no data. */
static bool count_message(struct tls_conn *tls)
{
    uint32_t second = (uint32_t)(loop_now_ms(tls->conn.loop) / 1000);
    if (second != tls->second) {
        tls->second = second;
        tls->second_messages = 0;
        tls->second_bytes = 0;
    }
    tls->second_messages++;
    tls->idle_messages++;
    return count_idle(tls, 0) &&
           tls->second_messages <= MESSAGES_PER_SECOND_MAX + tls->second_bytes / BYTES_PER_MESSAGE;
}

/*
 * For a message within an open stream (a ticket, a new key) libssl takes a buffer for each
 * direction, of a record's size. It gives the one back with the next write, the other when a read
 * finds nothing: else an idle connection would keep 17 KiB. What it holds of a record's beginning
 * stays.
 */
static void give_back_read_buffer(struct tls_conn *tls)
{
    uint8_t byte;
    size_t n = 0;
    ASSERT(tls->thread->io.in_left == 0);
    (void)SSL_peek_ex(tls->ssl, &byte, sizeof(byte), &n);
    tls_error_clear();
}

static void give_back_write_buffer(struct tls_conn *tls)
{
    size_t n = 0;
    (void)SSL_write_ex(tls->ssl, "", 0, &n); /* which sends nothing: SSL_write(3) */
    tls_error_clear();
}

/* All the plaintext that the window brings. plain_out holds it: TLS_PLAIN_SIZE is the window and
   the one record of which libssl may hold the beginning. */
static size_t decrypt(struct tls_conn *tls)
{
    struct tls_thread *thread = tls->thread;
    size_t len = 0;
    for (;;) {
        size_t n = 0;
        ASSERT(len < sizeof(thread->plain_out));
        tls_error_clear();
        int result =
            SSL_read_ex(tls->ssl, thread->plain_out + len, sizeof(thread->plain_out) - len, &n);
        if (result == 1) {
            len += n;
            tls->second_bytes += (uint32_t)n;
            tls->idle_bytes = 0;
            tls->idle_messages = 0;
            if (thread->io.in_left == 0 && SSL_pending(tls->ssl) == 0) {
                return len;
            }
            continue;
        }
        int code = SSL_get_error(tls->ssl, result);
        if (code != SSL_ERROR_WANT_READ) {
            tls->end = end_of(tls, code);
            return len;
        }
        give_back_write_buffer(tls); /* this may have been a message */
        if (thread->io.in_left == 0) {
            return len;
        }
        if (!count_message(tls)) {
            tls->end = CONN_END_NO_PROGRESS;
            return len;
        }
    }
}

static void tls_read(struct conn *conn, size_t max, struct conn_input *input)
{
    struct tls_conn *tls = tls_conn_from(conn);
    struct tls_thread *thread = tls->thread;
    ASSERT(tls->state == TLS_STATE_OPEN);
    size_t asked = max < TLS_READ_MAX ? max : (size_t)TLS_READ_MAX;
    ssize_t got = -1;
    if (tls->end == CONN_END_NONE) {
        got = tls_conn_receive(tls, thread->cipher_in, asked, 0, &tls->end);
    }
    if (got <= 0) {
        input->end = tls->end;
        return;
    }
    tls_io_begin(tls, thread->cipher_in, (size_t)got);
    input->data = thread->plain_out;
    input->len = decrypt(tls);
    input->more = (size_t)got == asked;
    size_t made = thread->io.made;
    /* What failed here is told by the next write, or by the next read. */
    (void)tls_io_end(tls);
    if (tls->end == CONN_END_NONE && ((input->len == 0 && !count_idle(tls, (size_t)got)) ||
                                      (made > 0 && conn_pending(conn) > ANSWERS_PENDING_MAX))) {
        tls->end = CONN_END_NO_PROGRESS;
    }
    input->end = tls->end;
}

/*
 * RFC 8446 5.5: "Implementations SHOULD do a key update as described in Section 4.6.3 prior to
 * reaching these limits"; libssl leaves it to us. The peer's keys for its own records are its own
 * business. TLS 1.2 has no such message: there the 64-bit sequence number is the only bound.
 */
static bool rekey(struct tls_conn *tls, size_t len)
{
    bool asked = false;
    size_t records = len / SSL3_RT_MAX_PLAIN_LENGTH + 1;
    if (tls->records + records > tls->thread->rekey_records &&
        SSL_version(tls->ssl) == TLS1_3_VERSION &&
        SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1) {
        tls->records = 0; /* else a ticket is on its way: with the next write */
        asked = true;
    }
    if (tls->records < UINT32_MAX - records) {
        tls->records += (uint32_t)records;
    }
    return asked;
}

static enum conn_end tls_write(struct conn *conn, const uint8_t *data, size_t len)
{
    struct tls_conn *tls = tls_conn_from(conn);
    ASSERT(tls->state == TLS_STATE_OPEN);
    size_t written = 0;
    tls_io_begin(tls, NULL, 0);
    bool message_first = tls->ticket_due;
    if (tls->ticket_due) {
        tls_resumption_issue(tls);
    }
    message_first = rekey(tls, len) || message_first;
    tls_error_clear();
    int result = SSL_write_ex(tls->ssl, data, len, &written);
    struct tls_error error;
    if (result != 1) {
        tls_error_take(&error);
    } else if (message_first) {
        give_back_read_buffer(tls);
    }
    enum conn_end end = tls_io_end(tls);
    if (end != CONN_END_NONE || result == 1) {
        return end;
    }
    return error.reason == REASON_OUT_OF_MEMORY ? CONN_END_NO_MEMORY : CONN_END_PROTOCOL;
}

static enum conn_end tls_end_stream(struct conn *conn)
{
    struct tls_conn *tls = tls_conn_from(conn);
    if (tls->state != TLS_STATE_OPEN) {
        return CONN_END_NONE; /* the alert has said it */
    }
    tls_io_begin(tls, NULL, 0);
    tls_error_clear();
    /* Once only: a second call would read. It fails on a connection that a fatal alert has ended:
       then FIN alone is the right end. */
    (void)SSL_shutdown(tls->ssl);
    tls_error_clear();
    return tls_io_end(tls);
}

static void free_parts(struct tls_conn *tls)
{
    tls_linger_forget(tls);
    if (tls->ssl != NULL) {
        /* Else libssl drops the session of each stream that was not ended in order, as TLS 1.0
           would have it. A fatal alert has dropped it already. */
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN);
    }
    SSL_free(tls->ssl);
    peer_chain_unref(tls->peer.chain);
    tls_context_unref(tls->context);
    mem_free(tls->handshake);
    mem_free(tls->alpn);
    mem_free(tls);
}

static void tls_destroy(struct conn *conn)
{
    struct tls_conn *tls = (struct tls_conn *)conn;
    struct tls_thread *thread = tls->thread;
    free_parts(tls);
    tls_thread_release(thread);
}

static const struct conn_ops ops = {
    .read = tls_read,
    .write = tls_write,
    .end_stream = tls_end_stream,
    .destroy = tls_destroy,
};

static bool make_ssl(struct tls_conn *tls)
{
    struct tls_context *context = tls->context;
    tls->ssl = SSL_new(context->ssl_ctx);
    /* The id context is there with sessions off too: without it some resumption attempts abort. */
    if (tls->ssl == NULL || !tls_resumption_bind(tls)) {
        return false;
    }
    BIO_up_ref(tls->thread->bio);
    SSL_set_bio(tls->ssl, tls->thread->bio, tls->thread->bio);
    if (context->server) {
        SSL_set_accept_state(tls->ssl);
    } else {
        SSL_set_connect_state(tls->ssl);
    }
    return true;
}

static struct tls_conn *tls_conn_new(struct tls_thread *thread, struct tls_context *context,
                                     const struct tls_conn_callbacks *callbacks, void *arg)
{
    CHECK_MAGIC(thread, (unsigned)TLS_THREAD_MAGIC);
    ASSERT(callbacks->on_handshake != NULL);
    struct tls_conn *tls = mem_try_alloc(sizeof(*tls));
    if (tls == NULL) {
        return NULL;
    }
    tls->thread = thread;
    tls->context = tls_context_ref(context);
    tls->alert = TLS_ALERT_NONE;
    tls->handshake = mem_try_alloc(sizeof(*tls->handshake));
    if (tls->handshake == NULL || !make_ssl(tls)) {
        tls_error_clear();
        free_parts(tls);
        return NULL;
    }
    tls->handshake->callbacks = callbacks;
    tls->handshake->arg = arg;
    return tls;
}

/* The last step: fd is ours when it succeeds. Otherwise tls is freed. */
static struct conn *start(struct tls_conn *tls, struct loop *loop, int fd, bool is_unix)
{
    if (conn_init(&tls->conn, loop, fd, &ops) != 0) {
        free_parts(tls);
        return NULL;
    }
    tls->conn.is_unix = is_unix;
    tls_thread_hold(tls->thread);
    tls_handshake_start(tls);
    return &tls->conn;
}

struct conn *tls_conn_accept(struct tls_thread *thread, struct loop *loop,
                             struct tls_context *context, int fd, bool is_unix,
                             const struct tls_conn_callbacks *callbacks, void *arg)
{
    ASSERT(context->server);
    struct tls_conn *tls = tls_conn_new(thread, context, callbacks, arg);
    return tls != NULL ? start(tls, loop, fd, is_unix) : NULL;
}

/* False when memory is out. */
static bool copy_alpn(struct tls_conn *tls, const char *alpn)
{
    if (alpn == NULL) {
        return true;
    }
    size_t size = strlen(alpn) + 1;
    tls->alpn = mem_try_alloc(size);
    if (tls->alpn == NULL) {
        return false;
    }
    memcpy(tls->alpn, alpn, size);
    return true;
}

struct conn *tls_conn_connect(struct tls_thread *thread, struct loop *loop,
                              struct tls_context *context, int fd, bool is_unix, const char *sni,
                              const char *alpn, const struct tls_conn_callbacks *callbacks,
                              void *arg)
{
    ASSERT(!context->server);
    struct tls_conn *tls = tls_conn_new(thread, context, callbacks, arg);
    if (tls == NULL) {
        return NULL;
    }
    if (!copy_alpn(tls, alpn) || !tls_hello_offer(tls, sni)) {
        tls_error_clear();
        free_parts(tls);
        return NULL;
    }
    tls_resumption_offer(tls, fd, sni);
    tls_error_clear();
    return start(tls, loop, fd, is_unix);
}

const struct peer_info *tls_conn_peer(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(conn->ops == &ops);
    const struct tls_conn *tls = (const struct tls_conn *)conn;
    return tls->state == TLS_STATE_OPEN ? &tls->peer : NULL;
}

static const struct tls_conn *open_conn(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(conn->ops == &ops);
    const struct tls_conn *tls = (const struct tls_conn *)conn;
    ASSERT(tls->state == TLS_STATE_OPEN);
    return tls;
}

const char *tls_conn_server_name(const struct conn *conn)
{
    const struct tls_conn *tls = open_conn(conn);
    const char *name =
        tls->context->server ? SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
    return name != NULL ? name : "";
}

const char *tls_conn_cipher_name(const struct conn *conn)
{
    return SSL_CIPHER_get_name(SSL_get_current_cipher(open_conn(conn)->ssl));
}

const char *tls_conn_alert_name(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(conn->ops == &ops);
    const struct tls_conn *tls = (const struct tls_conn *)conn;
    return tls->alert != TLS_ALERT_NONE ? tls_error_alert_name(tls->alert) : "";
}
