/*
 * options: what the command line of the load generator asks for.
 */
#ifndef BENCH_LOAD_OPTIONS_H
#define BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

enum verb { VERB_NONE, VERB_BACKEND, VERB_CLIENT };
enum work { WORK_NONE, WORK_FULL, WORK_RESUMED, WORK_ROUND_TRIP, WORK_UP, WORK_DOWN, WORK_IDLE };

enum { PIDS_MAX = 16, ROUND_TRIP_SIZE_MAX = 65536, SOURCES_MAX = 250 };

struct options {
    enum verb verb;
    struct netaddr address; /* to listen at or to connect to */

    bool tls;
    bool tls12;
    const char *certificate;
    const char *key;
    const char *bundle;
    const char *expect; /* NULL: any SPIFFE ID that the bundle vouches for */
    const char *groups;
    const char *congestion; /* NULL: the machine's */
    unsigned tickets;       /* backend: for each full handshake; 0: no resumption */

    enum work work;
    unsigned connections;
    unsigned sources; /* 127.0.0.1 to 127.0.0.this */
    uint64_t size;
    uint64_t count; /* 0: by time */
    double seconds;
    double warm_up;
    double rate; /* 0: each connection as fast as it can */
    int pids[PIDS_MAX];
    unsigned pid_count;
};

/* Whether to go on; if not, everything is said. */
enum said { SAID_NOTHING, SAID_HELP, SAID_USAGE };

/* What o points to belongs to argv. */
enum said options_parse(struct options *o, int argc, char **argv);

const char *work_name(enum work work);
/* Connections stay from one unit of work to the next. */
bool work_keeps(enum work work);
bool work_is_bulk(enum work work);

#endif
