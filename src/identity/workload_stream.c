/*
 *     WAITING ─timer─► OPEN (a grpc_call) ─its end─► WAITING, or GIVEN UP (no timer is set)
 */
#include "identity/workload_stream.h"

#include "base/assert.h"
#include "base/backoff.h"
#include "base/memory.h"
#include "identity/workload_response.h"
#include "net/grpc_call.h"

const struct workload_times workload_times_default = {
    .connect_ms = 5000,
    .answer_ms = 30000,
    /* Servers made with gRPC's libraries close a connection with a PING every five minutes or
       more often. A dead host is found by TCP's own keepalive, long before. */
    .ping_ms = 330000,
    .ping_answer_ms = 20000,
    .backoff_least_ms = 1000,
    .backoff_most_ms = 30000,
    .steady_ms = 1000,
};

enum { STREAM_MAGIC = 0x776c7374 };

struct workload_stream {
    unsigned magic;
    struct loop *loop;
    struct netaddr address;
    struct workload_times times;
    const struct workload_handler *handler;
    void *arg;
    struct grpc_call *call; /* NULL: not OPEN */
    struct timer *timer;
    struct backoff backoff;
    uint64_t began_ms; /* the call */
    bool had_answer;   /* a good one, of this call */
    bool *freed;       /* set by workload_stream_free while a handler runs */
};

/* --- a call ---------------------------------------------------------------------------------- */

static void on_answer(void *arg, const uint8_t *message, size_t len)
{
    struct workload_stream *stream = arg;
    CHECK_MAGIC(stream, STREAM_MAGIC);
    bool freed = false;
    stream->freed = &freed;
    bool good = stream->handler->on_message(stream->arg, message, len);
    if (freed) {
        return;
    }
    stream->freed = NULL;
    stream->had_answer = stream->had_answer || good;
}

static enum workload_end end_of(const struct grpc_end *end)
{
    if (!end->from_server) {
        return WORKLOAD_LOST;
    }
    if (end->status == GRPC_PERMISSION_DENIED) {
        return WORKLOAD_DENIED;
    }
    bool hopeless = end->status == GRPC_INVALID_ARGUMENT || end->status == GRPC_UNIMPLEMENTED;
    return hopeless ? WORKLOAD_GIVEN_UP : WORKLOAD_LOST;
}

static void on_end(void *arg, const struct grpc_end *end)
{
    struct workload_stream *stream = arg;
    CHECK_MAGIC(stream, STREAM_MAGIC);
    stream->call = NULL;
    struct workload_news news = {
        .end = end_of(end),
        .status = end->status,
        .from_agent = end->from_server,
        .had_answer = stream->had_answer,
        .text = end->text,
    };
    if (stream->had_answer) {
        backoff_reset(&stream->backoff);
        if (loop_now_ms(stream->loop) - stream->began_ms < stream->times.steady_ms) {
            (void)backoff_next(&stream->backoff); /* or the two of us would go in circles */
        }
    }
    if (news.end != WORKLOAD_GIVEN_UP) {
        news.retry_ms = backoff_next(&stream->backoff);
        timer_set(stream->timer, news.retry_ms);
    }
    stream->handler->on_end(stream->arg, &news);
}

static void open_call(struct workload_stream *stream)
{
    static const struct grpc_call_handler handler = {.on_answer = on_answer, .on_end = on_end};
    /* Workload Endpoint 3: without it the agent answers InvalidArgument. */
    static const struct grpc_metadata metadata[] = {{"workload.spiffe.io", "true"}};
    const struct grpc_call_options options = {
        .address = stream->address,
        .path = "/SpiffeWorkloadAPI/FetchX509SVID",
        .metadata = metadata,
        .metadata_count = sizeof(metadata) / sizeof(metadata[0]),
        .answer_max = WORKLOAD_MESSAGE_MAX,
        .connect_ms = stream->times.connect_ms,
        .answer_ms = stream->times.answer_ms,
        .ping_ms = stream->times.ping_ms,
        .ping_answer_ms = stream->times.ping_answer_ms,
    };
    stream->had_answer = false;
    stream->began_ms = loop_now_ms(stream->loop);
    stream->call = grpc_call_start(stream->loop, &options, &handler, stream);
    if (stream->call == NULL) {
        on_end(stream, &(struct grpc_end){.status = GRPC_RESOURCE_EXHAUSTED,
                                          .text = strview_from("memory is out")});
    }
}

static void on_timer(void *arg)
{
    struct workload_stream *stream = arg;
    CHECK_MAGIC(stream, STREAM_MAGIC);
    ASSERT(stream->call == NULL);
    open_call(stream);
}

/* --- the object ------------------------------------------------------------------------------ */

struct workload_stream *workload_stream_new(struct loop *loop, const struct netaddr *address,
                                            const struct workload_times *times,
                                            const struct workload_handler *handler, void *arg)
{
    struct workload_stream *stream = mem_try_alloc(sizeof(*stream));
    if (stream == NULL) {
        return NULL;
    }
    stream->magic = STREAM_MAGIC;
    stream->loop = loop;
    stream->address = *address;
    stream->times = *times;
    stream->handler = handler;
    stream->arg = arg;
    stream->timer = timer_new(loop, on_timer, stream);
    if (stream->timer == NULL) {
        mem_free(stream);
        return NULL;
    }
    backoff_init(&stream->backoff, times->backoff_least_ms, times->backoff_most_ms);
    timer_set(stream->timer, backoff_next(&stream->backoff));
    return stream;
}

void workload_stream_free(struct workload_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    CHECK_MAGIC(stream, STREAM_MAGIC);
    if (stream->freed != NULL) {
        *stream->freed = true;
    }
    if (stream->call != NULL) {
        grpc_call_cancel(stream->call);
    }
    timer_free(stream->timer);
    stream->magic = 0;
    mem_free(stream);
}

void workload_stream_retry(struct workload_stream *stream)
{
    CHECK_MAGIC(stream, STREAM_MAGIC);
    if (stream->call == NULL) {
        backoff_reset(&stream->backoff);
        timer_set(stream->timer, backoff_next(&stream->backoff));
    }
}
