/*
 * acceptor: the accepting half of net/listener.h.
 *
 *              wake-up ─► reserve, accept4, at most per_turn times ─► on_accept
 *                              │ no descriptors, no memory
 *                              ▼
 *                         backing_off for 100 ms: not watched, so that a queue that can't be
 *                         emptied does not spin the loop
 *
 * Watched is IO_READ unless paused by the owner or backing off. A callback may pause or free the
 * acceptor: the batch stops at once, the memory goes at the end of the turn.
 */
#include "net/listener.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/memory.h"

/* The queue of a listening socket is at most this long (net.core.somaxconn may cut it). */
enum { ACCEPTOR_MAGIC = 0x61636370, BACK_OFF_MS = 100, LONGEST_QUEUE = 4096 };

struct acceptor {
    unsigned magic;
    struct loop *loop;
    int fd;
    unsigned per_turn;
    const struct acceptor_callbacks *callbacks;
    void *arg;
    struct io_watch *watch;
    struct timer *timer;
    bool paused;
    bool backing_off;
    bool freed;
    struct loop_deferred deferred;
};

enum accept_result { ACCEPT_TAKEN, ACCEPT_SKIPPED, ACCEPT_STOP };

static void update_watch(struct acceptor *acceptor)
{
    bool wanted = !acceptor->paused && !acceptor->backing_off;
    if (io_watch_set(acceptor->watch, wanted ? IO_READ : 0) != 0) {
        /* Out of memory: try again later, as for a failed accept. */
        acceptor->backing_off = true;
        timer_set(acceptor->timer, BACK_OFF_MS);
    }
}

static void back_off(struct acceptor *acceptor, int error)
{
    acceptor->backing_off = true;
    update_watch(acceptor);
    timer_set(acceptor->timer, BACK_OFF_MS);
    acceptor->callbacks->on_exhausted(acceptor->arg, error);
}

static void on_back_off_over(void *arg)
{
    struct acceptor *acceptor = arg;
    CHECK_MAGIC(acceptor, ACCEPTOR_MAGIC);
    acceptor->backing_off = false;
    update_watch(acceptor);
}

/* accept(2): Linux passes errors of the new connection on, which are no fault of the listening
   socket; the next connection may be fine. EPERM: a firewall rule. */
static bool is_about_one_connection(int error)
{
    static const int errors[] = {EINTR,       ECONNABORTED, EPROTO, ENETDOWN,
                                 ENOPROTOOPT, EHOSTDOWN,    ENONET, EHOSTUNREACH,
                                 EOPNOTSUPP,  ENETUNREACH,  EPERM,  ETIMEDOUT};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (error == errors[i]) {
            return true;
        }
    }
    return false;
}

static bool reserve(struct acceptor *acceptor)
{
    bool (*ask)(void *arg) = acceptor->callbacks->reserve;
    return ask == NULL || ask(acceptor->arg);
}

static void cancel(struct acceptor *acceptor)
{
    if (acceptor->callbacks->cancel != NULL) {
        acceptor->callbacks->cancel(acceptor->arg);
    }
}

static enum accept_result accept_one(struct acceptor *acceptor)
{
    if (!reserve(acceptor)) {
        return ACCEPT_STOP;
    }
    struct netaddr peer = {0};
    socklen_t len = sizeof(peer.u);
    int fd = accept4(acceptor->fd, &peer.u.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        peer.len = len < sizeof(peer.u) ? len : (socklen_t)sizeof(peer.u);
        acceptor->callbacks->on_accept(acceptor->arg, fd, &peer);
        return ACCEPT_TAKEN;
    }
    int error = errno;
    cancel(acceptor);
    if (error == EAGAIN) {
        return ACCEPT_STOP;
    }
    if (is_about_one_connection(error)) {
        return ACCEPT_SKIPPED;
    }
    /* EMFILE, ENFILE, ENOBUFS, ENOMEM; and for anything unforeseen a pause beats a busy loop. */
    back_off(acceptor, error);
    return ACCEPT_STOP;
}

static void on_connection(void *arg, unsigned events)
{
    struct acceptor *acceptor = arg;
    (void)events;
    CHECK_MAGIC(acceptor, ACCEPTOR_MAGIC);
    for (unsigned i = 0; i < acceptor->per_turn; i++) {
        enum accept_result result = accept_one(acceptor);
        if (result == ACCEPT_STOP || acceptor->freed || acceptor->paused) {
            return;
        }
    }
}

static void destroy(void *arg)
{
    struct acceptor *acceptor = arg;
    CHECK_MAGIC(acceptor, ACCEPTOR_MAGIC);
    acceptor->magic = 0;
    mem_free(acceptor);
}

struct acceptor *acceptor_new(struct loop *loop, int fd, unsigned per_turn,
                              const struct acceptor_callbacks *callbacks, void *arg)
{
    ASSERT(per_turn > 0);
    struct acceptor *acceptor = mem_try_alloc(sizeof(*acceptor));
    if (acceptor == NULL) {
        return NULL;
    }
    acceptor->magic = ACCEPTOR_MAGIC;
    acceptor->loop = loop;
    acceptor->fd = fd;
    acceptor->per_turn = per_turn;
    acceptor->callbacks = callbacks;
    acceptor->arg = arg;
    acceptor->watch = io_watch_new(loop, fd, on_connection, acceptor);
    acceptor->timer = timer_new(loop, on_back_off_over, acceptor);
    if (acceptor->watch == NULL || acceptor->timer == NULL ||
        io_watch_set(acceptor->watch, IO_READ) != 0) {
        timer_free(acceptor->timer);
        io_watch_free(acceptor->watch);
        mem_free(acceptor);
        return NULL;
    }
    io_watch_set_late(acceptor->watch, true);
    return acceptor;
}

void acceptor_free(struct acceptor *acceptor)
{
    if (acceptor == NULL) {
        return;
    }
    CHECK_MAGIC(acceptor, ACCEPTOR_MAGIC);
    ASSERT(!acceptor->freed);
    acceptor->freed = true;
    timer_free(acceptor->timer);
    io_watch_free(acceptor->watch);
    loop_defer(acceptor->loop, &acceptor->deferred, destroy, acceptor);
}

void acceptor_pause(struct acceptor *acceptor)
{
    CHECK_MAGIC(acceptor, ACCEPTOR_MAGIC);
    ASSERT(!acceptor->freed);
    acceptor->paused = true;
    update_watch(acceptor);
}

void acceptor_resume(struct acceptor *acceptor)
{
    CHECK_MAGIC(acceptor, ACCEPTOR_MAGIC);
    ASSERT(!acceptor->freed);
    acceptor->paused = false;
    update_watch(acceptor);
}

bool acceptor_has_newcomer(const struct acceptor *acceptor)
{
    struct pollfd queue = {.fd = acceptor->fd, .events = POLLIN};
    return poll(&queue, 1, 0) > 0;
}

void acceptor_drain(struct acceptor *acceptor)
{
    CHECK_MAGIC(acceptor, ACCEPTOR_MAGIC);
    ASSERT(!acceptor->freed);
    /* No more than were queued at the start, or a flood would keep us here. */
    for (unsigned i = 0; i <= LONGEST_QUEUE; i++) {
        enum accept_result result = accept_one(acceptor);
        if (result == ACCEPT_STOP || acceptor->freed) {
            return;
        }
    }
}
