/*
 * workload_address: where a Workload API listens (SPIFFE Workload Endpoint 4):
 *
 *     unix:///PATH     an absolute path; no authority, query or fragment
 *     tcp://IP:PORT    an IP address, no name; no path, query or fragment
 *
 * Percent-encoding is refused and not decoded. Abstract Unix sockets are not of the standard. Pure.
 */
#ifndef BULKHEAD_IDENTITY_WORKLOAD_ADDRESS_H
#define BULKHEAD_IDENTITY_WORKLOAD_ADDRESS_H

#include "base/netaddr.h"

#include <stdbool.h>

#define WORKLOAD_ADDRESS_VARIABLE "SPIFFE_ENDPOINT_SOCKET"

/* False with what would be right in *why, a constant. */
bool workload_address_parse(const char *text, struct netaddr *address, const char **why);

#endif
