/*
 * tls_conn_private: struct tls_conn, for src/tls/ only.
 *
 *     HANDSHAKE --admitted--> OPEN
 *         |
 *         +-----refused-----> FAILED --tls_conn_refuse--> LINGER --> closed
 *
 * The owner may close the conn in every state. What only a handshake needs is in struct
 * tls_handshake, which OPEN gives back: there are many idle connections, and few handshakes.
 */
#ifndef BULKHEAD_TLS_CONN_PRIVATE_H
#define BULKHEAD_TLS_CONN_PRIVATE_H

#include "hello_size.h"
#include "net/conn.h"
#include "tls/tls_conn.h"
#include "tls_session_store_private.h"

#include <openssl/ssl.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tls_state { TLS_STATE_HANDSHAKE = 0, TLS_STATE_OPEN, TLS_STATE_FAILED, TLS_STATE_LINGER };

struct tls_handshake {
    const struct tls_conn_callbacks *callbacks;
    void *arg;
    struct loop_deferred start;
    struct tls_failure failure; /* filled as facts become known */
    uint64_t generation;        /* of the credentials that admitted the chain */
    size_t bytes_in;
    struct hello_size hello_size; /* server */
    bool hello_seen; /* server: the ClientHello was complete */
    bool can_resume; /* server: the client can use a ticket. client: session_key is set */
    uint8_t session_key[TLS_SESSION_KEY_SIZE]; /* client */
    /* LINGER only */
    struct timer *timer;
    size_t discarded;
    struct tls_conn *next;
    struct tls_conn **link; /* what points to us */
};

struct tls_conn {
    struct conn conn; /* first: a struct conn * is one of ours by its ops */
    struct tls_thread *thread;
    struct tls_context *context;
    SSL *ssl;                        /* NULL in LINGER */
    struct tls_handshake *handshake; /* NULL in OPEN */
    char *alpn;                      /* client: the one protocol to offer; NULL: the context's */
    struct peer_info peer;           /* but for the chain: filled in OPEN */
    uint32_t records;                /* written under the present key, at least so many */
    uint32_t idle_bytes;             /* ciphertext since the last application byte */
    uint32_t second;                 /* of the loop's clock, in which second_messages came */
    uint32_t second_bytes;           /* of data, since then */
    uint32_t second_messages;        /* messages that are no data, likewise */
    uint16_t idle_messages;          /* the same since the last application byte */
    int16_t alert;                   /* that ended the stream, or TLS_ALERT_NONE */
    bool ticket_due;                 /* server: the first write brings the ticket */
    enum tls_state state;
    enum conn_end end; /* of what the peer sends; once set it stays */
};

struct tls_conn *tls_conn_from(struct conn *conn);
void tls_conn_enter(struct tls_conn *tls, enum tls_state state);
/* Reads; flags are recv's. -1: nothing now. *end says why nothing will come any more. */
ssize_t tls_conn_receive(struct tls_conn *tls, uint8_t *out, size_t size, int flags,
                         enum conn_end *end);

#endif
