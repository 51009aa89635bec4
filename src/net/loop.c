/*
 * loop: a thin layer over one event_base.
 *
 * One turn:  wait ──► callbacks of descriptors, timers, signals ──► deferred functions until none
 * is left (one may defer another) ──► late watches, for a while ──► deferred functions. The clock
 * is read at the first callback of a turn and holds until the next wait; there is no wait while
 * late watches are left.
 *
 * Late watches are a queue of our own and not one of libevent's priorities: it runs the events of
 * one priority and looks at the kernel again, so that a lower one would never be served while a
 * higher one is busy.
 *
 * Readiness: a watch has one libevent event per direction, so that adding or dropping IO_WRITE
 * beside IO_READ is one epoll_ctl(MOD) and not a removal and an addition. The event for writing is
 * allocated when it is first wanted: most sockets never block. EV_CLOSED is not used at all: epoll
 * reports EPOLLERR unasked, libevent translates it to EV_READ|EV_WRITE, and a descriptor that
 * watches neither would spin.
 *
 * Timers: libevent counts in CLOCK_MONOTONIC_COARSE, which lags, so a timer can fire some
 * milliseconds early; each is compared with the loop's clock and put back when it did. A timer
 * that cannot be set for want of memory fires at once: a deadline that never comes would be worse.
 *
 * Signals: a signalfd and not libevent's handler. No handler of ours runs between two instructions
 * of anything, and what a process must not miss does not depend on a pipe that it writes to itself.
 */
#include "net/loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <sys/queue.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"

enum { LOOP_MAGIC = 0x6c6f6f70, WATCH_MAGIC = 0x77617463, TIMER_MAGIC = 0x74696d72 };

/* Ten years: longer than any deadline, and no timeval overflows. */
static const uint64_t max_delay_ms = UINT64_C(10) * 366 * 24 * 3600 * 1000;

struct loop {
    unsigned magic;
    struct event_base *base;
    bool stopped;
    bool running;
    bool now_known;
    uint64_t now_us; /* good while now_known */
    TAILQ_HEAD(late_list, late) late;
    struct loop_deferred *first;
    struct loop_deferred **last; /* where the next one is hooked in */
};

/* What a late watch has more than others. */
struct late {
    struct io_watch *watch;
    unsigned ready; /* what it has not been called for; 0: it is not in the queue */
    TAILQ_ENTRY(late) link;
};

struct io_watch {
    unsigned magic;
    struct loop *loop;
    int fd;
    unsigned events; /* what is watched now */
    io_watch_fn *fn;
    void *arg;
    struct event *write; /* NULL until IO_WRITE is first wanted */
    struct late *late;   /* NULL: not late */
    struct event read;
};

struct timer {
    unsigned magic;
    struct loop *loop;
    timer_fn *fn;
    void *arg;
    uint64_t due_ms;
    struct event event;
};

struct signal_watch {
    signal_watch_fn *fn;
    void *arg;
    int fd;
    struct io_watch *io;
};

/* What libevent prints by itself (a refused epoll_ctl, for one) comes back to us as an error too.
   Only its last words before it ends the process are kept, as those of a failed assertion. */
static void on_libevent_log(int severity, const char *message)
{
    if (severity >= EVENT_LOG_ERR) {
        assert_failed(message, "libevent", 0, __func__);
    }
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL) {
        return NULL;
    }
    /* Without epoll it is better not to start: select() overruns its sets beyond 1024. */
    struct event_base *base = NULL;
    if (event_config_avoid_method(config, "select") == 0 &&
        event_config_avoid_method(config, "poll") == 0 &&
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0) {
        base = event_base_new_with_config(config);
    }
    event_config_free(config);
    return base;
}

struct loop *loop_new(struct errbuf *err)
{
    event_set_log_callback(on_libevent_log);
    struct event_base *base = new_base();
    if (base == NULL) {
        errbuf_set(err, "cannot make an event loop: epoll is not available, or memory or "
                        "descriptors are out");
        return NULL;
    }
    struct loop *loop = mem_alloc(sizeof(*loop));
    loop->magic = LOOP_MAGIC;
    loop->base = base;
    loop->last = &loop->first;
    TAILQ_INIT(&loop->late);
    return loop;
}

void loop_run_deferred(struct loop *loop)
{
    CHECK_MAGIC(loop, LOOP_MAGIC);
    while (loop->first != NULL) {
        struct loop_deferred *node = loop->first;
        loop->first = node->next;
        if (loop->first == NULL) {
            loop->last = &loop->first;
        }
        /* From here on the node is its owner's again: fn may free it or defer it anew. */
        loop_deferred_fn *fn = node->fn;
        node->fn = NULL;
        node->next = NULL;
        fn(node->arg);
    }
}

static void call_late(struct loop *loop)
{
    struct late *late = TAILQ_FIRST(&loop->late);
    struct io_watch *watch = late->watch;
    unsigned direction = (late->ready & IO_READ) != 0 ? IO_READ : IO_WRITE;
    late->ready &= ~direction;
    if (late->ready == 0) {
        TAILQ_REMOVE(&loop->late, late, link);
    }
    if ((watch->events & direction) != 0) {
        watch->fn(watch->arg, direction); /* which may free it */
    }
}

static void run_late(struct loop *loop)
{
    if (TAILQ_EMPTY(&loop->late)) {
        return;
    }
    uint64_t began_us = clock_mono_us();
    uint64_t share_us = loop->now_known ? began_us - loop->now_us : 0;
    share_us = share_us < LOOP_LATE_MIN_US ? LOOP_LATE_MIN_US : share_us;
    do {
        call_late(loop);
    } while (!TAILQ_EMPTY(&loop->late) && clock_mono_us() - began_us < share_us);
    loop_run_deferred(loop);
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    ASSERT(!loop->running);
    loop_run_deferred(loop);
    ASSERT(TAILQ_EMPTY(&loop->late));
    event_base_free(loop->base);
    loop->magic = 0;
    mem_free(loop);
}

void loop_run(struct loop *loop)
{
    CHECK_MAGIC(loop, LOOP_MAGIC);
    ASSERT(!loop->running);
    loop->running = true;
    loop_run_deferred(loop);
    while (!loop->stopped) {
        loop->now_known = false;
        /* NO_EXIT_ON_EMPTY: a loop that watches nothing waits, it does not spin. epoll_wait fails
           for nothing but a bug of ours. */
        int wait = TAILQ_EMPTY(&loop->late) ? 0 : EVLOOP_NONBLOCK;
        int result = event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | wait);
        ASSERT(result != -1);
        loop_run_deferred(loop);
        run_late(loop);
    }
    loop->now_known = false;
    loop->stopped = false;
    loop->running = false;
}

void loop_stop(struct loop *loop)
{
    CHECK_MAGIC(loop, LOOP_MAGIC);
    loop->stopped = true;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    CHECK_MAGIC(loop, LOOP_MAGIC);
    return (loop->now_known ? loop->now_us : clock_mono_us()) / 1000;
}

/* Every callback from libevent comes through here first. */
static void read_clock(struct loop *loop)
{
    if (!loop->now_known) {
        loop->now_us = clock_mono_us();
        loop->now_known = true;
    }
}

void loop_defer(struct loop *loop, struct loop_deferred *node, loop_deferred_fn *fn, void *arg)
{
    CHECK_MAGIC(loop, LOOP_MAGIC);
    ASSERT(node->fn == NULL && fn != NULL);
    *node = (struct loop_deferred){.fn = fn, .arg = arg};
    *loop->last = node;
    loop->last = &node->next;
}

/* The kernel tells of it in each turn, until it has been called. */
static void queue_late(struct late *late, unsigned direction)
{
    if (late->ready == 0) {
        TAILQ_INSERT_TAIL(&late->watch->loop->late, late, link);
    }
    late->ready |= direction;
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct io_watch *watch = arg;
    (void)fd;
    CHECK_MAGIC(watch, WATCH_MAGIC);
    read_clock(watch->loop);
    unsigned direction = (what & EV_READ) != 0 ? IO_READ : IO_WRITE;
    if (watch->late == NULL) {
        watch->fn(watch->arg, direction);
    } else {
        queue_late(watch->late, direction);
    }
}

struct io_watch *io_watch_new(struct loop *loop, int fd, io_watch_fn *fn, void *arg)
{
    CHECK_MAGIC(loop, LOOP_MAGIC);
    struct io_watch *watch = mem_try_alloc(sizeof(*watch));
    if (watch == NULL) {
        return NULL;
    }
    watch->magic = WATCH_MAGIC;
    watch->loop = loop;
    watch->fd = fd;
    watch->fn = fn;
    watch->arg = arg;
    int result = event_assign(&watch->read, loop->base, fd, EV_READ | EV_PERSIST, on_io, watch);
    ASSERT(result == 0);
    return watch;
}

static void unwatch(struct io_watch *watch)
{
    if ((watch->events & IO_READ) != 0) {
        (void)event_del(&watch->read); /* fails only for an event that was never assigned */
    }
    if ((watch->events & IO_WRITE) != 0) {
        (void)event_del(watch->write);
    }
    watch->events = 0;
}

void io_watch_set_late(struct io_watch *watch, bool late)
{
    CHECK_MAGIC(watch, WATCH_MAGIC);
    if (late && watch->late == NULL) {
        watch->late = mem_try_alloc(sizeof(*watch->late));
        if (watch->late != NULL) {
            watch->late->watch = watch;
        }
    } else if (!late && watch->late != NULL) {
        if (watch->late->ready != 0) {
            TAILQ_REMOVE(&watch->loop->late, watch->late, link);
        }
        mem_free(watch->late);
        watch->late = NULL;
    }
}

void io_watch_free(struct io_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    CHECK_MAGIC(watch, WATCH_MAGIC);
    unwatch(watch);
    io_watch_set_late(watch, false);
    mem_free(watch->write);
    watch->magic = 0;
    mem_free(watch);
}

/* NULL when memory is out. */
static struct event *write_event(struct io_watch *watch)
{
    if (watch->write == NULL) {
        watch->write = mem_try_alloc(sizeof(*watch->write));
        if (watch->write != NULL) {
            int result = event_assign(watch->write, watch->loop->base, watch->fd,
                                      EV_WRITE | EV_PERSIST, on_io, watch);
            ASSERT(result == 0);
        }
    }
    return watch->write;
}

static bool watch_direction(struct io_watch *watch, unsigned direction)
{
    struct event *event = direction == IO_READ ? &watch->read : write_event(watch);
    if (event == NULL || event_add(event, NULL) != 0) {
        return false;
    }
    watch->events |= direction;
    return true;
}

static void unwatch_direction(struct io_watch *watch, unsigned direction)
{
    (void)event_del(direction == IO_READ ? &watch->read : watch->write);
    watch->events &= ~direction;
}

int io_watch_set(struct io_watch *watch, unsigned events)
{
    CHECK_MAGIC(watch, WATCH_MAGIC);
    ASSERT((events & ~(unsigned)(IO_READ | IO_WRITE)) == 0);
    static const unsigned directions[] = {IO_READ, IO_WRITE};
    /* Additions first: a swap of directions is then two modifications, and the descriptor never
       leaves the kernel's set. */
    for (size_t i = 0; i < 2; i++) {
        if ((events & ~watch->events & directions[i]) != 0 &&
            !watch_direction(watch, directions[i])) {
            unwatch(watch);
            return -1;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        if ((watch->events & ~events & directions[i]) != 0) {
            unwatch_direction(watch, directions[i]);
        }
    }
    return 0;
}

unsigned io_watch_get(const struct io_watch *watch)
{
    CHECK_MAGIC(watch, WATCH_MAGIC);
    return watch->events;
}

/* Without memory for libevent's heap the timer fires in this turn or the next. */
static void add_timer(struct timer *timer, uint64_t delay_ms)
{
    struct timeval delay = {.tv_sec = (time_t)(delay_ms / 1000),
                            .tv_usec = (suseconds_t)(delay_ms % 1000 * 1000)};
    if (event_add(&timer->event, &delay) != 0) {
        timer->due_ms = 0;
        event_active(&timer->event, EV_TIMEOUT, 0);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct timer *timer = arg;
    (void)fd;
    (void)what;
    CHECK_MAGIC(timer, TIMER_MAGIC);
    read_clock(timer->loop);
    uint64_t now_ms = loop_now_ms(timer->loop);
    if (now_ms < timer->due_ms) {
        add_timer(timer, timer->due_ms - now_ms);
        return;
    }
    timer->fn(timer->arg);
}

struct timer *timer_new(struct loop *loop, timer_fn *fn, void *arg)
{
    CHECK_MAGIC(loop, LOOP_MAGIC);
    struct timer *timer = mem_try_alloc(sizeof(*timer));
    if (timer == NULL) {
        return NULL;
    }
    timer->magic = TIMER_MAGIC;
    timer->loop = loop;
    timer->fn = fn;
    timer->arg = arg;
    int result = event_assign(&timer->event, loop->base, -1, 0, on_timer, timer);
    ASSERT(result == 0);
    return timer;
}

void timer_free(struct timer *timer)
{
    if (timer == NULL) {
        return;
    }
    timer_cancel(timer);
    timer->magic = 0;
    mem_free(timer);
}

void timer_set(struct timer *timer, uint64_t delay_ms)
{
    CHECK_MAGIC(timer, TIMER_MAGIC);
    uint64_t delay = delay_ms < max_delay_ms ? delay_ms : max_delay_ms;
    timer->due_ms = loop_now_ms(timer->loop) + delay;
    add_timer(timer, delay);
}

void timer_cancel(struct timer *timer)
{
    CHECK_MAGIC(timer, TIMER_MAGIC);
    (void)event_del(&timer->event);
}

bool timer_is_set(const struct timer *timer)
{
    CHECK_MAGIC(timer, TIMER_MAGIC);
    return event_pending(&timer->event, EV_TIMEOUT, NULL) != 0;
}

/* One at a time: the kernel tells of the next in the next turn. */
static void on_signal_readable(void *arg, unsigned events)
{
    struct signal_watch *watch = arg;
    struct signalfd_siginfo info;
    (void)events;
    if (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        watch->fn(watch->arg, (int)info.ssi_signo);
    }
}

struct signal_watch *signal_watch_new(struct loop *loop, const sigset_t *signals,
                                      signal_watch_fn *fn, void *arg, struct errbuf *err)
{
    struct signal_watch *watch = mem_alloc(sizeof(*watch));
    watch->fn = fn;
    watch->arg = arg;
    watch->fd = signalfd(-1, signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (watch->fd < 0) {
        errbuf_set_errno(err, "cannot watch signals");
        mem_free(watch);
        return NULL;
    }
    watch->io = io_watch_new(loop, watch->fd, on_signal_readable, watch);
    if (watch->io == NULL || io_watch_set(watch->io, IO_READ) != 0) {
        errbuf_set(err, "cannot watch signals: memory is out");
        signal_watch_free(watch);
        return NULL;
    }
    return watch;
}

void signal_watch_free(struct signal_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    io_watch_free(watch->io);
    (void)close(watch->fd);
    mem_free(watch);
}

const char *loop_build_version(void)
{
    return LIBEVENT_VERSION;
}

const char *loop_run_version(void)
{
    return event_get_version();
}
