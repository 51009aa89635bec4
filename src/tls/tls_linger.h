/*
 * tls_linger: the end of refused conns: they wait a little for the peer to read the alert.
 */
#ifndef BULKHEAD_TLS_LINGER_H
#define BULKHEAD_TLS_LINGER_H

struct tls_conn;
struct tls_thread;

/* The thread goes: closes what still lingers. */
void tls_linger_close_all(struct tls_thread *thread);
/* The conn goes: what lingering holds of it. Nothing when it does not linger. */
void tls_linger_forget(struct tls_conn *tls);

#endif
