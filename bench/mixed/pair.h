/*
 * pair: a client and the server that bulkhead connects it with, and what both shall do.
 *
 * Either end sends messages of 1 byte to 1 MiB with pauses between, both at once, and stops reading
 * now and then. Each ends its own direction when it has sent its last message, whoever is first; in
 * one pair of three one end closes altogether, while the other is in a pause. The pair's number and
 * the seed decide all of that. Every byte is compared.
 */
#ifndef BENCH_MIXED_PAIR_H
#define BENCH_MIXED_PAIR_H

#include "dice.h"
#include "stalls.h"
#include "wire.h"

enum kind { KIND_TERMINATE, KIND_ORIGINATE, KIND_BRIDGE, KIND_COUNT };
enum side { CLIENT, SERVER, NOBODY };
enum { SESSIONS_KEPT = 32, NUMBER_BYTES = 8 };

struct pair;

struct end {
    struct wire wire;
    struct load *load;
    struct pair *pair; /* NULL: a server that has not heard yet who its client is */
    enum side side;
    uint32_t events; /* that epoll watches */
    uint64_t turn;   /* of the last event */
    uint8_t number[NUMBER_BYTES];
    size_t number_len;
    struct dice dice;
    bool closed;
    /* receiving */
    bool reading;
    uint64_t read_ns;  /* reads again then */
    uint64_t pause_at; /* stops reading at this offset */
    /* sending */
    uint64_t messages_left;
    uint64_t message_left;
    size_t piece; /* what is being written, 0: nothing */
    uint64_t wake_ns;
    bool ending;
    struct end *next; /* of the dropped ones, until the turn is over */
    /* what became of the handshake */
    int version;
    bool resumed;
};

struct direction {
    uint64_t key;
    uint64_t sent, received;
    bool sent_end, seen_end;
    struct stall stall;
};

struct pair {
    uint64_t number;
    enum kind kind;
    struct end *ends[2];
    struct direction directions[2]; /* by the side that sends */
    enum side closer;               /* who closes altogether; NOBODY: each ends for itself */
    bool closing;                   /* it has sent its last message and waits for a pause */
    bool offered;                   /* the client offered a session */
    struct stall handshake;
};

struct totals {
    uint64_t pairs[KIND_COUNT];
    uint64_t bytes;
    uint64_t handshakes, resumed, offered, tls12, key_updates;
    uint64_t half_closed_by[2], closed_by[2], read_pauses, blocked;
    uint64_t failures;
};

struct load {
    int epoll;
    uint64_t seed;
    SSL_CTX *client, *server;
    uint16_t ports[KIND_COUNT];
    int listeners[2]; /* plain, TLS */
    struct pair **pairs;
    uint64_t slots, live, serial;
    bool going;
    uint64_t turn, call_ns, former_call_ns, busy_ns;
    struct end *dropped;
    SSL_SESSION *sessions[KIND_COUNT][SESSIONS_KEPT];
    struct totals totals;
};

const char *pair_kind_name(enum kind kind);
/* The client dials. The slot says the kind. */
void pair_open(struct load *load, uint64_t slot);
/* A connection from bulkhead. */
void pair_accept(struct load *load, int fd, bool tls);
void pair_on_events(struct end *end, uint32_t events);
/* Once a turn: what is due; what has waited since the last. The time when it is due next. */
uint64_t pair_turn(struct pair *pair, uint64_t now_ns);
/* It should have ended. */
void pair_give_up(struct pair *pair);
/* Frees what was closed in this turn. */
void pair_sweep(struct load *load);
/* libssl's callback for a new session. */
int pair_keep_session(SSL *ssl, SSL_SESSION *session);

#endif
