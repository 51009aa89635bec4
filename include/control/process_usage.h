/*
 * process_usage: what the process takes of the machine, as the kernel has it. Any thread.
 */
#ifndef BULKHEAD_CONTROL_PROCESS_USAGE_H
#define BULKHEAD_CONTROL_PROCESS_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct process_usage {
    uint64_t cpu_us; /* user and system, all threads */
    uint64_t max_descriptors;
    bool has_stat; /* /proc/self/stat could be read: what follows is known */
    uint64_t virtual_bytes;
    uint64_t resident_bytes;
    uint64_t threads;
};

void process_usage_read(struct process_usage *usage);
/* Pure: the part that comes from /proc/self/stat (proc_pid_stat(5)). False: not understood. */
bool process_usage_parse_stat(const char *text, size_t len, uint64_t page_size,
                              struct process_usage *usage);

#endif
