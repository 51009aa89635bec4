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
#include "base/pace.h"
#include "base/reason.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "net/resolver.h"
#include "proxy/limits.h"
#include "proxy/session.h"
#include "proxy/walk.h"
#include "telemetry/log_writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct access_lines;
struct accepting;
struct crypto;
struct metrics;
struct metrics_block;
struct peer_table;
struct plain_thread;
struct rule_hits;
struct session_query;
struct session_survey;
struct setup_listener;
struct snapshot;
struct swap;
struct tls_thread;

TAILQ_HEAD(session_list, session);
TAILQ_HEAD(walk_list, walk);

/* Messages to a worker. */
enum worker_order {
    WORKER_STOP_ACCEPTING, /* accept what is queued, then no more; WORKER_SAYS_IDLE when empty */
    WORKER_CUT,            /* end every session with the reason */
    WORKER_CLOCK_SET,      /* the wall clock was set: look at deadlines */
    WORKER_BEAT,           /* nothing; that it was taken says that the loop goes round */
    WORKER_EXIT,           /* leave the loop */
    WORKER_SWAP,           /* take the snapshot; WORKER_SAYS_IN_FORCE when all were judged */
    WORKER_SURVEY,         /* judge the sessions under it; WORKER_SAYS_SURVEYED */
    WORKER_QUERY           /* list or end some sessions; WORKER_SAYS_QUERIED */
};
enum { WORKER_PLAIN_ORDERS = WORKER_EXIT + 1 };
struct worker_message {
    struct mailbox_message node;
    enum reason reason;
    struct snapshot *snapshot;         /* WORKER_SWAP, WORKER_SURVEY: a reference */
    const struct session_query *query; /* WORKER_QUERY: lives until answered */
    /* WORKER_SWAP: by config index; lives until in force. NULL: the listeners are the same. */
    struct listen_sockets *const *sockets;
    struct rule_hits *rule_hits; /* WORKER_SWAP: of the setup; NULL: the setup is the same */
    bool reread_resolver;        /* WORKER_SWAP */
};
/* An order that needs no more than a reason has its message from the start, so that a process that
   is short of memory can still stop. */
struct worker_plain_order {
    struct worker_message message;
    _Atomic bool posted; /* and not taken yet */
};

/* Messages of a worker to control. */
enum worker_says {
    WORKER_SAYS_NOT_ACCEPTING,
    WORKER_SAYS_IDLE,
    WORKER_SAYS_IN_FORCE,
    WORKER_SAYS_SURVEYED,
    WORKER_SAYS_QUERIED
};
enum { WORKER_SAYS_ONCE = WORKER_SAYS_IDLE + 1 };

struct worker {
    pthread_t thread;
    unsigned index;
    struct loop *loop;
    struct mailbox *mailbox; /* from control */
    struct mailbox *control; /* to control; posts WORKER_SAYS_* */
    struct worker_plain_order orders[WORKER_PLAIN_ORDERS];
    struct worker_report *to_say[WORKER_SAYS_ONCE]; /* made at the start; NULL: said */
    struct log log;
    struct log_ring *ring;
    struct resolver *resolver;
    struct tls_thread *tls;
    struct plain_thread *plain;
    struct snapshot *snapshot; /* in force for whatever is decided from now on */
    struct swap *swap;         /* from the former snapshot to this one, until all are judged */
    struct expiry *expiry;
    struct rule_hits *rule_hits; /* of the snapshot's setup; NULL: nobody counts */
    struct walk_list walks;
    struct limits *limits;
    struct accepting *accepting;
    struct access_lines *access_lines;
    struct metrics_block *const *metrics; /* by slot; this thread alone writes to them */
    struct peer_table *peers;             /* NULL: not wanted */
    struct session_list sessions;
    uint64_t next_session;
    uint64_t session_count;
    uint64_t session_step; /* ids of the workers interleave */
    uint64_t unique_mark;  /* drawn at the start: sessions of no two processes are called alike */
    struct pace failed_lines; /* connections that ended before they were a session */
    bool draining;
};

/* What a swap did to one worker's sessions. */
struct swap_result {
    uint64_t judged;
    uint64_t ended[REASON_COUNT];
    uint64_t took_us;
    uint64_t longest_slice_us;
};

/* Control frees it. */
struct worker_report {
    struct mailbox_message node;
    unsigned worker;
    struct snapshot *former; /* WORKER_SAYS_IN_FORCE: a reference to drop */
    struct swap_result swap; /* WORKER_SAYS_IN_FORCE */
    /* WORKER_SAYS_SURVEYED (NULL: memory is out), WORKER_SAYS_QUERIED of a list: control's */
    struct session_survey *survey;
    const struct session_query *query; /* WORKER_SAYS_QUERIED: with these: */
    uint64_t matched;
    bool failed; /* memory is out: nothing was done */
};

struct worker_options {
    unsigned index;
    unsigned count;
    const struct crypto *crypto;
    struct snapshot *snapshot; /* a reference is taken */
    struct limits *limits;
    struct rule_hits *rule_hits;   /* of the snapshot's setup; NULL: nobody counts */
    const struct metrics *metrics; /* follows the listeners already; outlives the worker */
    struct peer_table *peers;      /* NULL: not wanted */
    struct log_ring *ring;
    const _Atomic int *log_level; /* every thread's; NULL: the configuration's at the start */
    struct mailbox *control;
    struct listen_sockets *const *sockets; /* by config index */
};

/* Makes everything but the thread. NULL with err. */
struct worker *worker_new(const struct worker_options *options, struct errbuf *err);
int worker_start(struct worker *worker, struct errbuf *err);
/* Any thread; the order is carried out between events. For what needs no more than a reason; one
   that is still to be carried out is not given again. Takes no memory. */
void worker_order(struct worker *worker, enum worker_order order, enum reason reason);
/* Such an order was given and is still to be taken. Any thread. */
bool worker_has_order(const struct worker *worker, enum worker_order order);
/* What comes into force; see struct worker_message. */
struct worker_next {
    struct snapshot *snapshot;
    struct listen_sockets *const *sockets;
    struct rule_hits *rule_hits;
    bool reread_resolver;
};
/* WORKER_SWAP; takes a reference of the snapshot. */
void worker_swap(struct worker *worker, const struct worker_next *next);
/* WORKER_SURVEY: what each session is, and what would become of it under the snapshot (a reference
   is taken). */
void worker_survey(struct worker *worker, struct snapshot *snapshot);
/* WORKER_QUERY. */
void worker_query(struct worker *worker, const struct session_query *query);
/* After WORKER_EXIT: waits for the thread. */
void worker_join(struct worker *worker);
/* After worker_join, or when it never started. */
void worker_free(struct worker *worker);

/* For session.c: bookkeeping of what may be accepted. */
void worker_session_ended(struct worker *worker);
/* Writes one access line. */
void worker_access_line(struct worker *worker, const char *line, size_t len);
/* For swap.c and survey.c: an answer to control, with everything but the head filled in. */
void worker_report(struct worker *worker, enum worker_says what, struct worker_report *report);

#endif
