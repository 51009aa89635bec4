/*
 * backend: echoes, counts and sends as its clients ask (load/stream.h), and compares every byte.
 *
 * Who loses work by an end says so itself; here an error is what a peer sent wrong: a byte, a
 * header, an alert, or an end in the middle of what it announced.
 */
#ifndef BENCH_LOAD_BACKEND_H
#define BENCH_LOAD_BACKEND_H

#include "load/options.h"

/* Returns the exit code. */
int backend_run(const struct options *o);

#endif
