/*
 * worker: one data thread: its loop, its sockets, its sessions, and the snapshot in force.
 *
 * Control makes workers, starts their threads and talks to them by message; everything else here
 * belongs to the worker's own thread.
 */
#ifndef BULKHEAD_PROXY_WORKER_H
#define BULKHEAD_PROXY_WORKER_H

#include "base/errbuf.h"
#include "base/log.h"
#include "base/reason.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "net/resolver.h"
#include "proxy/limits.h"
#include "proxy/session.h"
#include "telemetry/log_writer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct crypto;
struct plain_thread;
struct snapshot;
struct tls_thread;

TAILQ_HEAD(session_list, session);

/* One listener's accepting in one worker. */
struct worker_listener {
    struct worker *worker;
    size_t index;
    struct acceptor *acceptor;
    bool paused; /* by a limit */
};

struct worker {
    pthread_t thread;
    unsigned index;
    struct loop *loop;
    struct mailbox *mailbox; /* from control */
    struct mailbox *control; /* to control; posts WORKER_SAYS_* */
    struct log log;
    struct log_ring *ring;
    struct resolver *resolver;
    struct tls_thread *tls;
    struct plain_thread *plain;
    struct snapshot *snapshot;
    struct limits *limits;
    struct worker_listener *listeners;
    size_t listener_count;
    struct timer *resume_timer; /* while a listener is paused */
    struct session_list sessions;
    struct session_list handshakes;
    uint64_t next_session;
    uint64_t session_count;
    uint64_t session_step; /* ids of the workers interleave */
    bool draining;
    uint64_t ended[REASON_COUNT]; /* sessions by reason */
};

/* Messages to a worker. */
enum worker_order {
    WORKER_STOP_ACCEPTING, /* accept what is queued, then no more; WORKER_SAYS_IDLE when empty */
    WORKER_CUT,            /* end every session with the reason */
    WORKER_EXIT            /* leave the loop */
};
struct worker_message {
    struct mailbox_message node;
    enum reason reason;
};
/* Messages of a worker to control. */
enum worker_says { WORKER_SAYS_NOT_ACCEPTING, WORKER_SAYS_IDLE };
struct worker_report {
    struct mailbox_message node;
    unsigned worker;
};

struct worker_options {
    unsigned index;
    unsigned count;
    const struct crypto *crypto;
    struct snapshot *snapshot; /* a reference is taken */
    struct limits *limits;
    struct log_ring *ring;
    struct mailbox *control;
    struct listen_sockets *const *sockets; /* one per listener */
};

/* Makes everything but the thread. NULL with err. */
struct worker *worker_new(const struct worker_options *options, struct errbuf *err);
int worker_start(struct worker *worker, struct errbuf *err);
/* Any thread; the order is carried out between events. */
void worker_order(struct worker *worker, enum worker_order order, enum reason reason);
/* After WORKER_EXIT: waits for the thread. */
void worker_join(struct worker *worker);
/* After worker_join, or when it never started. */
void worker_free(struct worker *worker);

/* For session.c: bookkeeping of what may be accepted. */
void worker_session_ended(struct worker *worker);
/* Writes one access line. */
void worker_access_line(struct worker *worker, const char *line, size_t len);

#endif
