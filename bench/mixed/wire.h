/*
 * wire: one of our sockets, plain or TLS, non-blocking; an independent peer of bulkhead.
 *
 * What was written is with the kernel when wire_write says so: a TLS record counts once the whole
 * of it is. Written on the socket itself, one record at a time, so that nothing waits in libssl.
 */
#ifndef BENCH_MIXED_WIRE_H
#define BENCH_MIXED_WIRE_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_PIECE_MAX = 16384 };

enum wire_result { WIRE_OK = 0, WIRE_WAIT, WIRE_END, WIRE_BROKEN };

struct wire {
    int fd;
    SSL *ssl; /* NULL: plain */
    bool open;
    bool said_end;            /* close_notify is with the kernel */
    bool wants_write;         /* a write, a handshake or an answer waits for room */
    struct sockaddr_in local; /* as bulkhead's socket sees it: remote */
    struct sockaddr_in remote;
};

struct wire_tls {
    const char *certificate;
    const char *key;
    const char *bundle;
    const char *expect; /* the one SPIFFE ID that a peer may have */
};

/* A context that demands and verifies the peer's certificate. Exits with a message on failure. */
SSL_CTX *wire_context(const struct wire_tls *tls, bool server);

/* ctx NULL: plain. small: buffers and segments so small that bulkhead's writes are short. */
bool wire_dial(struct wire *wire, uint16_t port, SSL_CTX *ctx, bool small);
bool wire_accepted(struct wire *wire, int fd, SSL_CTX *ctx);
/* A listening socket on 127.0.0.1; exits with a message on failure. */
int wire_listen(uint16_t *port);

/* Connects and shakes hands; open is true when it is done. */
enum wire_result wire_proceed(struct wire *wire);
enum wire_result wire_read(struct wire *wire, uint8_t *out, size_t size, size_t *got);
/* After WIRE_WAIT it must be called again with the same bytes. */
enum wire_result wire_write(struct wire *wire, const uint8_t *data, size_t len, size_t *put);
/* Ends our direction: close_notify, and fin with it (a plain one is always a FIN). */
enum wire_result wire_end(struct wire *wire, bool fin);
/* Something that libssl has decrypted waits; the socket need not be readable for it. */
bool wire_has_pending(const struct wire *wire);
void wire_close(struct wire *wire);
/* What went wrong last, for a message. */
const char *wire_error(void);

#endif
