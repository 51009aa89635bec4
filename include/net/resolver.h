/*
 * resolver: host names to addresses by c-ares, without blocking, one per worker.
 *
 * Answers are kept by their TTL, held between 1 s and 5 min. A stale answer serves while resolving
 * fails (no answer in 1.8 s, an error of the server), but not when the answer is that there is no
 * such name or no address. A failure is kept for 1 s. Several questions for one name at once are
 * one query. /etc/hosts counts. Worker thread.
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

/* An answer is cut to this many addresses. */
enum { RESOLVER_MAX_ADDRESSES = 32 };

/* By /etc/resolv.conf as it is now. */
struct resolver *resolver_new(struct loop *loop, struct errbuf *err);
/* servers: "127.0.0.1:53,[::1]:53"; names are asked for as they are, without search domains. */
struct resolver *resolver_new_with_servers(struct loop *loop, const char *servers,
                                           struct errbuf *err);
/*
 * Reads /etc/resolv.conf anew (with servers: takes the same ones). What is in the cache is stale
 * from now on, as if its time were over; queries that wait are asked again of the new servers. -1:
 * memory is out, and all is as before. Also from inside a callback.
 */
int resolver_rebuild(struct resolver *resolver, struct errbuf *err)
    __attribute__((warn_unused_result));
int resolver_rebuild_with_servers(struct resolver *resolver, const char *servers,
                                  struct errbuf *err) __attribute__((warn_unused_result));
/* Cancels all queries without callback. Also from inside a callback. NULL is fine. */
void resolver_free(struct resolver *resolver);
/*
 * count > 0: the addresses with the port set, in the order to be tried, valid during the callback
 * only. count 0: failure is a constant that says why ("no such name", "timeout", …).
 */
typedef void resolver_done_fn(void *arg, const struct netaddr *addresses, size_t count,
                              const char *failure);
/* The callback runs once, never from inside resolver_start, and may start or cancel others; the
   query is gone when it runs. NULL: out of memory. */
struct resolver_query *resolver_start(struct resolver *resolver, const char *name, uint16_t port,
                                      resolver_done_fn *done, void *arg);
/* No callback any more. NULL is fine. */
void resolver_cancel(struct resolver_query *query);
/* Build-time and run-time version texts of c-ares. */
const char *resolver_build_version(void);
const char *resolver_run_version(void);

#endif
