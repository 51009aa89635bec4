/*
 * socket: the options and questions of one descriptor. Any thread; none blocks.
 */
#ifndef BULKHEAD_NET_SOCKET_H
#define BULKHEAD_NET_SOCKET_H

#include "base/netaddr.h"

#include <stdbool.h>
#include <stdint.h>

struct socket_options {
    uint64_t keepalive_ms;      /* 0: off; the idle time of SO_KEEPALIVE */
    const char *tcp_congestion; /* NULL: the system's */
};

/* TCP_NODELAY, keepalive, congestion control. Unix sockets need none. A
   refused option is no error: the connection works without it. */
void socket_apply_options(int fd, bool is_unix, const struct socket_options *options);
/* Whether this kernel lets us set that congestion control. */
bool socket_congestion_usable(const char *name);
/* The next close resets (TCP; a Unix socket has no reset). */
void socket_set_reset_on_close(int fd);
/* Bytes (and a FIN, as one) that the peer's kernel has not acknowledged; 0 for Unix or on error.
   May stay above 0 for ever once the socket is gone. */
unsigned socket_unsent(int fd);
/* What has not reached the peer yet: bytes for TCP, the kernel's measure for Unix. To compare with
   an earlier answer: less says that the peer takes. 0 on error. */
unsigned socket_outstanding(int fd);
/* Whether and since when TCP waits for an answer of the peer's kernel. */
struct socket_acks {
    bool awaited;         /* nothing has come since data, a FIN or a window probe was last sent */
    uint32_t silent_ms;   /* since the last acknowledgement of any kind */
    uint64_t acked_bytes; /* in all */
};
/* Zeroed for Unix, or on error. */
void socket_acks(int fd, struct socket_acks *acks);
/* What nobody tells us of a socket that is not watched. */
enum socket_peer {
    SOCKET_PEER_THERE = 0,
    SOCKET_PEER_LEFT,   /* both directions are shut, or a Unix peer has closed: it takes no more */
    SOCKET_PEER_BROKEN, /* the connection has failed: a reset, or nobody answers any more (a Unix
                           peer: closed with bytes of ours unread) */
};
/* Whatever it is, what the peer sent before may still be there to be read. */
enum socket_peer socket_peer(int fd);
/* 0 when a read would give bytes or an end in order, or nothing yet; else the error it would give.
   That error is then taken: a later read may look like an end in order. */
int socket_peek_error(int fd);
/* The address is unset (len 0) when there is none. */
void socket_local_address(int fd, struct netaddr *addr);
void socket_peer_address(int fd, struct netaddr *addr);

#endif
