/*
 * http_server: one struct for each connection, and one function that moves it on.
 *
 *     READING ─► HANDLING ─► WRITING ─► LINGERING ─► closed
 *        └── refused ───────────┘           (each of them may close at once: error, time, free)
 *
 *     state      watches                              deadline
 *     READING    reading                              request_ms from the connect
 *     HANDLING   reading, and drops what comes        a look each second, once the client has shut
 *     WRITING    writing                              stall_ms from the last byte, answer_ms in all
 *     LINGERING  reading, and drops what comes        1 s
 *
 * A client that shuts its sending side still wants the answer, one that closes does not. On a Unix
 * socket the kernel tells the two apart (socket_peer), on TCP only a failed write does.
 *
 * Lingering: closing a socket with unread bytes resets it, and a reset may overtake the answer that
 * says why the rest of the body was not read.
 */
#include "net/http_server.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "http_head.h"
#include "net/listener.h"
#include "net/socket.h"

enum {
    SERVER_MAGIC = 0x68747376,
    CALL_MAGIC = 0x68746361,
    DEFAULT_CONNECTIONS = 16,
    DEFAULT_REQUEST_MS = 5 * 1000,
    DEFAULT_STALL_MS = 10 * 1000,
    DEFAULT_ANSWER_MS = 60 * 1000,
    LOOK_MS = 1000,
    LINGER_MS = 1000,
    LINGER_MAX_BYTES = 256 * 1024,
    READ_SIZE = 16 * 1024,
    WRITES_PER_TURN = 8,
    WRITE_SIZE = 64 * 1024,
    CHUNK_HEAD_SIZE = 32,
    ERROR_SIZE = 8 * 1024
};

enum call_state { CALL_READING, CALL_HANDLING, CALL_WRITING, CALL_LINGERING, CALL_CLOSED };

TAILQ_HEAD(call_list, http_call);

struct http_call {
    unsigned magic;
    TAILQ_ENTRY(http_call) link;
    struct http_server *server;
    enum call_state state;
    int fd;
    struct io_watch *watch;
    struct timer *timer;
    struct bytebuf in; /* head and body, contiguous */
    size_t scanned;
    size_t head_len; /* 0: not complete yet */
    struct http_request request;
    http_gone_fn *on_gone;
    void *on_gone_arg;
    struct bytebuf out; /* the head of the answer or of a chunk, then what belongs to it: */
    struct bytebuf body;
    struct http_stream stream; /* next NULL: the body is whole */
    bool chunked;
    uint64_t answer_due_ms;
    size_t dropped; /* bytes after the request */
    struct loop_deferred end;
};

struct http_server {
    unsigned magic;
    struct loop *loop;
    struct http_server_options options;
    struct acceptor *acceptor;
    http_handler_fn *handler;
    void *arg;
    struct call_list calls;
    size_t count;
    bool freed; /* is being freed */
};

/* ---- Closing ---- */

static void destroy_call(void *arg)
{
    struct http_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    call->magic = 0;
    mem_free(call);
}

/* Its maker hears that no more is asked for. */
static void end_stream(struct http_call *call)
{
    const struct http_stream stream = call->stream;
    if (stream.next != NULL) {
        call->stream = (struct http_stream){.next = NULL};
        stream.done(stream.arg);
    }
}

/* The one place where a connection ends. */
static void close_call(struct http_call *call)
{
    CHECK_MAGIC(call, CALL_MAGIC);
    ASSERT(call->state != CALL_CLOSED);
    http_gone_fn *on_gone = call->state == CALL_HANDLING ? call->on_gone : NULL;
    struct http_server *server = call->server;
    call->state = CALL_CLOSED;
    io_watch_free(call->watch);
    timer_free(call->timer);
    (void)close(call->fd);
    bytebuf_clear(&call->in);
    bytebuf_clear(&call->out);
    bytebuf_clear(&call->body);
    TAILQ_REMOVE(&server->calls, call, link);
    if (server->count-- == server->options.connections && !server->freed) {
        acceptor_resume(server->acceptor);
    }
    loop_defer(server->loop, &call->end, destroy_call, call);
    end_stream(call);
    if (on_gone != NULL) {
        on_gone(call->on_gone_arg);
    }
}

static void enter(struct http_call *call, enum call_state state, unsigned events,
                  uint64_t deadline_ms)
{
    ASSERT(state > call->state && state != CALL_CLOSED);
    call->state = state;
    if (deadline_ms > 0) {
        timer_set(call->timer, deadline_ms);
    } else {
        timer_cancel(call->timer);
    }
    if (io_watch_set(call->watch, events) != 0) {
        timer_set(call->timer, 0); /* out of memory: its time is over */
    }
}

/* ---- Answering ---- */

static enum http_framing framing_of(const struct http_call *call)
{
    if (call->stream.next == NULL) {
        return HTTP_FRAMING_LENGTH;
    }
    return call->chunked ? HTTP_FRAMING_CHUNKS : HTTP_FRAMING_CLOSE;
}

/* RFC 9110 9.3.2: the answer has the Content-Length of a body that is not sent. True for refused
   requests too, as far as can be told. */
static bool is_head(const struct http_call *call)
{
    static const char method[] = "HEAD ";
    size_t len = sizeof(method) - 1;
    return bytebuf_len(&call->in) >= len && memcmp(bytebuf_data(&call->in), method, len) == 0;
}

static void on_writable(struct http_call *call);

/* From READING (refused) or HANDLING. */
static void answer_call(struct http_call *call, const struct http_answer *answer)
{
    ASSERT(answer->status >= 200 && answer->status <= 599);
    struct bytebuf body = {0};
    if (answer->body != NULL) {
        body = *answer->body;
        *answer->body = (struct bytebuf){0};
    }
    call->on_gone = NULL;
    if (answer->stream != NULL) {
        ASSERT(call->head_len > 0 && answer->body == NULL);
        call->stream = *answer->stream;
        call->chunked = !call->request.is_http_1_0;
    }
    if (!http_head_append(&call->out, answer, framing_of(call), bytebuf_len(&body))) {
        bytebuf_clear(&body);
        close_call(call); /* out of memory */
        return;
    }
    if (is_head(call)) {
        bytebuf_clear(&body);
        end_stream(call);
    }
    call->body = body;
    bytebuf_clear(&call->in); /* with it the request goes: nobody may read it now */
    call->answer_due_ms = loop_now_ms(call->server->loop) + call->server->options.answer_ms;
    enter(call, CALL_WRITING, IO_WRITE, call->server->options.stall_ms);
    on_writable(call);
}

static void refuse_call(struct http_call *call, int status, const char *why)
{
    char text[ERROR_SIZE];
    struct json_writer w;
    json_writer_init(&w, text, sizeof(text) - 1);
    json_object_begin(&w);
    json_field_string(&w, "error", why);
    json_object_end(&w);
    size_t len = json_writer_finish(&w);
    struct bytebuf body = {0};
    if (len > 0) {
        text[len++] = '\n';
    }
    if (!bytebuf_append(&body, text, len)) {
        bytebuf_clear(&body); /* the status alone then */
    }
    const struct http_answer answer = {
        .status = status, .allow = status == 405 ? HTTP_METHODS_ALLOWED : NULL, .body = &body};
    answer_call(call, &answer);
}

/* What is in the buffer, as far as the socket takes it. False: the connection is lost. */
static bool write_some(struct http_call *call, struct bytebuf *from, bool *blocked, bool *moved)
{
    size_t len = bytebuf_len(from);
    len = len < WRITE_SIZE ? len : WRITE_SIZE;
    ssize_t sent = send(call->fd, bytebuf_data(from), len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        *blocked = errno == EAGAIN || errno == EINTR;
        return *blocked;
    }
    bytebuf_consume(from, (size_t)sent);
    *blocked = (size_t)sent < len;
    *moved = *moved || sent > 0;
    return true;
}

static void after_progress(struct http_call *call)
{
    uint64_t now = loop_now_ms(call->server->loop);
    uint64_t left = call->answer_due_ms > now ? call->answer_due_ms - now : 0;
    uint64_t stall = call->server->options.stall_ms;
    timer_set(call->timer, left < stall ? left : stall);
}

/* RFC 9112 7.1: the size in hexadecimal, the bytes, and after the last one of size zero. */
static bool frame_piece(struct http_call *call, bool is_last)
{
    char head[CHUNK_HEAD_SIZE];
    size_t len = bytebuf_len(&call->body);
    if (!call->chunked) {
        return true;
    }
    if (len > 0) {
        int head_len = snprintf(head, sizeof(head), "%zx\r\n", len);
        if (!bytebuf_append(&call->out, head, (size_t)head_len) ||
            !bytebuf_append(&call->body, "\r\n", 2)) {
            return false;
        }
    }
    return !is_last || bytebuf_append(&call->body, "0\r\n\r\n", 5);
}

/* The next piece of a stream, when all before it is out. False: there is none, ever. */
static bool pull_piece(struct http_call *call)
{
    enum http_piece piece = call->stream.next(call->stream.arg, &call->body);
    if (piece == HTTP_PIECE_FAILED || !frame_piece(call, piece == HTTP_PIECE_LAST)) {
        return false;
    }
    if (piece == HTTP_PIECE_LAST) {
        end_stream(call);
    }
    return true;
}

static bool has_output(const struct http_call *call)
{
    return bytebuf_len(&call->out) + bytebuf_len(&call->body) > 0;
}

/* Everything is out. */
static void finish_answer(struct http_call *call)
{
    (void)shutdown(call->fd, SHUT_WR); /* fails when the client has gone: seen by reading */
    enter(call, CALL_LINGERING, IO_READ, LINGER_MS);
}

static void on_writable(struct http_call *call)
{
    bool blocked = false;
    bool moved = false;
    for (unsigned i = 0; i < WRITES_PER_TURN && !blocked; i++) {
        if (!has_output(call) && call->stream.next != NULL && !pull_piece(call)) {
            close_call(call);
            return;
        }
        if (!has_output(call) && call->stream.next == NULL) {
            finish_answer(call);
            return;
        }
        struct bytebuf *from = bytebuf_len(&call->out) > 0 ? &call->out : &call->body;
        if (bytebuf_len(from) > 0 && !write_some(call, from, &blocked, &moved)) {
            close_call(call);
            return;
        }
    }
    if (moved) {
        after_progress(call);
    }
}

/* ---- Reading ---- */

static void handle(struct http_call *call)
{
    struct http_server *server = call->server;
    enter(call, CALL_HANDLING, IO_READ, 0);
    server->handler(server->arg, call);
    /* Its memory is still there, whatever the handler did (close_call). Who answers later must hear
       that the call is gone. */
    ASSERT(call->state != CALL_HANDLING || call->on_gone != NULL);
}

/* Parses the head when it is whole. False: refused. */
static bool take_head(struct http_call *call)
{
    const char *data = (const char *)bytebuf_data(&call->in);
    size_t len = bytebuf_len(&call->in);
    size_t scan_len = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
    enum http_head found = http_head_scan(data, scan_len, &call->scanned);
    if (found == HTTP_HEAD_MORE && len < HTTP_HEAD_MAX) {
        return true;
    }
    if (found == HTTP_HEAD_MORE) {
        refuse_call(call, 431, "the headers are larger than 8 KiB");
        return false;
    }
    const char *why = NULL;
    size_t head_len = call->scanned;
    int status = http_request_parse(data, head_len, &call->request, &why);
    ASSERT(found != HTTP_HEAD_BAD || status != 0); /* no head with such a byte parses */
    if (status != 0) {
        refuse_call(call, status, why);
        return false;
    }
    call->head_len = head_len;
    return true;
}

/* The bytes of the request must stay where they are once it is parsed: it points into them. */
static bool reserve_body(struct http_call *call)
{
    size_t len = bytebuf_len(&call->in);
    size_t total = call->head_len + call->request.body_len;
    if (total <= len) {
        return true;
    }
    struct bytebuf whole = {.memory = mem_try_alloc(total), .end = len, .capacity = total};
    if (whole.memory == NULL) {
        return false;
    }
    memcpy(whole.memory, bytebuf_data(&call->in), len);
    bytebuf_clear(&call->in);
    call->in = whole;
    const char *why = NULL;
    int status =
        http_request_parse((const char *)whole.memory, call->head_len, &call->request, &why);
    ASSERT(status == 0);
    return true;
}

static void take_request(struct http_call *call)
{
    if (call->head_len == 0) {
        if (!take_head(call) || call->head_len == 0) {
            return;
        }
        if (!reserve_body(call)) {
            close_call(call);
            return;
        }
    }
    if (bytebuf_len(&call->in) >= call->head_len + call->request.body_len) {
        handle(call);
    }
}

/* How much may be read now, without reading into a second request. */
static size_t room_of(const struct http_call *call)
{
    size_t len = bytebuf_len(&call->in);
    size_t wanted = HTTP_HEAD_MAX;
    if (call->head_len > 0) {
        wanted = call->head_len + call->request.body_len;
    }
    size_t room = wanted - len;
    return room < READ_SIZE ? room : READ_SIZE;
}

static void read_request(struct http_call *call)
{
    char bytes[READ_SIZE];
    ssize_t got = recv(call->fd, bytes, room_of(call), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0 || !bytebuf_append(&call->in, bytes, (size_t)got)) {
        close_call(call); /* gone before its request was whole, or no memory */
        return;
    }
    take_request(call);
}

/* The client has shut its sending side: to watch for reading would call for ever. */
static void on_end_of_input(struct http_call *call)
{
    if (call->state == CALL_LINGERING || socket_peer(call->fd) != SOCKET_PEER_THERE) {
        close_call(call);
        return;
    }
    if (io_watch_set(call->watch, 0) != 0) {
        close_call(call);
        return;
    }
    timer_set(call->timer, LOOK_MS);
}

/* While the answer is made and after it: bytes of a second request or of a refused body. */
static void drop_input(struct http_call *call)
{
    char bytes[READ_SIZE];
    ssize_t got = recv(call->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got < 0) {
        close_call(call);
        return;
    }
    if (got == 0) {
        on_end_of_input(call);
        return;
    }
    call->dropped += (size_t)got;
    if (call->dropped <= LINGER_MAX_BYTES) {
        return;
    }
    if (call->state == CALL_LINGERING) {
        close_call(call);
    } else {
        on_end_of_input(call); /* read no more of it before the answer */
    }
}

static void on_ready(void *arg, unsigned events)
{
    struct http_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    (void)events; /* each state watches one direction */
    switch (call->state) {
    case CALL_READING:
        read_request(call);
        break;
    case CALL_HANDLING:
    case CALL_LINGERING:
        drop_input(call);
        break;
    case CALL_WRITING:
        on_writable(call);
        break;
    case CALL_CLOSED:
        break;
    }
}

static void on_deadline(void *arg)
{
    struct http_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    switch (call->state) {
    case CALL_READING:
        refuse_call(call, 408, "the request did not come in time");
        break;
    case CALL_HANDLING:
        if (socket_peer(call->fd) != SOCKET_PEER_THERE) {
            close_call(call);
        } else {
            timer_set(call->timer, LOOK_MS);
        }
        break;
    case CALL_WRITING:
    case CALL_LINGERING:
        close_call(call);
        break;
    case CALL_CLOSED:
        break;
    }
}

/* ---- The handler's side ---- */

static void check_handled(const struct http_call *call)
{
    CHECK_MAGIC(call, CALL_MAGIC);
    ASSERT(call->state == CALL_HANDLING);
}

const struct http_request *http_call_request(const struct http_call *call)
{
    check_handled(call);
    return &call->request;
}

struct strview http_call_body(const struct http_call *call)
{
    check_handled(call);
    const char *data = (const char *)bytebuf_data(&call->in);
    return (struct strview){.ptr = data + call->head_len, .len = call->request.body_len};
}

bool http_call_peer_uid(const struct http_call *call, uid_t *uid)
{
    check_handled(call);
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(call->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.uid == (uid_t)-1) {
        return false; /* TCP says -1 */
    }
    *uid = peer.uid;
    return true;
}

void http_call_on_gone(struct http_call *call, http_gone_fn *fn, void *arg)
{
    check_handled(call);
    call->on_gone = fn;
    call->on_gone_arg = arg;
}

void http_call_answer(struct http_call *call, const struct http_answer *answer)
{
    check_handled(call);
    answer_call(call, answer);
}

void http_call_refuse(struct http_call *call, int status, const char *why)
{
    check_handled(call);
    refuse_call(call, status, why);
}

/* ---- The server ---- */

static void on_accept(void *arg, int fd, const struct netaddr *peer)
{
    struct http_server *server = arg;
    (void)peer;
    CHECK_MAGIC(server, SERVER_MAGIC);
    if (server->count == server->options.connections) {
        ASSERT(server->options.full == HTTP_FULL_OLDEST_GOES);
        close_call(TAILQ_FIRST(&server->calls));
    }
    struct http_call *call = mem_try_alloc(sizeof(*call));
    if (call == NULL) {
        (void)close(fd);
        return;
    }
    call->magic = CALL_MAGIC;
    call->server = server;
    call->fd = fd;
    call->watch = io_watch_new(server->loop, fd, on_ready, call);
    call->timer = timer_new(server->loop, on_deadline, call);
    if (call->watch == NULL || call->timer == NULL || io_watch_set(call->watch, IO_READ) != 0) {
        timer_free(call->timer);
        io_watch_free(call->watch);
        (void)close(fd);
        mem_free(call);
        return;
    }
    timer_set(call->timer, server->options.request_ms);
    TAILQ_INSERT_TAIL(&server->calls, call, link);
    bool full = ++server->count == server->options.connections;
    if (full && server->options.full == HTTP_FULL_WAITS) {
        acceptor_pause(server->acceptor);
    }
}

/* The acceptor tries again by itself. */
static void on_exhausted(void *arg, int error)
{
    (void)arg;
    (void)error;
}

static void set_defaults(struct http_server_options *options)
{
    options->connections = options->connections > 0 ? options->connections : DEFAULT_CONNECTIONS;
    options->request_ms = options->request_ms > 0 ? options->request_ms : DEFAULT_REQUEST_MS;
    options->stall_ms = options->stall_ms > 0 ? options->stall_ms : DEFAULT_STALL_MS;
    options->answer_ms = options->answer_ms > 0 ? options->answer_ms : DEFAULT_ANSWER_MS;
}

struct http_server *http_server_new(struct loop *loop, int listen_fd,
                                    const struct http_server_options *options,
                                    http_handler_fn *handler, void *arg, struct errbuf *err)
{
    static const struct acceptor_callbacks callbacks = {.on_accept = on_accept,
                                                        .on_exhausted = on_exhausted};
    ASSERT(handler != NULL);
    struct http_server *server = mem_alloc(sizeof(*server));
    server->magic = SERVER_MAGIC;
    server->loop = loop;
    if (options != NULL) {
        server->options = *options;
    }
    set_defaults(&server->options);
    server->handler = handler;
    server->arg = arg;
    TAILQ_INIT(&server->calls);
    server->acceptor = acceptor_new(loop, listen_fd, 1, &callbacks, server);
    if (server->acceptor == NULL) {
        errbuf_set(err, "cannot serve HTTP: out of memory");
        mem_free(server);
        return NULL;
    }
    return server;
}

void http_server_free(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    CHECK_MAGIC(server, SERVER_MAGIC);
    ASSERT(!server->freed);
    server->freed = true;
    acceptor_free(server->acceptor);
    struct http_call *call;
    while ((call = TAILQ_FIRST(&server->calls)) != NULL) {
        close_call(call);
    }
    server->magic = 0;
    mem_free(server);
}
