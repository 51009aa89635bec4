/*
 * tls_hello: what the two hellos agree on besides cryptography: the server name and ALPN.
 */
#ifndef BULKHEAD_TLS_HELLO_H
#define BULKHEAD_TLS_HELLO_H

#include "base/errbuf.h"

#include <openssl/ssl.h>

#include <stdbool.h>
#include <stddef.h>

struct tls_conn;
struct tls_context;

/* libssl's callbacks and the client's list. -1 with err when a protocol's name can't be. */
int tls_hello_init(struct tls_context *context, struct errbuf *err);
/* Client, before the handshake: sni may be NULL; tls->alpn is what to offer. False: no memory, or
   a name that TLS can't carry. */
bool tls_hello_offer(struct tls_conn *tls, const char *sni);
/* After the handshake. What was selected, "" for nothing; NULL when the server did not select one
   of those that we offered. Lives as long as the conn. */
const char *tls_hello_selected(const struct tls_conn *tls);

#endif
