/*
 * meter: time, the CPU time of processes, and how long things took.
 */
#ifndef BENCH_LOAD_METER_H
#define BENCH_LOAD_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "load/options.h"

uint64_t meter_now_ns(void); /* CLOCK_MONOTONIC */
/* User and system time of all threads of a process, ended ones too. False: no such process. */
bool meter_cpu_ns(int pid, uint64_t *ns);
uint64_t meter_own_cpu_ns(void);

/* Times, in classes under 1 % wide: what is told of them is a class's upper end. */
enum { METER_CLASSES = 64 * 128 };

struct histogram {
    uint64_t total;
    uint64_t longest_ns;
    uint64_t counts[METER_CLASSES];
};

void histogram_add(struct histogram *h, uint64_t ns);
/* The time that `share` (0 to 1) of all did not exceed; 0 when there are none. */
uint64_t histogram_ns_at(const struct histogram *h, double share);
/* How many took at most so long, to a class's width. */
uint64_t histogram_count_to(const struct histogram *h, uint64_t ns);

#endif
