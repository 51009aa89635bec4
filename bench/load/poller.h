/*
 * poller: epoll, the list of those who stopped half-way for the others' sake, and the wish to end.
 *
 * One thread. A watch is embedded in what it is for; the one who embeds it owns it and takes it out
 * before its memory goes. A callback may take out its own watch and no other that could have an
 * event in the same turn.
 */
#ifndef BENCH_LOAD_POLLER_H
#define BENCH_LOAD_POLLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct watch;
typedef void watch_fn(struct watch *watch, uint32_t events);

struct watch {
    int fd; /* -1: not in the poller */
    uint32_t interest;
    watch_fn *on_event;
    bool is_yielding;
    TAILQ_ENTRY(watch) entry;
};

TAILQ_HEAD(watch_list, watch);

struct poller {
    int epoll_fd;
    struct watch_list yielding;
    struct watch signals;
    struct watch input;
    bool must_stop;
};

/* False, with errno, when the kernel refuses. */
bool poller_init(struct poller *poller);
void poller_fini(struct poller *poller);
/* From here on SIGTERM, SIGINT and the end of a stdin that is a pipe or a socket set must_stop. */
bool poller_watch_for_stop(struct poller *poller);

/* The watch's fd and callback are set. */
bool poller_add(struct poller *poller, struct watch *watch, uint32_t interest);
void poller_want(struct poller *poller, struct watch *watch, uint32_t interest);
/* Leaves the fd open. */
void poller_remove(struct poller *poller, struct watch *watch);
/* Its callback is called again after the others had their turn, with no events. */
void poller_yield(struct poller *poller, struct watch *watch);

/* Waits for events until the time (CLOCK_MONOTONIC, 0: without end) and calls back. Returns whether
 * there were any. */
bool poller_turn(struct poller *poller, uint64_t until_ns);

#endif
