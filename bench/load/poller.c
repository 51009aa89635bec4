#include "load/poller.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "load/meter.h"

enum { EVENTS = 256, NS_PER_S = 1000000000 };

bool poller_init(struct poller *poller)
{
    *poller = (struct poller){.signals = {.fd = -1}, .input = {.fd = -1}};
    TAILQ_INIT(&poller->yielding);
    poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return poller->epoll_fd >= 0;
}

void poller_fini(struct poller *poller)
{
    if (poller->signals.fd >= 0) {
        close(poller->signals.fd);
    }
    close(poller->epoll_fd);
}

bool poller_add(struct poller *poller, struct watch *watch, uint32_t interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = watch};
    watch->interest = interest;
    watch->is_yielding = false;
    return epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

void poller_want(struct poller *poller, struct watch *watch, uint32_t interest)
{
    if (watch->interest == interest) {
        return;
    }
    struct epoll_event event = {.events = interest, .data.ptr = watch};
    int failed = epoll_ctl(poller->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
    ASSERT(failed == 0);
    watch->interest = interest;
}

void poller_remove(struct poller *poller, struct watch *watch)
{
    if (watch->is_yielding) {
        TAILQ_REMOVE(&poller->yielding, watch, entry);
        watch->is_yielding = false;
    }
    (void)epoll_ctl(poller->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL); /* gone is gone */
}

void poller_yield(struct poller *poller, struct watch *watch)
{
    if (!watch->is_yielding) {
        TAILQ_INSERT_TAIL(&poller->yielding, watch, entry);
        watch->is_yielding = true;
    }
}

static void on_signal(struct watch *watch, uint32_t events)
{
    (void)events;
    struct poller *poller = (void *)((char *)watch - offsetof(struct poller, signals));
    struct signalfd_siginfo info;
    if (read(watch->fd, &info, sizeof info) > 0) {
        poller->must_stop = true;
    }
}

static void on_input(struct watch *watch, uint32_t events)
{
    (void)events;
    struct poller *poller = (void *)((char *)watch - offsetof(struct poller, input));
    char unread[256];
    ssize_t got = read(watch->fd, unread, sizeof unread);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        poller_remove(poller, watch);
        watch->fd = -1;
        poller->must_stop = true;
    }
}

bool poller_watch_for_stop(struct poller *poller)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return false;
    }
    poller->signals.on_event = on_signal;
    poller->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (poller->signals.fd < 0 || !poller_add(poller, &poller->signals, EPOLLIN)) {
        return false;
    }
    struct stat status;
    if (fstat(STDIN_FILENO, &status) != 0 ||
        (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode))) {
        return true;
    }
    poller->input.on_event = on_input;
    poller->input.fd = STDIN_FILENO;
    return poller_add(poller, &poller->input, EPOLLIN);
}

static void call_yielding(struct poller *poller)
{
    struct watch *last = TAILQ_LAST(&poller->yielding, watch_list);
    struct watch *watch;
    while ((watch = TAILQ_FIRST(&poller->yielding)) != NULL) {
        bool is_last = watch == last;
        TAILQ_REMOVE(&poller->yielding, watch, entry);
        watch->is_yielding = false;
        watch->on_event(watch, 0);
        if (is_last) {
            return;
        }
    }
}

/* epoll_wait counts in whole milliseconds; Linux before 5.11 and valgrind have nothing else. */
static int wait_for_events(int epoll_fd, struct epoll_event *events, const struct timespec *timeout)
{
    int count = epoll_pwait2(epoll_fd, events, EVENTS, timeout, NULL);
    if (count >= 0 || errno != ENOSYS) {
        return count;
    }
    int ms = timeout ? (int)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000) : -1;
    return epoll_wait(epoll_fd, events, EVENTS, ms);
}

bool poller_turn(struct poller *poller, uint64_t until_ns)
{
    struct timespec wait = {0};
    struct timespec *timeout = &wait;
    if (TAILQ_EMPTY(&poller->yielding)) {
        uint64_t now = meter_now_ns();
        if (until_ns == 0) {
            timeout = NULL;
        } else if (until_ns > now) {
            wait.tv_sec = (time_t)((until_ns - now) / NS_PER_S);
            wait.tv_nsec = (long)((until_ns - now) % NS_PER_S);
        }
    }
    struct epoll_event events[EVENTS];
    int count = wait_for_events(poller->epoll_fd, events, timeout);
    ASSERT(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        struct watch *watch = events[i].data.ptr;
        watch->on_event(watch, events[i].events);
    }
    bool any = count > 0 || !TAILQ_EMPTY(&poller->yielding);
    call_yielding(poller);
    return any;
}
