/*
 * stalls: how long bytes were on their way and none arrived, and whose time that was.
 *
 * Our own slowness can't be in it: a wait begins when our kernel has taken what is sent and the
 * receiver is polled, and is proven only up to the last time we asked epoll and it said that there
 * is nothing. The exception is a session whose server has not been dialled (STALL_OPEN): of that
 * our own work is taken off.
 *
 * While a wait lasts the kernel is asked every 20 ms where the bytes are. Time in which a socket's
 * send queue holds some that its other end has not received, and all that this has received was
 * read, is the kernel's: a retransmission, a probe of a closed window, a drop. Then comes off what
 * the longest waiting thread of bulkhead and ksoftirqd waited for a CPU, and what the hypervisor
 * took. What is left is bulkhead's own; more than STALL_MAX_MS of it is a failure.
 */
#ifndef BENCH_MIXED_STALLS_H
#define BENCH_MIXED_STALLS_H

#include "kernel.h"

#include <stdio.h>

enum { STALL_MAX_MS = 250 };

enum stall_phase { STALL_HANDSHAKE, STALL_OPEN, STALL_RELAY, STALL_END };

enum { STALL_SOCKETS = 4 }; /* of two hops, each the sending one and the receiving one */

struct stall {
    uint64_t since_ns; /* 0: nothing is awaited */
    uint64_t busy_ns;  /* our own work at that time */
    uint64_t looked_ns;
    uint64_t kernel_ns;
    struct kernel_socket sockets[STALL_SOCKETS]; /* at the last look */
    struct kernel_socket former[STALL_SOCKETS];  /* at the first */
};

/* Where a wait is: what is told of it, and the hops that its bytes take. */
struct stall_place {
    uint64_t pair;
    const char *kind;
    const char *direction;
    enum stall_phase phase;
    int hops;
    const struct sockaddr_in *hop[2][2]; /* from, to */
    bool dialled[2];                     /* from is the socket that connected */
};

struct stall_totals {
    uint64_t by_kernel, by_cpu, unexplained; /* more than STALL_MAX_MS */
    uint64_t over_100_ms;
    double longest_ms, longest_left_ms;
};

/* Forgets all samples. kernel_open comes first. */
void stalls_open(void);
/* A sample each 20 ms; called in every turn. */
void stalls_sample(uint64_t now_ns);
void stalls_begin(struct stall *stall, uint64_t now_ns, uint64_t busy_ns);
void stalls_forget(struct stall *stall);
/* Nothing had come at until_ns. */
void stalls_still(struct stall *stall, const struct stall_place *place, uint64_t until_ns);
/* Something came, or never will; the last time that nothing had is until_ns. Reports a stall. */
void stalls_over(struct stall *stall, const struct stall_place *place, uint64_t until_ns,
                 uint64_t busy_ns);
const struct stall_totals *stalls_totals(void);

#endif
