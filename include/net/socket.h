/*
 * socket: the options and questions of one descriptor. Any thread; none blocks.
 */
#ifndef BULKHEAD_NET_SOCKET_H
#define BULKHEAD_NET_SOCKET_H

#include "base/netaddr.h"

#include <stdbool.h>
#include <stdint.h>

struct socket_options {
    uint64_t keepalive_ms;      /* 0: off; SO_KEEPALIVE's idle time and TCP_USER_TIMEOUT */
    const char *tcp_congestion; /* NULL: the system's */
};

/* TCP_NODELAY, keepalive with TCP_USER_TIMEOUT, congestion control. Unix sockets need none. A
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
/* What nobody tells us of a socket that is not watched. */
enum socket_peer {
    SOCKET_PEER_THERE = 0,
    SOCKET_PEER_LEFT,   /* both directions are shut, or a Unix peer has closed: it takes no more */
    SOCKET_PEER_BROKEN, /* the connection has failed: a reset, or nobody answers any more (a Unix
                           peer: closed with bytes of ours unread) */
};
/* Whatever it is, what the peer sent before may still be there to be read. */
enum socket_peer socket_peer(int fd);
/* True when a read would give bytes, or an end in order. When it is false after a failure, that
   failure has been taken: a later read may look like an end in order. */
bool socket_has_input(int fd);
/* The address is unset (len 0) when there is none. */
void socket_local_address(int fd, struct netaddr *addr);
void socket_peer_address(int fd, struct netaddr *addr);

#endif
