/*
 * tls_handshake: from a new socket to on_handshake.
 */
#ifndef BULKHEAD_TLS_HANDSHAKE_H
#define BULKHEAD_TLS_HANDSHAKE_H

struct tls_conn;

/* Begins at the end of the loop's turn. The conn is whole; the SSL has its role, BIO and hello. */
void tls_handshake_start(struct tls_conn *tls);

#endif
