/*
 * tls_bio: what libssl reads from and writes to: memory of the thread, for one SSL call at a time.
 *
 * One BIO serves every SSL of a thread: it holds nothing of a connection. tls_io_begin names the
 * conn and the bytes that arrived, then comes the SSL call (or several), then tls_io_end sends
 * what it made. It is also the way from libssl's callbacks back to the conn.
 */
#ifndef BULKHEAD_TLS_BIO_H
#define BULKHEAD_TLS_BIO_H

#include "net/conn.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <stddef.h>
#include <stdint.h>

struct tls_conn;
struct tls_thread;

/* The state of one pass between tls_io_begin and tls_io_end. */
struct tls_io {
    struct tls_conn *conn; /* NULL outside of a pass */
    const uint8_t *in;     /* what libssl has not taken yet */
    size_t in_left;
    size_t out_len;         /* bytes in the thread's cipher_out */
    size_t made;            /* bytes that libssl made in this pass */
    enum conn_end send_end; /* why sending failed, when it did */
};

/* NULL: out of memory. */
BIO_METHOD *tls_bio_method_new(void);
BIO *tls_bio_new(const BIO_METHOD *method, struct tls_thread *thread);
/* The conn whose SSL call is on the stack. For libssl's callbacks. */
struct tls_conn *tls_bio_conn(const SSL *ssl);

void tls_io_begin(struct tls_conn *conn, const uint8_t *in, size_t len);
/* Sends what was made. CONN_END_NONE unless sending failed. */
enum conn_end tls_io_end(struct tls_conn *conn);

#endif
