/*
 * activation: listening sockets that the service manager has opened and passed (sd_listen_fds(3)),
 * by the name that it gave them; a listener asks for one with `accept: mtls://systemd:NAME`.
 *
 * Control thread; made before there are threads.
 */
#ifndef BULKHEAD_CONTROL_ACTIVATION_H
#define BULKHEAD_CONTROL_ACTIVATION_H

#include "base/errbuf.h"

#include <stddef.h>

struct activation;

/*
 * Takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of the environment. Sockets that were passed
 * to another process are nobody's. NULL with err: the variables make no sense.
 */
struct activation *activation_new(struct errbuf *err);
/* Closes those that nobody took. NULL is fine. */
void activation_free(struct activation *activation);
/* How many were passed: the descriptors from 3 on. */
size_t activation_count(const struct activation *activation);
/* The one of that name, which is the caller's from now on. -1 with err: there is none, or not one
   alone, or it was taken before. */
int activation_take(struct activation *activation, const char *name, struct errbuf *err);
/* -1 with err when one was not taken: connections would wait in it for ever. */
int activation_check_taken(const struct activation *activation, struct errbuf *err);

#endif
