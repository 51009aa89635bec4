/*
 * conn: one connected socket, plain or TLS: read, write, shut down, close. Knows no policy.
 *
 * One thread: its loop's. What differs between plain and TLS is behind conn_ops; what is common
 * (the descriptor, readiness, output that could not be sent at once) is here.
 *
 * Reading is pull: on_readable says there may be something; conn_read takes one bounded piece. The
 * bytes it returns lie in a buffer of the thread and are valid until the next conn call on this
 * thread: a conn that waits owns no buffer.
 *
 * Writing takes all: conn_write sends what the kernel takes and keeps the rest itself. The caller
 * asks conn_is_blocked, and if so stops feeding until on_drained.
 *
 * A callback may close its conn (and others); after calling back, a conn touches nothing of itself
 * that closing would free: conns are freed at the end of the loop's turn.
 */
#ifndef BULKHEAD_NET_CONN_H
#define BULKHEAD_NET_CONN_H

#include "base/bytebuf.h"
#include "net/loop.h"
#include "net/socket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conn_end {
    CONN_END_NONE = 0, /* the stream goes on */
    CONN_END_CLEAN,    /* FIN (plain) or close_notify (TLS): no more will come, all was delivered */
    CONN_END_TRUNCATED,   /* TLS: FIN without close_notify (RFC 8446 6.1) */
    CONN_END_RESET,       /* the peer's kernel reset it, or a socket error */
    CONN_END_VANISHED,    /* nothing answers any more: the kernel has given up */
    CONN_END_ALERT,       /* TLS: a fatal alert; tls_conn_alert_name says which */
    CONN_END_PROTOCOL,    /* TLS: the peer broke the record protocol */
    CONN_END_NO_PROGRESS, /* TLS: too many records without data */
    CONN_END_NO_MEMORY
};

struct conn_input {
    const uint8_t *data;
    size_t len; /* may be > 0 together with an end: these bytes came before it */
    bool more;  /* the read was as large as allowed: there may be more at once */
    enum conn_end end;
};

struct conn;

struct conn_handler {
    /* Something to read, or the end. Only while reading is wanted. */
    void (*on_readable)(void *arg);
    /* All that was kept has been sent (only after conn_is_blocked was true). */
    void (*on_drained)(void *arg);
    /* Sending failed after conn_write had returned: CONN_END_RESET or CONN_END_VANISHED. */
    void (*on_write_failed)(void *arg, enum conn_end end);
};

struct conn_ops {
    void (*read)(struct conn *conn, size_t max, struct conn_input *input);
    enum conn_end (*write)(struct conn *conn, const uint8_t *data, size_t len);
    /* Queues close_notify; NULL for plain. */
    enum conn_end (*end_stream)(struct conn *conn);
    void (*destroy)(struct conn *conn);
};

enum { CONN_MAGIC = 0x636f6e6e };

/* Embedded first in plain_conn and tls_conn. Fields are for src/net/conn.c and the ops. */
struct conn {
    unsigned magic;
    int fd;
    const struct conn_ops *ops;
    struct loop *loop;
    struct io_watch *watch;
    const struct conn_handler *handler;
    void *handler_arg;
    struct bytebuf pending; /* output the kernel has not taken yet */
    bool want_read;
    bool end_queued; /* shut down for writing as soon as pending is empty */
    bool closed;
    bool is_unix;
    enum conn_end write_end; /* why nothing can be sent any more, or CONN_END_NONE */
    struct loop_deferred deferred;
};

/* For plain_conn and tls_conn. The struct comes zeroed; is_unix is set by the caller. Takes fd
   (connected, non-blocking) on success. -1: out of memory; fd stays the caller's. */
int conn_init(struct conn *conn, struct loop *loop, int fd, const struct conn_ops *ops)
    __attribute__((warn_unused_result));
/* Sends raw bytes, keeps what the kernel doesn't take. For the ops. After conn_end_stream has
   queued our end, bytes are dropped: nothing may follow it. */
enum conn_end conn_send_raw(struct conn *conn, const uint8_t *data, size_t len)
    __attribute__((warn_unused_result));

/* What an errno of a read or a write says of the stream. For the ops. */
enum conn_end conn_end_of_error(int error);

/* handler must outlive the conn and have all three functions; NULL: nobody is told. */
void conn_set_handler(struct conn *conn, const struct conn_handler *handler, void *arg);
/* At most about max bytes (TLS may return up to one record more). */
void conn_read(struct conn *conn, size_t max, struct conn_input *input);
/* CONN_END_NONE: all taken. Anything else: the conn can send no more (then on_write_failed is not
   called too). Not after conn_end_stream. */
enum conn_end conn_write(struct conn *conn, const uint8_t *data, size_t len)
    __attribute__((warn_unused_result));
/* Whether on_readable is wanted. Off: only conn_has_left tells of a peer that left. -1: the kernel
 * refused or memory is out. */
int conn_want_read(struct conn *conn, bool want) __attribute__((warn_unused_result));
/* conn_want_read(conn, false) for callers that give the conn up next: leaving out a direction fails
   only where the kernel has lost the descriptor, and then nothing is reported either. */
void conn_stop_reading(struct conn *conn);
/* Whether its callbacks come behind the others of a turn (io_watch_set_late). */
void conn_set_late(struct conn *conn, bool late);
bool conn_is_blocked(const struct conn *conn);
size_t conn_pending(const struct conn *conn);
/* Ends our sending direction in order: close_notify (TLS), then FIN, after what is pending
   (on_drained or on_write_failed tells of that). Again: the same answer, nothing more is sent. */
enum conn_end conn_end_stream(struct conn *conn) __attribute__((warn_unused_result));
/* All that was written has left: nothing pending and, for TCP, nothing unacknowledged (our FIN
   counts as well). A conn that is gone may never get there. */
bool conn_is_flushed(const struct conn *conn);
/* What was written and has not reached the peer, here and in the kernel. To compare with an earlier
   answer: less says that the peer takes (see socket_outstanding). */
size_t conn_outstanding(const struct conn *conn);
/* The connection has failed: nothing can be sent any more. What came before may still wait to be
   read (a peer that has ended in order is not gone). */
bool conn_is_gone(const struct conn *conn);
/* Gone, or the peer has closed in order and takes no more bytes. */
bool conn_has_left(const struct conn *conn);
/* How reading would fail once all that came before has been read, or CONN_END_NONE. Then the conn
   is not to be read any more (see socket_peek_error). */
enum conn_end conn_peek_failure(const struct conn *conn);
/* See socket_acks. */
void conn_acks(const struct conn *conn, struct socket_acks *acks);
int conn_fd(const struct conn *conn);

/* Both close at once and free at the end of the turn; no callback comes after. NULL is fine. */
/* FIN, whatever state the stream is in (a TLS stream without close_notify reads as truncated); what
   is pending here is lost. The kernel sends RST instead when it holds received data that nobody has
   read, and what it has not delivered yet is lost as well: a conn that owes its peer an ending is
   ended by conn_end_stream, and closed once the peer has ended too. */
void conn_close(struct conn *conn);
/* RST to the peer (Unix: a plain close); no close_notify: it can't read as a complete answer. */
void conn_abort(struct conn *conn);

#endif
