/*
 *     start ─► CONNECTING ─dialer─► OPEN ─┬─ an answer: told, then reading rests for a moment
 *                   │                     ├─ many bytes: reading rests as well
 *                   │                     └─ the end, by the server or by a deadline
 *                   └────────► finish ◄───┘   (on_end, once; freed at the end of the turn)
 *
 * The handler may cancel from on_answer: whatever calls it looks at `over` afterwards.
 */
#include "net/grpc_call.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bytebuf.h"
#include "base/clock.h"
#include "base/errbuf.h"
#include "base/memory.h"
#include "grpc_http2.h"
#include "net/dialer.h"

enum {
    CALL_MAGIC = 0x67727063,
    BUFFER = 16 * 1024,
    /* After an answer, and after so many bytes of anything, so that a server that sends without end
       leaves time for all else: twelve megabytes a second are read, and cost little. */
    REST_MS = 20,
    READ_UNTIL_REST = 256 * 1024,
    /* A host that is gone is found by the kernel long before ping_ms. */
    KEEPALIVE_MS = 30000
};

struct grpc_call {
    unsigned magic;
    bool over;
    struct loop *loop;
    const struct grpc_call_handler *handler;
    void *arg;
    struct dialer *dialer; /* while CONNECTING */
    int fd;                /* -1: not OPEN */
    struct io_watch *watch;
    struct grpc_http2 *http2;
    struct bytebuf pending; /* that the kernel has not taken yet */
    bool send_failed;
    bool unary;
    bool answered;
    struct timer *answer_timer;
    struct timer *ping_timer;
    struct timer *rest_timer;
    size_t read_since_rest;
    bool ping_awaited;
    uint64_t answer_ms;
    uint64_t ping_ms;
    uint64_t ping_answer_ms;
    struct errbuf why; /* it could not even begin */
    struct loop_deferred deferred;
    uint8_t buffer[BUFFER]; /* all zero but while it is looked at */
};

/* --- the end --------------------------------------------------------------------------------- */

static void on_turn_end(void *arg)
{
    struct grpc_call *call = arg;
    grpc_http2_free(call->http2);
    call->magic = 0;
    mem_free(call);
}

/* Nothing is called for it any more. */
static void release(struct grpc_call *call)
{
    call->over = true;
    dialer_cancel(call->dialer);
    call->dialer = NULL;
    io_watch_free(call->watch);
    if (call->fd >= 0) {
        (void)close(call->fd);
    }
    timer_free(call->answer_timer);
    timer_free(call->ping_timer);
    timer_free(call->rest_timer);
    bytebuf_clear(&call->pending);
}

static void finish(struct grpc_call *call, const struct grpc_end *end)
{
    release(call);
    loop_defer(call->loop, &call->deferred, on_turn_end, call);
    call->handler->on_end(call->arg, end);
}

static void finish_by_us(struct grpc_call *call, enum grpc_status status, const char *text)
{
    finish(call, &(struct grpc_end){.status = status, .text = strview_from(text)});
}

void grpc_call_cancel(struct grpc_call *call)
{
    if (call != NULL) {
        CHECK_MAGIC(call, CALL_MAGIC);
        ASSERT(!call->over);
        release(call);
        loop_defer(call->loop, &call->deferred, on_turn_end, call);
    }
}

/* --- sending --------------------------------------------------------------------------------- */

/* How much the kernel takes. A connection that is gone shows when it is read. */
static size_t send_some(struct grpc_call *call, const uint8_t *data, size_t len)
{
    ssize_t sent = send(call->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        call->send_failed = true;
    }
    return sent < 0 ? 0 : (size_t)sent;
}

static void send_pending(struct grpc_call *call)
{
    size_t len = bytebuf_len(&call->pending);
    if (len > 0) {
        bytebuf_consume(&call->pending, send_some(call, bytebuf_data(&call->pending), len));
    }
}

/* What the kernel doesn't take waits here, and the rest in nghttp2, which bounds it. */
static void send_output(struct grpc_call *call)
{
    send_pending(call);
    const uint8_t *data = NULL;
    size_t len = 0;
    while (bytebuf_len(&call->pending) == 0 && !call->send_failed &&
           (len = grpc_http2_output(call->http2, &data)) > 0) {
        size_t sent = send_some(call, data, len);
        if (!bytebuf_append(&call->pending, data + sent, len - sent)) {
            call->send_failed = true;
        }
    }
    if (call->send_failed) {
        bytebuf_clear(&call->pending);
    }
}

/* --- receiving ------------------------------------------------------------------------------- */

static void receive(struct grpc_call *call)
{
    ssize_t got = recv(call->fd, call->buffer, sizeof(call->buffer), MSG_DONTWAIT);
    if (got > 0) {
        grpc_http2_feed(call->http2, call->buffer, (size_t)got);
        explicit_bzero(call->buffer, (size_t)got);
        call->ping_awaited = false;
        timer_set(call->ping_timer, call->ping_ms);
        call->read_since_rest += (size_t)got;
        if (call->read_since_rest >= READ_UNTIL_REST) {
            timer_set(call->rest_timer, REST_MS);
        }
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        grpc_http2_feed_end(call->http2);
    }
}

/* The first answer has its deadline from the connect on, each other one from its first byte. */
static void watch_answer(struct grpc_call *call)
{
    if (!call->answered) {
        return;
    }
    if (!grpc_http2_is_inside(call->http2)) {
        timer_cancel(call->answer_timer);
    } else if (!timer_is_set(call->answer_timer)) {
        timer_set(call->answer_timer, call->answer_ms);
    }
}

/* As long as the answer has taken, and a moment. Timers count from the beginning of the turn. */
static void rest_after_answer(struct grpc_call *call)
{
    uint64_t took_ms = clock_mono_ms() - loop_now_ms(call->loop);
    timer_set(call->rest_timer, took_ms + took_ms + REST_MS);
}

static void tell_answer(struct grpc_call *call)
{
    const uint8_t *message = NULL;
    size_t len = 0;
    if (!grpc_http2_answer(call->http2, &message, &len)) {
        return;
    }
    call->answered = true;
    timer_cancel(call->answer_timer);
    call->handler->on_answer(call->arg, message, len);
    if (call->over) {
        return;
    }
    (void)grpc_http2_answer(call->http2, &message, &len); /* it is wiped at once */
    if (!call->unary) {
        rest_after_answer(call);
    }
}

static void go_on(struct grpc_call *call)
{
    struct grpc_end end;
    tell_answer(call);
    if (call->over) {
        return;
    }
    send_output(call);
    if (grpc_http2_has_ended(call->http2, &end)) {
        finish(call, &end);
        return;
    }
    watch_answer(call);
    unsigned events = timer_is_set(call->rest_timer) ? 0 : IO_READ;
    events |= bytebuf_len(&call->pending) > 0 ? IO_WRITE : 0;
    if (io_watch_set(call->watch, events) != 0) {
        finish_by_us(call, GRPC_RESOURCE_EXHAUSTED, "memory is out");
    }
}

static void on_io(void *arg, unsigned events)
{
    struct grpc_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    if ((events & IO_READ) != 0) {
        receive(call);
    }
    go_on(call);
}

/* --- time ------------------------------------------------------------------------------------ */

static void on_rest_over(void *arg)
{
    struct grpc_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    call->read_since_rest = 0;
    go_on(call);
}

static void on_answer_late(void *arg)
{
    struct grpc_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    if (call->fd < 0) {
        finish_by_us(call, GRPC_UNAVAILABLE, call->why.text);
    } else if (call->answered) {
        finish_by_us(call, GRPC_DEADLINE_EXCEEDED, "an answer has begun and not ended");
    } else {
        finish_by_us(call, GRPC_DEADLINE_EXCEEDED, "connected, but no answer came");
    }
}

static void on_silence(void *arg)
{
    struct grpc_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    if (call->ping_awaited) {
        finish_by_us(call, GRPC_UNAVAILABLE, "the server doesn't answer a PING");
        return;
    }
    call->ping_awaited = true;
    timer_set(call->ping_timer, call->ping_answer_ms);
    grpc_http2_ping(call->http2);
    go_on(call);
}

/* --- the beginning --------------------------------------------------------------------------- */

static void describe_failure(struct grpc_call *call, struct dial_failure failure)
{
    if (failure.error != 0) {
        errno = failure.error;
        errbuf_set_errno(&call->why, "no connection");
    } else {
        errbuf_set(&call->why, "no connection: %s", reason_sentence(failure.reason));
    }
}

static void on_dialed(void *arg, int fd, struct dial_failure failure)
{
    struct grpc_call *call = arg;
    CHECK_MAGIC(call, CALL_MAGIC);
    call->dialer = NULL;
    if (fd < 0) {
        describe_failure(call, failure);
        finish_by_us(call, GRPC_UNAVAILABLE, call->why.text);
        return;
    }
    call->fd = fd;
    call->watch = io_watch_new(call->loop, fd, on_io, call);
    if (call->watch == NULL) {
        finish_by_us(call, GRPC_RESOURCE_EXHAUSTED, "memory is out");
        return;
    }
    timer_set(call->answer_timer, call->answer_ms);
    timer_set(call->ping_timer, call->ping_ms);
    go_on(call);
}

static bool make_parts(struct grpc_call *call, const struct grpc_call_options *options)
{
    call->http2 = grpc_http2_new(options);
    call->answer_timer = timer_new(call->loop, on_answer_late, call);
    call->ping_timer = timer_new(call->loop, on_silence, call);
    call->rest_timer = timer_new(call->loop, on_rest_over, call);
    return call->http2 != NULL && call->answer_timer != NULL && call->ping_timer != NULL &&
           call->rest_timer != NULL;
}

struct grpc_call *grpc_call_start(struct loop *loop, const struct grpc_call_options *options,
                                  const struct grpc_call_handler *handler, void *arg)
{
    struct grpc_call *call = mem_try_alloc(sizeof(*call));
    if (call == NULL) {
        return NULL;
    }
    call->magic = CALL_MAGIC;
    call->loop = loop;
    call->handler = handler;
    call->arg = arg;
    call->fd = -1;
    call->unary = options->unary;
    call->answer_ms = options->answer_ms;
    call->ping_ms = options->ping_ms;
    call->ping_answer_ms = options->ping_answer_ms;
    if (!make_parts(call, options)) {
        release(call);
        on_turn_end(call);
        return NULL;
    }
    static const struct socket_options socket_options = {.keepalive_ms = KEEPALIVE_MS};
    struct dial_failure failure;
    if (dialer_start(loop, &options->address, options->connect_ms, &socket_options, on_dialed, call,
                     &call->dialer, &failure) != 0) {
        describe_failure(call, failure);
        timer_set(call->answer_timer, 0);
    }
    return call;
}
