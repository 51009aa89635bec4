/*
 * svid_workload: `bulkhead svid --workload-api [ADDRESS]`: what the Workload API gives this
 * process: SVIDs, hints, validity, bundles; never a key. And what to do when it gives nothing.
 */
#ifndef BULKHEAD_CLI_SVID_WORKLOAD_H
#define BULKHEAD_CLI_SVID_WORKLOAD_H

#include <stdbool.h>

/* The exit code: 0 all of it is sound, 1 something is not, or nothing is given; 2 nobody could be
   asked. address NULL: what SPIFFE_ENDPOINT_SOCKET says. */
int svid_workload(const char *address, bool json);

#endif
