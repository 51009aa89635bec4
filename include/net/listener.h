/*
 * listener: listening sockets (opened by control) and accepting from them (in each worker).
 */
#ifndef BULKHEAD_NET_LISTENER_H
#define BULKHEAD_NET_LISTENER_H

#include "base/errbuf.h"
#include "base/netaddr.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct listen_options {
    /* Unix sockets only. */
    mode_t mode;
    uid_t owner; /* (uid_t)-1: leave */
    gid_t group; /* (gid_t)-1: leave */
};

/* The sockets of one address: one per worker with SO_REUSEPORT for TCP; for a Unix path one that
   all workers share (SO_REUSEPORT does not exist there; EAGAIN is normal). */
struct listen_sockets;

/*
 * Binds and listens. The first TCP bind is tried without SO_REUSEPORT, so that a second bulkhead
 * on the same address is an error here and not a silent sharer of its traffic. Port 0 is chosen
 * once and used for all. A Unix path: a stale socket file (nobody answers) is replaced, a live
 * one or another kind of file is an error; mode and owner are set before anyone can connect.
 */
struct listen_sockets *listen_sockets_open(const struct netaddr *addr, size_t count,
                                           const struct listen_options *options,
                                           struct errbuf *err);
/*
 * A listening stream socket that another process has opened; taken over, also when it is refused.
 * All workers share it, as they share a Unix socket. NULL with err: it is no such socket.
 */
struct listen_sockets *listen_sockets_adopt(int fd, size_t count, struct errbuf *err);
/* Its queue is not ours alone: what waits in it when we close is not lost. */
bool listen_sockets_outlive(const struct listen_sockets *sockets);
size_t listen_sockets_descriptors(const struct listen_sockets *sockets);
/* Closes what is left and removes the Unix path if it is still ours. No other thread uses it any
   more. NULL is fine. */
void listen_sockets_close(struct listen_sockets *sockets);
/* Unix sockets: other options for a socket that is open. Else nothing. */
int listen_sockets_set_options(struct listen_sockets *sockets, const struct listen_options *options,
                               struct errbuf *err);
/*
 * How a worker stops listening without resetting anybody: withdraw (a Unix path goes, so that
 * nobody new comes), acceptor_drain, then close_one: its own descriptor, or, of the one that Unix
 * workers share, its part. Any thread; each index once.
 */
void listen_sockets_withdraw(struct listen_sockets *sockets);
void listen_sockets_close_one(struct listen_sockets *sockets, size_t index);
/* The descriptor for worker `index`; stays owned by the sockets. */
int listen_sockets_fd(const struct listen_sockets *sockets, size_t index);
const struct netaddr *listen_sockets_address(const struct listen_sockets *sockets); /* as bound */

/* Accepting, in a worker. */
struct acceptor;
struct acceptor_callbacks {
    /* Before each try to accept. False: nothing is accepted now; a callee that does not pause is
       asked again when the loop comes round. NULL: always true. */
    bool (*reserve)(void *arg);
    /* What reserve allowed did not come about. NULL if reserve is. */
    void (*cancel)(void *arg);
    /* A connected socket, non-blocking and close-on-exec; the callee owns it. */
    void (*on_accept)(void *arg, int fd, const struct netaddr *peer);
    /* Descriptors or memory ran out: accepting is paused for a moment and resumes by itself. */
    void (*on_exhausted)(void *arg, int error);
};
/* Starts accepting, at most `per_turn` connections in one turn of the loop. NULL: out of memory. */
struct acceptor *acceptor_new(struct loop *loop, int fd, unsigned per_turn,
                              const struct acceptor_callbacks *callbacks, void *arg);
void acceptor_free(struct acceptor *acceptor);
/* Leaves new connections in the kernel's queue until acceptor_resume. Safe inside on_accept. */
void acceptor_pause(struct acceptor *acceptor);
void acceptor_resume(struct acceptor *acceptor);
/* Does somebody wait in the kernel's queue? With a socket that workers share it may be over by now.
 */
bool acceptor_has_newcomer(const struct acceptor *acceptor);
/* Accepts whatever is queued now (before a close, which would reset it) until EAGAIN, or until
 * reserve says no; ignores pause. */
void acceptor_drain(struct acceptor *acceptor);

#endif
