/*
 * dialer: one connect() and what may come of it.
 *
 *     dialer_start ─► connect ──┬─ in progress ─► IO_WRITE ─► SO_ERROR ─┐
 *                      ▲        ├─ done or failed at once ─► deferred ──┼─► finish ─► callback
 *                      └─ 10 ms ┴─ Unix queue full              timer ──┘
 *
 * finish() frees the dialer before it calls back.
 */
#include "net/dialer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"

enum { DIALER_MAGIC = 0x6469616c, UNIX_RETRY_MS = 10 };

struct dialer {
    unsigned magic;
    struct loop *loop;
    struct netaddr addr;
    int fd; /* -1 once it is the callee's or closed */
    struct io_watch *watch;
    struct timer *timer; /* the deadline, or the next try while retrying */
    uint64_t deadline_ms;
    bool retrying;
    bool deferring; /* the outcome below waits for the end of the turn */
    bool connected;
    struct dial_failure failure;
    dialer_done_fn *done; /* NULL: cancelled */
    void *arg;
    struct loop_deferred deferred;
};

static const struct dial_failure out_of_memory = {.reason = REASON_OUT_OF_MEMORY};

static enum reason reason_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return REASON_UPSTREAM_CONNECT_REFUSED;
    case ETIMEDOUT:
        return REASON_UPSTREAM_CONNECT_TIMEOUT;
    case EMFILE:
    case ENFILE:
        return REASON_OUT_OF_DESCRIPTORS;
    case ENOMEM:
    case ENOBUFS:
        return REASON_OUT_OF_MEMORY;
    default:
        return REASON_UPSTREAM_CONNECT_FAILED;
    }
}

static void destroy(struct dialer *dialer)
{
    timer_free(dialer->timer);
    io_watch_free(dialer->watch);
    if (dialer->fd >= 0) {
        (void)close(dialer->fd);
    }
    dialer->magic = 0;
    mem_free(dialer);
}

/* Never from inside dialer_start. */
static void finish(struct dialer *dialer, bool connected, struct dial_failure failure)
{
    dialer_done_fn *done = dialer->done;
    void *arg = dialer->arg;
    int fd = -1;
    if (connected && done != NULL) {
        fd = dialer->fd;
        dialer->fd = -1;
    }
    destroy(dialer);
    if (done != NULL) {
        done(arg, fd, failure);
    }
}

static void on_turn_end(void *arg)
{
    struct dialer *dialer = arg;
    CHECK_MAGIC(dialer, DIALER_MAGIC);
    finish(dialer, dialer->connected, dialer->failure);
}

static void finish_later(struct dialer *dialer, bool connected, struct dial_failure failure)
{
    dialer->connected = connected;
    dialer->failure = failure;
    dialer->deferring = true;
    /* The outcome stands: neither the deadline nor the socket has a say any more. */
    timer_cancel(dialer->timer);
    io_watch_free(dialer->watch);
    dialer->watch = NULL;
    loop_defer(dialer->loop, &dialer->deferred, on_turn_end, dialer);
}

/*
 * A connect() to a port of this host in the ephemeral range, where nobody listens, may be given
 * that very port as its own and meet itself (RFC 9293 3.5, simultaneous open). Such a socket echoes
 * what it is sent.
 */
static bool is_connected_to_itself(const struct dialer *dialer)
{
    uint16_t port = netaddr_port(&dialer->addr);
    struct netaddr local;
    socket_local_address(dialer->fd, &local);
    if (netaddr_is_unix(&dialer->addr) || netaddr_port(&local) != port) {
        return false;
    }
    struct netaddr peer;
    socket_peer_address(dialer->fd, &peer);
    char local_text[NETADDR_TEXT_SIZE];
    char peer_text[NETADDR_TEXT_SIZE];
    return strcmp(netaddr_format(&local, local_text), netaddr_format(&peer, peer_text)) == 0;
}

static bool judge(struct dialer *dialer, int error, struct dial_failure *failure)
{
    *failure = (struct dial_failure){error == 0 ? REASON_NONE : reason_of(error), error};
    if (error == 0 && is_connected_to_itself(dialer)) {
        socket_set_reset_on_close(dialer->fd);
        failure->reason = REASON_UPSTREAM_CONNECT_REFUSED;
    }
    return failure->reason == REASON_NONE;
}

static void on_writable(void *arg, unsigned events)
{
    struct dialer *dialer = arg;
    (void)events;
    CHECK_MAGIC(dialer, DIALER_MAGIC);
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(dialer->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    struct dial_failure failure;
    bool connected = judge(dialer, error, &failure);
    finish(dialer, connected, failure);
}

static uint64_t time_left(const struct dialer *dialer)
{
    uint64_t now = loop_now_ms(dialer->loop);
    return dialer->deadline_ms > now ? dialer->deadline_ms - now : 0;
}

/* connect(2), EINTR: the attempt goes on as if it had said EINPROGRESS. */
static void try_connect(struct dialer *dialer)
{
    int error = connect(dialer->fd, &dialer->addr.u.sa, dialer->addr.len) == 0 ? 0 : errno;
    bool is_unix = netaddr_is_unix(&dialer->addr);
    dialer->retrying = error == EAGAIN && is_unix;
    if (dialer->retrying) {
        /* unix(7): the queue is full; there is nothing to wait for but time. */
        uint64_t left = time_left(dialer);
        timer_set(dialer->timer, left < UNIX_RETRY_MS ? left : UNIX_RETRY_MS);
        return;
    }
    if (error == EINPROGRESS || error == EINTR) {
        if (io_watch_set(dialer->watch, IO_WRITE) != 0) {
            finish_later(dialer, false, out_of_memory);
            return;
        }
        timer_set(dialer->timer, time_left(dialer));
        return;
    }
    struct dial_failure failure;
    bool connected = judge(dialer, error, &failure);
    finish_later(dialer, connected, failure);
}

static void on_timer(void *arg)
{
    struct dialer *dialer = arg;
    CHECK_MAGIC(dialer, DIALER_MAGIC);
    if (dialer->retrying && time_left(dialer) > 0) {
        try_connect(dialer);
        return;
    }
    finish(dialer, false, (struct dial_failure){.reason = REASON_UPSTREAM_CONNECT_TIMEOUT});
}

int dialer_start(struct loop *loop, const struct netaddr *addr, uint64_t timeout_ms,
                 const struct socket_options *options, dialer_done_fn *done, void *arg,
                 struct dialer **out, struct dial_failure *failure)
{
    ASSERT(done != NULL);
    *out = NULL;
    struct dialer *dialer = mem_try_alloc(sizeof(*dialer));
    if (dialer == NULL) {
        *failure = out_of_memory;
        return -1;
    }
    dialer->magic = DIALER_MAGIC;
    dialer->loop = loop;
    dialer->addr = *addr;
    dialer->done = done;
    dialer->arg = arg;
    uint64_t now = loop_now_ms(loop);
    dialer->deadline_ms = timeout_ms < UINT64_MAX - now ? now + timeout_ms : UINT64_MAX;
    dialer->fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dialer->fd < 0) {
        *failure = (struct dial_failure){reason_of(errno), errno};
        destroy(dialer);
        return -1;
    }
    dialer->watch = io_watch_new(loop, dialer->fd, on_writable, dialer);
    dialer->timer = timer_new(loop, on_timer, dialer);
    if (dialer->watch == NULL || dialer->timer == NULL) {
        *failure = out_of_memory;
        destroy(dialer);
        return -1;
    }
    io_watch_set_late(dialer->watch, true); /* a handshake may follow at once */
    socket_apply_options(dialer->fd, netaddr_is_unix(addr), options);
    try_connect(dialer);
    *out = dialer;
    return 0;
}

void dialer_cancel(struct dialer *dialer)
{
    if (dialer == NULL) {
        return;
    }
    CHECK_MAGIC(dialer, DIALER_MAGIC);
    ASSERT(dialer->done != NULL);
    dialer->done = NULL;
    if (!dialer->deferring) {
        destroy(dialer);
    }
    /* Otherwise on_turn_end finds nobody to call and frees. */
}
