/*
 * A timer of the real-time clock that never comes due; setting the clock cancels it, which makes
 * the descriptor readable.
 */
#include "net/clock_watch.h"

#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/memory.h"

struct clock_watch {
    int fd;
    struct io_watch *io;
    clock_watch_fn *fn;
    void *arg;
};

static int arm(int fd)
{
    const struct itimerspec never = {.it_value = {.tv_sec = INT32_MAX * INT64_C(64)}};
    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static void on_readable(void *arg, unsigned events)
{
    struct clock_watch *watch = arg;
    uint64_t ticks = 0;
    (void)events;
    ssize_t got = read(watch->fd, &ticks, sizeof(ticks)); /* ECANCELED: the clock was set */
    (void)got;
    (void)arm(watch->fd); /* it worked before; if it does not now, only the notice is lost */
    watch->fn(watch->arg);
}

struct clock_watch *clock_watch_new(struct loop *loop, clock_watch_fn *fn, void *arg,
                                    struct errbuf *err)
{
    struct clock_watch *watch = mem_alloc(sizeof(*watch));
    watch->fn = fn;
    watch->arg = arg;
    watch->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (watch->fd < 0 || arm(watch->fd) != 0) {
        errbuf_set_errno(err, "can't watch the clock");
        clock_watch_free(watch);
        return NULL;
    }
    watch->io = io_watch_new(loop, watch->fd, on_readable, watch);
    if (watch->io == NULL || io_watch_set(watch->io, IO_READ) != 0) {
        errbuf_set(err, "memory is out");
        clock_watch_free(watch);
        return NULL;
    }
    return watch;
}

void clock_watch_free(struct clock_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    io_watch_free(watch->io);
    if (watch->fd >= 0) {
        (void)close(watch->fd);
    }
    mem_free(watch);
}
