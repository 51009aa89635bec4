/*
 * plain_conn: a conn without TLS. See net/conn.h.
 */
#ifndef BULKHEAD_NET_PLAIN_CONN_H
#define BULKHEAD_NET_PLAIN_CONN_H

#include "net/conn.h"

/* One per thread: the read buffer that its plain conns share. */
struct plain_thread;
enum { PLAIN_READ_MAX = 64 * 1024 };
struct plain_thread *plain_thread_new(void);
void plain_thread_free(struct plain_thread *thread);

/* Takes fd (connected, non-blocking). NULL when memory is out: fd stays the caller's. */
struct conn *plain_conn_new(struct plain_thread *thread, struct loop *loop, int fd, bool is_unix);

#endif
