/*
 * clock_watch: says when the wall clock was set (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET). The
 * thread of the loop only.
 */
#ifndef BULKHEAD_NET_CLOCK_WATCH_H
#define BULKHEAD_NET_CLOCK_WATCH_H

#include "base/errbuf.h"
#include "net/loop.h"

struct clock_watch;
typedef void clock_watch_fn(void *arg);

/* NULL with err. */
struct clock_watch *clock_watch_new(struct loop *loop, clock_watch_fn *fn, void *arg,
                                    struct errbuf *err);
void clock_watch_free(struct clock_watch *watch); /* NULL is fine */

#endif
