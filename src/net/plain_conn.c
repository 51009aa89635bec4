/*
 * plain_conn: bytes as they come. All plain conns of a thread read into one buffer.
 */
#include "net/plain_conn.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/memory.h"

struct plain_thread {
    uint8_t buffer[PLAIN_READ_MAX];
};

struct plain_conn {
    struct conn conn; /* first: a struct conn * is one of ours by its ops */
    struct plain_thread *thread;
};

struct plain_thread *plain_thread_new(void)
{
    return mem_alloc(sizeof(struct plain_thread));
}

void plain_thread_free(struct plain_thread *thread)
{
    mem_free(thread);
}

static void plain_read(struct conn *conn, size_t max, struct conn_input *input)
{
    struct plain_thread *thread = ((struct plain_conn *)conn)->thread;
    size_t asked = max < sizeof(thread->buffer) ? max : sizeof(thread->buffer);
    ssize_t got;
    do {
        got = recv(conn->fd, thread->buffer, asked, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        input->data = thread->buffer;
        input->len = (size_t)got;
        input->more = input->len == asked;
    } else if (got == 0) {
        input->end = CONN_END_CLEAN;
    } else if (errno != EAGAIN) {
        input->end = conn_end_of_error(errno);
    }
}

static void plain_destroy(struct conn *conn)
{
    mem_free(conn);
}

struct conn *plain_conn_new(struct plain_thread *thread, struct loop *loop, int fd, bool is_unix)
{
    static const struct conn_ops ops = {
        .read = plain_read,
        .write = conn_send_raw,
        .end_stream = NULL, /* FIN says it all */
        .destroy = plain_destroy,
    };
    struct plain_conn *plain = mem_try_alloc(sizeof(*plain));
    if (plain == NULL) {
        return NULL;
    }
    if (conn_init(&plain->conn, loop, fd, &ops) != 0) {
        mem_free(plain);
        return NULL;
    }
    plain->conn.is_unix = is_unix;
    plain->thread = thread;
    return &plain->conn;
}
