/*
 * conn: what plain and TLS sockets have in common.
 *
 *              conn_write ─► ops->write ─► conn_send_raw ─► kernel
 *                                               │ what it did not take
 *                                               ▼
 *              on_drained ◄── empty ◄── pending ─► kernel, when IO_WRITE says so
 *
 * Watched is IO_READ while reading is wanted, IO_WRITE while something is pending. The order of our
 * FIN is kept by end_queued: shutdown(SHUT_WR) comes when pending is empty, at once or later.
 *
 * Once sending has failed the conn stays failed: what comes after is refused with the same end, so
 * that no byte follows a gap.
 */
#include "net/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"

static int update_watch(struct conn *conn)
{
    unsigned events = conn->want_read ? IO_READ : 0;
    if (bytebuf_len(&conn->pending) > 0) {
        events |= IO_WRITE;
    }
    return io_watch_set(conn->watch, events);
}

static void drop_write_watch(struct conn *conn)
{
    int result = io_watch_set(conn->watch, io_watch_get(conn->watch) & IO_READ);
    ASSERT(result == 0); /* leaving a direction out never fails */
}

/* Nothing can be sent any more; what is pending has nowhere to go. */
static enum conn_end fail_sending(struct conn *conn, enum conn_end end)
{
    conn->write_end = end;
    bytebuf_clear(&conn->pending);
    drop_write_watch(conn);
    return end;
}

/* How much the kernel took of data; 0 when it takes nothing now; -1 on an error. */
static ssize_t send_some(int fd, const uint8_t *data, size_t len)
{
    ssize_t sent;
    do {
        sent = send(fd, data, len, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN) {
        return 0;
    }
    return sent;
}

enum conn_end conn_end_of_error(int error)
{
    /* The last two are what ICMP had said when the kernel gave up. */
    bool vanished = error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH;
    return vanished ? CONN_END_VANISHED : CONN_END_RESET;
}

static enum conn_end shut_down(struct conn *conn)
{
    if (shutdown(conn->fd, SHUT_WR) != 0) {
        return fail_sending(conn, CONN_END_RESET); /* ENOTCONN: the peer has reset */
    }
    return CONN_END_NONE;
}

/* One send of what is pending. */
static enum conn_end flush(struct conn *conn)
{
    ssize_t sent = send_some(conn->fd, bytebuf_data(&conn->pending), bytebuf_len(&conn->pending));
    if (sent < 0) {
        return fail_sending(conn, conn_end_of_error(errno));
    }
    bytebuf_consume(&conn->pending, (size_t)sent);
    if (bytebuf_len(&conn->pending) > 0) {
        return CONN_END_NONE;
    }
    drop_write_watch(conn);
    return conn->end_queued ? shut_down(conn) : CONN_END_NONE;
}

static void on_writable(struct conn *conn)
{
    enum conn_end end = flush(conn);
    if (conn->handler == NULL) {
        return; /* the next write will be told */
    }
    if (end != CONN_END_NONE) {
        conn->handler->on_write_failed(conn->handler_arg, end);
    } else if (bytebuf_len(&conn->pending) == 0) {
        conn->handler->on_drained(conn->handler_arg);
    }
}

static void on_io(void *arg, unsigned events)
{
    struct conn *conn = arg;
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed);
    /* One direction per call (net/loop.h), so nothing is touched after the handler ran. */
    if (events == IO_WRITE) {
        on_writable(conn);
    } else if (conn->handler != NULL) {
        conn->handler->on_readable(conn->handler_arg);
    }
}

int conn_init(struct conn *conn, struct loop *loop, int fd, const struct conn_ops *ops)
{
    conn->watch = io_watch_new(loop, fd, on_io, conn);
    if (conn->watch == NULL) {
        return -1;
    }
    conn->magic = CONN_MAGIC;
    conn->fd = fd;
    conn->ops = ops;
    conn->loop = loop;
    return 0;
}

/* Keeps what the kernel did not take. */
static enum conn_end keep(struct conn *conn, const uint8_t *data, size_t len)
{
    if (!bytebuf_append(&conn->pending, data, len) || update_watch(conn) != 0) {
        return fail_sending(conn, CONN_END_NO_MEMORY);
    }
    return CONN_END_NONE;
}

enum conn_end conn_send_raw(struct conn *conn, const uint8_t *data, size_t len)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed);
    if (conn->write_end != CONN_END_NONE || len == 0) {
        return conn->write_end;
    }
    if (conn->end_queued) {
        /* Our direction is over. What a TLS library still wants to say (an alert, the answer to a
           KeyUpdate) must not follow close_notify: RFC 8446 6.1. */
        return CONN_END_NONE;
    }
    if (bytebuf_len(&conn->pending) > 0) {
        return keep(conn, data, len);
    }
    ssize_t sent = send_some(conn->fd, data, len);
    if (sent < 0) {
        return fail_sending(conn, conn_end_of_error(errno));
    }
    size_t taken = (size_t)sent;
    return taken == len ? CONN_END_NONE : keep(conn, data + taken, len - taken);
}

void conn_set_handler(struct conn *conn, const struct conn_handler *handler, void *arg)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed);
    conn->handler = handler;
    conn->handler_arg = arg;
}

void conn_read(struct conn *conn, size_t max, struct conn_input *input)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed && max > 0);
    *input = (struct conn_input){0};
    conn->ops->read(conn, max, input);
}

enum conn_end conn_write(struct conn *conn, const uint8_t *data, size_t len)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed && !conn->end_queued);
    if (conn->write_end != CONN_END_NONE || len == 0) {
        return conn->write_end;
    }
    return conn->ops->write(conn, data, len);
}

int conn_want_read(struct conn *conn, bool want)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed);
    conn->want_read = want;
    return update_watch(conn);
}

void conn_stop_reading(struct conn *conn)
{
    int result = conn_want_read(conn, false);
    (void)result;
}

void conn_set_late(struct conn *conn, bool late)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    io_watch_set_late(conn->watch, late);
}

bool conn_is_blocked(const struct conn *conn)
{
    return conn_pending(conn) > 0;
}

size_t conn_pending(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    return bytebuf_len(&conn->pending);
}

enum conn_end conn_end_stream(struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed);
    if (conn->write_end != CONN_END_NONE || conn->end_queued) {
        return conn->write_end;
    }
    if (conn->ops->end_stream != NULL) {
        enum conn_end end = conn->ops->end_stream(conn);
        if (end != CONN_END_NONE) {
            return end;
        }
    }
    conn->end_queued = true;
    return conn_is_blocked(conn) ? CONN_END_NONE : shut_down(conn);
}

bool conn_is_flushed(const struct conn *conn)
{
    return conn_pending(conn) == 0 && (conn->is_unix || socket_unsent(conn->fd) == 0);
}

size_t conn_outstanding(const struct conn *conn)
{
    return conn_pending(conn) + socket_outstanding(conn->fd);
}

bool conn_is_gone(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    return conn->write_end != CONN_END_NONE || socket_peer(conn->fd) == SOCKET_PEER_BROKEN;
}

bool conn_has_left(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    return conn->write_end != CONN_END_NONE || socket_peer(conn->fd) != SOCKET_PEER_THERE;
}

enum conn_end conn_peek_failure(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    int error = socket_peek_error(conn->fd);
    return error == 0 ? CONN_END_NONE : conn_end_of_error(error);
}

void conn_acks(const struct conn *conn, struct socket_acks *acks)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    socket_acks(conn->fd, acks);
}

int conn_fd(const struct conn *conn)
{
    CHECK_MAGIC(conn, CONN_MAGIC);
    return conn->fd;
}

static void destroy(void *arg)
{
    struct conn *conn = arg;
    CHECK_MAGIC(conn, CONN_MAGIC);
    conn->magic = 0;
    conn->ops->destroy(conn);
}

void conn_close(struct conn *conn)
{
    if (conn == NULL) {
        return;
    }
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed);
    conn->closed = true;
    conn->handler = NULL;
    io_watch_free(conn->watch);
    conn->watch = NULL;
    (void)close(conn->fd); /* whatever it says, the descriptor is gone: close(2) */
    conn->fd = -1;
    bytebuf_clear(&conn->pending);
    loop_defer(conn->loop, &conn->deferred, destroy, conn);
}

void conn_abort(struct conn *conn)
{
    if (conn == NULL) {
        return;
    }
    CHECK_MAGIC(conn, CONN_MAGIC);
    ASSERT(!conn->closed);
    if (!conn->is_unix) {
        socket_set_reset_on_close(conn->fd);
    }
    conn_close(conn);
}
