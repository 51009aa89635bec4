/*
 * The state that a message says is only believed when the call has ended well behind it. One
 * deadline, ours, for all of it: grpc_call's own come after it.
 */
#include "net/grpc_health.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/protobuf.h"
#include "net/grpc_call.h"

enum { STATUS_OK = 200, STATUS_UNAVAILABLE = 503 };
/* A HealthCheckResponse has two bytes; what a later version may add has room. */
enum { ANSWER_MAX = 1024 };

struct grpc_health {
    struct grpc_call *call;
    struct timer *timer;
    enum grpc_health_state state;
    grpc_health_done_fn *done;
    void *arg;
};

/* --- the messages ---------------------------------------------------------------------------- */

size_t grpc_health_encode(const char *service, uint8_t out[GRPC_HEALTH_REQUEST_MAX])
{
    enum { TAG = 1 << 3 | PROTOBUF_BYTES, MORE = 0x80, PAYLOAD_BITS = 7 };
    size_t len = strlen(service);
    size_t used = 0;
    ASSERT(len <= GRPC_HEALTH_SERVICE_MAX);
    if (len == 0) {
        return 0; /* proto3: a default is not written */
    }
    out[used++] = TAG;
    if (len < MORE) {
        out[used++] = (uint8_t)len;
    } else {
        out[used++] = (uint8_t)(len | MORE);
        out[used++] = (uint8_t)(len >> PAYLOAD_BITS);
    }
    for (size_t i = 0; i < len; i++) {
        out[used++] = (uint8_t)service[i]; /* without its end */
    }
    return used;
}

enum grpc_health_state grpc_health_decode(const uint8_t *message, size_t len)
{
    enum { STATUS = 1 };
    enum grpc_health_state state = GRPC_HEALTH_UNKNOWN; /* proto3: the default is not written */
    struct protobuf_wire in = {.at = message, .left = len};
    while (in.left > 0) {
        struct protobuf_field field;
        struct errbuf err;
        if (protobuf_take(&in, &field, &err) != 0) {
            return GRPC_HEALTH_NO_STATE;
        }
        if (field.number != STATUS) {
            continue;
        }
        if (field.type != PROTOBUF_VARINT) {
            return GRPC_HEALTH_NO_STATE;
        }
        state = field.varint < GRPC_HEALTH_NO_STATE ? (enum grpc_health_state)field.varint
                                                    : GRPC_HEALTH_NO_STATE;
    }
    return state;
}

/* --- the end --------------------------------------------------------------------------------- */

void grpc_health_free(struct grpc_health *health)
{
    if (health != NULL) {
        grpc_call_cancel(health->call);
        timer_free(health->timer);
        mem_free(health);
    }
}

static void finish(struct grpc_health *health, const char *why)
{
    grpc_health_done_fn *done = health->done;
    void *arg = health->arg;
    grpc_health_free(health);
    done(arg, why == NULL ? STATUS_OK : STATUS_UNAVAILABLE, why);
}

static const char *why_of_state(enum grpc_health_state state)
{
    static const char *const sentences[GRPC_HEALTH_STATES] = {
        [GRPC_HEALTH_UNKNOWN] = "the application's gRPC health is UNKNOWN",
        [GRPC_HEALTH_SERVING] = NULL,
        [GRPC_HEALTH_NOT_SERVING] = "the application's gRPC health is NOT_SERVING",
        [GRPC_HEALTH_SERVICE_UNKNOWN] = "the application's gRPC health is SERVICE_UNKNOWN",
        [GRPC_HEALTH_NO_STATE] = "the application did not answer with a state of gRPC health",
    };
    return sentences[state];
}

static const char *why_of_end(const struct grpc_end *end)
{
    if (end->from_server && end->status == GRPC_NOT_FOUND) {
        return "the application does not know this service: gRPC status NotFound";
    }
    if (end->from_server && end->status == GRPC_UNIMPLEMENTED) {
        return "the application has no gRPC health: gRPC status Unimplemented";
    }
    if (end->from_server) {
        return "the application answered with a gRPC status other than OK";
    }
    return end->status == GRPC_UNAVAILABLE
               ? "the application could not be reached, or closed the connection"
               : "the application did not answer as gRPC health does";
}

/* --- the call -------------------------------------------------------------------------------- */

static void on_timeout(void *arg)
{
    finish(arg, "the application did not answer in time");
}

static void on_answer(void *arg, const uint8_t *message, size_t len)
{
    struct grpc_health *health = arg;
    health->state = grpc_health_decode(message, len);
}

static void on_end(void *arg, const struct grpc_end *end)
{
    struct grpc_health *health = arg;
    health->call = NULL;
    bool well = end->from_server && end->status == GRPC_OK;
    finish(health, well ? why_of_state(health->state) : why_of_end(end));
}

static struct grpc_call *start_call(struct grpc_health *health, struct loop *loop,
                                    const struct netaddr *addr, const char *service,
                                    uint64_t timeout_ms)
{
    static const struct grpc_call_handler handler = {.on_answer = on_answer, .on_end = on_end};
    uint8_t request[GRPC_HEALTH_REQUEST_MAX];
    uint64_t later_ms = timeout_ms + timeout_ms;
    const struct grpc_call_options options = {
        .address = *addr,
        .path = "/grpc.health.v1.Health/Check",
        .request = request,
        .request_len = grpc_health_encode(service, request),
        .answer_max = ANSWER_MAX,
        .unary = true,
        .connect_ms = later_ms,
        .answer_ms = later_ms,
        .ping_ms = later_ms,
        .ping_answer_ms = later_ms,
    };
    return grpc_call_start(loop, &options, &handler, health);
}

struct grpc_health *grpc_health_start(struct loop *loop, const struct netaddr *addr,
                                      const char *service, uint64_t timeout_ms,
                                      grpc_health_done_fn *done, void *arg)
{
    struct grpc_health *health = mem_try_alloc(sizeof(*health));
    if (health == NULL) {
        return NULL;
    }
    health->state = GRPC_HEALTH_NO_STATE;
    health->done = done;
    health->arg = arg;
    health->timer = timer_new(loop, on_timeout, health);
    health->call =
        health->timer == NULL ? NULL : start_call(health, loop, addr, service, timeout_ms);
    if (health->call == NULL) {
        grpc_health_free(health);
        return NULL;
    }
    timer_set(health->timer, timeout_ms);
    return health;
}
