/*
 * resolver: host names to addresses by c-ares, without blocking, one per worker.
 *
 * Answers are kept by their TTL, held between 1 s and 5 min; a stale answer serves while resolving
 * fails. Several questions for one name at once are one query. /etc/hosts counts. Worker thread.
 */
#ifndef BULKHEAD_NET_RESOLVER_H
#define BULKHEAD_NET_RESOLVER_H

#include "base/errbuf.h"
#include "base/netaddr.h"
#include "net/loop.h"

#include <stddef.h>
#include <stdint.h>

struct resolver;
struct resolver_query;

struct resolver *resolver_new(struct loop *loop, struct errbuf *err);
/* Cancels all queries without callback. */
void resolver_free(struct resolver *resolver);
/*
 * count > 0: the addresses with the port set, in the order to be tried, valid during the callback
 * only. count 0: failure is a constant that says why ("no such name", "timeout", …).
 */
typedef void resolver_done_fn(void *arg, const struct netaddr *addresses, size_t count,
                              const char *failure);
/* The callback runs once, never from inside resolver_start. NULL: out of memory. */
struct resolver_query *resolver_start(struct resolver *resolver, const char *name, uint16_t port,
                                      resolver_done_fn *done, void *arg);
void resolver_cancel(struct resolver_query *query);
/* Build-time and run-time version texts of c-ares. */
const char *resolver_build_version(void);
const char *resolver_run_version(void);

#endif
