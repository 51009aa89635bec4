/*
 * Closing a socket with unread input makes the kernel send RST, which destroys what the peer has
 * not read yet: the alert. So: FIN, then read and throw away what comes until the peer's FIN, for
 * a bounded time and number of bytes. Nobody owns such a conn any more but its thread.
 *
 * It still has its descriptor, which whoever accepts must know of: counted from tls_conn_refuse
 * until after the close. Relaxed, because the count is a bound and orders nothing.
 */
#include "tls_linger.h"

#include "base/assert.h"
#include "spiffe/peer_chain.h"
#include "tls_conn_private.h"
#include "tls_thread.h"

#include <stdatomic.h>
#include <stdint.h>

enum { LINGER_MS = 1000, LINGER_MAX_BYTES = 64 * 1024 };

static void on_readable(void *arg)
{
    struct tls_conn *tls = arg;
    ASSERT(tls->state == TLS_STATE_LINGER);
    enum conn_end end = CONN_END_NONE;
    ssize_t got =
        tls_conn_receive(tls, tls->thread->cipher_in, sizeof(tls->thread->cipher_in), 0, &end);
    if (got > 0) {
        tls->handshake->discarded += (size_t)got;
    }
    if (end != CONN_END_NONE || tls->handshake->discarded > LINGER_MAX_BYTES) {
        conn_close(&tls->conn);
    }
}

static void on_drained(void *arg)
{
    (void)arg; /* the conn shuts down for writing by itself */
}

static void on_write_failed(void *arg, enum conn_end end)
{
    struct tls_conn *tls = arg;
    (void)end;
    conn_close(&tls->conn);
}

static void on_time_out(void *arg)
{
    struct tls_conn *tls = arg;
    ASSERT(tls->state == TLS_STATE_LINGER);
    if (!tls->conn.closed) {
        conn_close(&tls->conn);
    }
}

static void link_to_thread(struct tls_conn *tls)
{
    struct tls_handshake *handshake = tls->handshake;
    handshake->next = tls->thread->lingering;
    handshake->link = &tls->thread->lingering;
    if (handshake->next != NULL) {
        handshake->next->handshake->link = &handshake->next;
    }
    tls->thread->lingering = tls;
    atomic_fetch_add_explicit(tls->thread->linger_count, 1, memory_order_relaxed);
}

/* The alert is made: in the kernel, or among the conn's pending bytes. What made it, our key among
   it, must not outlive the handshake by the second that a silent peer takes. */
static void give_back(struct tls_conn *tls)
{
    ASSERT(tls->thread->io.conn != tls); /* libssl is not on the stack */
    SSL_free(tls->ssl);
    tls->ssl = NULL;
    peer_chain_unref(tls->peer.chain);
    tls->peer.chain = NULL;
}

void tls_linger_forget(struct tls_conn *tls)
{
    struct tls_handshake *handshake = tls->handshake;
    if (handshake == NULL) {
        return;
    }
    timer_free(handshake->timer);
    handshake->timer = NULL;
    if (handshake->link != NULL) {
        *handshake->link = handshake->next;
        if (handshake->next != NULL) {
            handshake->next->handshake->link = handshake->link;
        }
        handshake->link = NULL;
        uint64_t before =
            atomic_fetch_sub_explicit(tls->thread->linger_count, 1, memory_order_relaxed);
        ASSERT(before > 0);
    }
}

void tls_linger_close_all(struct tls_thread *thread)
{
    while (thread->lingering != NULL) {
        struct tls_conn *tls = thread->lingering;
        if (!tls->conn.closed) {
            conn_close(&tls->conn);
        }
        tls_linger_forget(tls);
    }
}

void tls_conn_refuse(struct conn *conn)
{
    static const struct conn_handler handler = {on_readable, on_drained, on_write_failed};
    struct tls_conn *tls = tls_conn_from(conn);
    ASSERT(tls->state == TLS_STATE_HANDSHAKE || tls->state == TLS_STATE_FAILED);
    tls_conn_enter(tls, TLS_STATE_LINGER);
    give_back(tls);
    link_to_thread(tls);
    conn_set_handler(conn, &handler, tls);
    tls->handshake->timer = timer_new(conn->loop, on_time_out, tls);
    /* A peer that has left reads no alert, and without a timer there is no end to waiting. */
    if (tls->end != CONN_END_NONE || tls->handshake->timer == NULL ||
        conn_end_stream(conn) != CONN_END_NONE || conn_want_read(conn, true) != 0) {
        conn_close(conn);
        return;
    }
    timer_set(tls->handshake->timer, LINGER_MS);
}
