/*
 * loop: one event loop, one thread (control, each worker), over libevent without locks.
 *
 * Everything here but loop_stop's effect belongs to the thread that runs the loop. Callbacks run
 * one at a time from loop_run; deferred functions run when all events of a turn are done, so that
 * an object may be given up inside a callback and freed with nothing of it on the stack.
 */
#ifndef BULKHEAD_NET_LOOP_H
#define BULKHEAD_NET_LOOP_H

#include "base/errbuf.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop *loop_new(struct errbuf *err);
/* Runs what is still deferred. Everything made from it must be gone by then. NULL is fine. */
void loop_free(struct loop *loop);
/* Returns at the end of the turn in which loop_stop was called (at once when it was called before);
   may then run again. A loop that watches nothing waits. */
void loop_run(struct loop *loop);
/* From a callback or a deferred function. */
void loop_stop(struct loop *loop);
/* Monotonic milliseconds, read once per turn; outside loop_run the time as it is. */
uint64_t loop_now_ms(const struct loop *loop);

/* Runs fn(arg) at the end of this turn. `node` is embedded in the object and used once at a time.
 */
typedef void loop_deferred_fn(void *arg);
struct loop_deferred {
    struct loop_deferred *next;
    loop_deferred_fn *fn;
    void *arg;
};
void loop_defer(struct loop *loop, struct loop_deferred *node, loop_deferred_fn *fn, void *arg);
/* Runs what is deferred now: for taking things down after loop_run has returned. */
void loop_run_deferred(struct loop *loop);

/* Readiness of one descriptor, level-triggered. */
enum { IO_READ = 1, IO_WRITE = 2 };
struct io_watch;
/* events: IO_READ or IO_WRITE; each is called for by itself, in no fixed order. An error or hang-up
   shows as those that are asked for, and never by itself: a watch of nothing stays silent. */
typedef void io_watch_fn(void *arg, unsigned events);
/* Watches nothing yet. Does not own fd. One watch per descriptor. NULL when memory is out. */
struct io_watch *io_watch_new(struct loop *loop, int fd, io_watch_fn *fn, void *arg);
/* Before the descriptor is closed. NULL is fine. Safe inside its own callback. */
void io_watch_free(struct io_watch *watch);
/* -1 when the kernel refuses or memory is out: then nothing is watched. Setting what is set costs
 * nothing. */
int io_watch_set(struct io_watch *watch, unsigned events) __attribute__((warn_unused_result));
unsigned io_watch_get(const struct io_watch *watch);
/*
 * A late watch is called when the turn has done with all others, in the order in which late ones
 * became ready: for what takes long (a handshake, newcomers), so that data flows past it. Late ones
 * have as much of a turn as the others took, and LOOP_LATE_MIN_US at least; who has not had its
 * call by then has it in a later turn. Without memory a watch stays as it is.
 */
enum { LOOP_LATE_MIN_US = 250 };
void io_watch_set_late(struct io_watch *watch, bool late);

/* A one-shot timer. */
struct timer;
typedef void timer_fn(void *arg);
/* NULL when memory is out. */
struct timer *timer_new(struct loop *loop, timer_fn *fn, void *arg);
/* NULL is fine. Safe inside its own callback. */
void timer_free(struct timer *timer);
/* Fires once, when loop_now_ms has grown by delay_ms, never from inside timer_set; replaces what
   was set. Can't fail: without memory it fires at once, so that a deadline is never lost. */
void timer_set(struct timer *timer, uint64_t delay_ms);
void timer_cancel(struct timer *timer);
bool timer_is_set(const struct timer *timer);

/*
 * Signals as events (signalfd(2)): nothing runs in a handler, and no system call is interrupted.
 * The caller has blocked them in all threads and leaves them so: one that isn't takes its usual
 * action. Those of one number merge while they wait, as signal(7) says.
 */
struct signal_watch;
typedef void signal_watch_fn(void *arg, int signal_number);
struct signal_watch *signal_watch_new(struct loop *loop, const sigset_t *signals,
                                      signal_watch_fn *fn, void *arg, struct errbuf *err);
/* NULL is fine; not inside its own callback. What waits stays pending. */
void signal_watch_free(struct signal_watch *watch);

/* Build-time and run-time version texts of libevent. */
const char *loop_build_version(void);
const char *loop_run_version(void);

#endif
