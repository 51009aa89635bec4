/*
 * tls_thread: the inside of struct tls_thread, for src/tls/ only.
 *
 *     socket --read--> cipher_in --SSL_read--> plain_out --> whoever called conn_read
 *     conn_write --SSL_write--> cipher_out --send--> socket
 *
 * plain_out takes what one read can bring: the plaintext of cipher_in, and of one record of which
 * libssl held the beginning. cipher_out takes the records of a write as large as a read; what
 * doesn't fit leaves early, in a send of its own.
 */
#ifndef BULKHEAD_TLS_THREAD_H
#define BULKHEAD_TLS_THREAD_H

#include "tls/tls_conn.h"
#include "tls_bio.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer_chain_table;

enum {
    TLS_THREAD_MAGIC = 0x746c7374,
    TLS_RECORD_ROOM = 17 * 1024, /* a record of 16 KiB with its header, tag and padding */
    TLS_PLAIN_SIZE = TLS_READ_MAX + TLS_RECORD_ROOM,
    TLS_CIPHER_SIZE = TLS_READ_MAX + TLS_RECORD_ROOM,
    /* RFC 8446 5.5: AES-GCM is good for 2^24.5 full records under one key. A third of that. */
    TLS_REKEY_RECORDS = 1 << 23
};

struct tls_thread {
    unsigned magic;
    bool freed;             /* tls_thread_free was called; the last conn takes the rest with it */
    size_t conns;           /* not yet destroyed */
    uint32_t rekey_records; /* a conn renews its key for writing after so many; tests lower it */
    struct peer_chain_table *chains;
    struct credentials *credentials; /* NULL until set: then every handshake fails */
    BIO_METHOD *bio_method;
    BIO *bio;
    struct tls_conn *lingering; /* refused conns that still wait for the peer to read the alert */
    _Atomic uint64_t *linger_count; /* of these, and of other threads' */
    struct tls_io io;
    uint8_t cipher_in[TLS_READ_MAX];
    uint8_t plain_out[TLS_PLAIN_SIZE];
    uint8_t cipher_out[TLS_CIPHER_SIZE];
};

/* A conn counts as long as it can touch the thread. */
void tls_thread_hold(struct tls_thread *thread);
void tls_thread_release(struct tls_thread *thread);

#endif
