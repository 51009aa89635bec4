/*
 * probes: the listener for whoever asks whether the process lives and is ready: kubelet, a load
 * balancer, Prometheus.
 *
 * GET and HEAD of /livez, /readyz, what `probes.app` names (control/app_probes.h) and, where
 * `probes.metrics` says so, /metrics. There is no way
 * from here to anything that changes something. Whoever can connect may ask: connections are few
 * and short, and the oldest gives way to a newcomer, so that nobody is kept from asking by others
 * who only stay. Control thread.
 */
#ifndef BULKHEAD_CONTROL_PROBES_H
#define BULKHEAD_CONTROL_PROBES_H

#include "base/errbuf.h"

#include <stdint.h>

struct control;
struct probes;

/* Opens probes.listen. NULL with err. */
struct probes *probes_new(struct control *control, struct errbuf *err);
void probes_free(struct probes *probes); /* NULL is fine */
/* Descriptors that it may come to use, beyond what is open from the start; 0 for NULL. */
uint64_t probes_descriptors(const struct probes *probes);

#endif
