/*
 * kernel: what the kernel counts of what we look at: sockets on both sides of a connection, the
 * whole machine's TCP, and how long bulkhead's threads were ready to run and did not.
 */
#ifndef BENCH_MIXED_KERNEL_H
#define BENCH_MIXED_KERNEL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Rows of /proc/net/netstat that tell of a drop, a timer or a full queue. */
// clang-format off
#define KERNEL_COUNTERS(X) \
    X(TCPTimeouts) \
    X(TCPLossProbes) \
    X(TCPLostRetransmit) \
    X(TCPFastRetrans) \
    X(TCPSlowStartRetrans) \
    X(TCPSynRetrans) \
    X(TCPWinProbe) \
    X(RcvPruned) \
    X(PruneCalled) \
    X(OfoPruned) \
    X(TCPBacklogDrop) \
    X(TCPRcvQDrop) \
    X(TCPZeroWindowDrop) \
    X(TCPRcvCollapsed) \
    X(ListenOverflows) \
    X(ListenDrops) \
    X(TCPMemoryPressures)
// clang-format on

#define X(name) KERNEL_##name,
enum kernel_counter { KERNEL_COUNTERS(X) KERNEL_COUNTER_COUNT };
#undef X

enum { KERNEL_THREADS_MAX = 32, KERNEL_CPUS_MAX = 64 };

struct kernel_sample {
    uint64_t at_ns;
    uint64_t counters[KERNEL_COUNTER_COUNT];
    uint64_t waited_ns[KERNEL_THREADS_MAX]; /* of each thread of bulkhead, on a run queue */
    uint64_t softirq_ns[KERNEL_CPUS_MAX];   /* of each ksoftirqd */
    uint64_t stolen_ns[KERNEL_CPUS_MAX];    /* of each CPU, by the hypervisor */
    uint64_t own_waited_ns;                 /* this thread's */
};

struct kernel_socket {
    bool found;
    uint32_t receive_queue; /* arrived and not read */
    uint32_t send_queue;    /* written and not acknowledged, or not sent yet */
    uint64_t acked;         /* of what was written; of a socket that dialled, the SYN with it */
    uint64_t received;      /* in order, read or not */
    uint8_t timer;          /* 1 retransmit, 2 keepalive, 4 probe (inet_diag) */
    uint8_t tries;          /* of that timer, in a row */
    uint32_t retransmits;   /* in its whole life */
    uint32_t drops;         /* of what arrived, for want of memory */
};

uint64_t kernel_now_ns(void);
/* Exits with a message on failure. */
void kernel_open(pid_t bulkhead);
void kernel_look(struct kernel_sample *sample);
/* One socket of this machine, whoever's, by its two addresses. */
void kernel_find(const struct sockaddr_in *local, const struct sockaddr_in *remote,
                 struct kernel_socket *socket);
const char *kernel_counter_name(enum kernel_counter counter);

#endif
