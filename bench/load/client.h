/*
 * client: opens connections, has them do one kind of work, measures a window of it.
 *
 * client.c is the course of a run: who begins when, and the window. slot.c is what one connection
 * does. report.c is what is told at the end.
 *
 *   OPENING   connections that stay are opened, for resumption a first session is fetched,
 *             OPENING_MAX at a time
 *   WARMING   work goes on uncounted
 *   MEASURING the window
 *   HOLDING   idle only: nothing moves until the wish to end
 *   ENDING    what has begun is brought to its end and verified, nothing new begins
 */
#ifndef BENCH_LOAD_CLIENT_H
#define BENCH_LOAD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "load/faults.h"
#include "load/link.h"
#include "load/meter.h"
#include "load/options.h"
#include "load/stream.h"

enum phase { PHASE_OPENING, PHASE_WARMING, PHASE_MEASURING, PHASE_HOLDING, PHASE_ENDING };

enum slot_state {
    SLOT_PARKED, /* nothing to do; the connection is open if the work keeps it */
    SLOT_CONNECT,
    SLOT_HANDSHAKE,
    SLOT_GREET, /* the header of an echo, there and back */
    SLOT_EXCHANGE,
    SLOT_UP,
    SLOT_ANSWER,
    SLOT_DOWN,
    SLOT_DEAD, /* a kept connection failed: it isn't opened again */
};

struct slot {
    struct link link; /* first: the watch is how it is found */
    struct client *client;
    enum slot_state state;
    SSL_SESSION *session; /* the latest, for resumption */
    bool fell_back;       /* it was to be resumed and wasn't */
    uint64_t began_ns;
    uint64_t done; /* of a transfer, its header not counted */
    uint8_t header[STREAM_HEADER_SIZE];
    const uint8_t *message; /* of an exchange */
    size_t message_len, sent, received;
    struct slot *next_parked;
};

/* The window. */
struct tally {
    uint64_t begin_ns, end_ns;
    uint64_t units, bytes, not_resumed, late;
    uint64_t own_cpu_ns;
    uint64_t cpu_ns[PIDS_MAX];
    struct histogram latency;
};

struct client {
    const struct options *options;
    struct poller poller;
    struct tls_side *side; /* NULL: plain */
    struct slot *slots;
    struct slot *parked;
    unsigned opened;  /* slots whose opening was begun */
    unsigned opening; /* of these, still at it */
    unsigned dead;
    unsigned busy; /* units of work on the way */
    enum phase phase;
    uint64_t phase_end_ns;
    uint64_t begun, failed;        /* units in all, for --count */
    uint64_t first_due_ns, issued; /* --rate */
    uint64_t heard_ns;             /* when anything happened last */
    uint64_t exchanges;
    struct faults faults;
    struct tally tally;
    char protocol[16], cipher[48], group[48];
    uint8_t piece[LINK_PIECE];
};

/* Returns the exit code. */
int client_run(const struct options *o);

/* --- what slot.c calls --- */

/* An opening has come to its good end. */
void client_opened(struct client *c, struct slot *slot);
/* A unit has come to its good end. The slot may be at its next when this returns. */
void client_unit_done(struct client *c, struct slot *slot);
/* An opening or a unit failed, or a parked connection did; all is told, the link is closed. */
void client_slot_failed(struct client *c, struct slot *slot, enum slot_state state);
/* Payload moved. */
void client_moved(struct client *c, uint64_t bytes);

/* --- slot.c --- */

void slot_init(struct slot *slot, struct client *c);
void slot_fini(struct slot *slot);
/* Begins the connection of a slot; for full and resumed that is the unit too. */
void slot_open(struct slot *slot);
/* Begins a unit on a connection that is open. */
void slot_begin(struct slot *slot);
/* Sets the callback by which sessions come to the slots. */
void slot_keep_sessions(SSL_CTX *ctx);

/* --- report.c --- */
void report_client(const struct client *c);

#endif
