/*
 * tls_resumption: sessions between libssl and the store.
 */
#ifndef BULKHEAD_TLS_RESUMPTION_H
#define BULKHEAD_TLS_RESUMPTION_H

#include <stdbool.h>

struct tls_conn;
struct tls_context;

/* libssl's callbacks, if the context has a store. */
void tls_resumption_init(struct tls_context *context);
/* Sets the session id context for the credentials in force. False: libssl refuses. */
bool tls_resumption_bind(struct tls_conn *tls);
/* Server, within the ClientHello callback: can the client use a ticket of ours? */
void tls_resumption_look_at_hello(struct tls_conn *tls);
/* Client, before the handshake: offers a session of this upstream, if there is one. sni as in
   tls_conn_connect. */
void tls_resumption_offer(struct tls_conn *tls, int fd, const char *sni);
/* After a resumed handshake: is this a session that may be used now? The chain is judged elsewhere.
 */
bool tls_resumption_allows(const struct tls_conn *tls);
/* The conn opens: its sessions are born, or go on. The handshake's facts are still there. */
void tls_resumption_begin(struct tls_conn *tls);
/* Server, before a write, while ticket_due: the next write begins with a ticket. */
void tls_resumption_issue(struct tls_conn *tls);
/* The session of a conn that was refused is of no further use. */
void tls_resumption_forget(struct tls_conn *tls);

#endif
