/*
 * faults: everything that was not as it should be. The first few are told on stderr, all are
 * counted, and one is enough for exit code 1. One thread, so one for the process.
 */
#ifndef BENCH_LOAD_FAULTS_H
#define BENCH_LOAD_FAULTS_H

#include <stdint.h>

struct faults {
    uint64_t errors;
    uint64_t wrong_identity; /* of these */
};

void faults_add(struct faults *faults, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
