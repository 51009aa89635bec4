/*
 * An inquiry is one probe's question and who waits for it. Done, it is kept while its answer is
 * fresh and used anew when the same question comes later; others that are done and stale go when a
 * new one is made. It holds copies of what it needs of the configuration: a reload ends none.
 */
#include "control/app_probes.h"

#include <string.h>
#include <sys/queue.h>

#include "base/bytebuf.h"
#include "base/clock.h"
#include "base/memory.h"
#include "config/address.h"
#include "config/config.h"
#include "config/http_url.h"
#include "net/grpc_health.h"
#include "net/http_probe.h"
#include "net/http_server.h"

enum { STATUS_BUSY = 503 };
_Static_assert((int)CONFIG_HEALTH_SERVICE_MAX == (int)GRPC_HEALTH_SERVICE_MAX,
               "what the file may say can be asked");

enum question_kind { QUESTION_GET, QUESTION_CONNECT, QUESTION_GRPC };

struct waiter {
    TAILQ_ENTRY(waiter) link;
    struct inquiry *inquiry;
    struct http_call *call;
};

TAILQ_HEAD(waiter_list, waiter);

struct inquiry {
    TAILQ_ENTRY(inquiry) link;
    enum question_kind kind;
    char *question; /* `get`, `connect` or `grpc` as written */
    char *service;  /* of `grpc`; else "" */
    uint64_t timeout_ms;
    struct http_probe *probe;   /* of `get` and `connect`, while it is under way */
    struct grpc_health *health; /* of `grpc`, likewise */
    struct waiter_list waiters;
    uint64_t done_ms;
    int status;
    const char *why;
};

TAILQ_HEAD(inquiry_list, inquiry);

struct app_probes {
    struct loop *loop;
    struct inquiry_list inquiries;
    size_t count;
};

struct app_probes *app_probes_new(struct loop *loop)
{
    struct app_probes *probes = mem_alloc(sizeof(*probes));
    probes->loop = loop;
    TAILQ_INIT(&probes->inquiries);
    return probes;
}

static void drop(struct app_probes *probes, struct inquiry *inquiry)
{
    struct waiter *waiter = NULL;
    while ((waiter = TAILQ_FIRST(&inquiry->waiters)) != NULL) {
        TAILQ_REMOVE(&inquiry->waiters, waiter, link);
        http_call_refuse(waiter->call, STATUS_BUSY, "the process is stopping");
        mem_free(waiter);
    }
    TAILQ_REMOVE(&probes->inquiries, inquiry, link);
    probes->count--;
    http_probe_free(inquiry->probe);
    grpc_health_free(inquiry->health);
    mem_free(inquiry->question);
    mem_free(inquiry->service);
    mem_free(inquiry);
}

void app_probes_free(struct app_probes *probes)
{
    if (probes == NULL) {
        return;
    }
    struct inquiry *inquiry = NULL;
    while ((inquiry = TAILQ_FIRST(&probes->inquiries)) != NULL) {
        drop(probes, inquiry);
    }
    mem_free(probes);
}

/* --- answers --------------------------------------------------------------------------------- */

static void tell(const struct inquiry *inquiry, struct http_call *call)
{
    struct bytebuf body = {0};
    if (inquiry->why != NULL && (!bytebuf_append(&body, inquiry->why, strlen(inquiry->why)) ||
                                 !bytebuf_append(&body, "\n", 1))) {
        bytebuf_clear(&body); /* the status alone then */
    }
    const struct http_answer answer = {
        .status = inquiry->status, .content_type = "text/plain; charset=utf-8", .body = &body};
    http_call_answer(call, &answer);
}

static void on_done(void *arg, int status, const char *why)
{
    struct inquiry *inquiry = arg;
    struct waiter *waiter = NULL;
    inquiry->probe = NULL;
    inquiry->health = NULL;
    inquiry->done_ms = clock_mono_ms();
    inquiry->status = status;
    inquiry->why = why;
    while ((waiter = TAILQ_FIRST(&inquiry->waiters)) != NULL) {
        TAILQ_REMOVE(&inquiry->waiters, waiter, link);
        tell(inquiry, waiter->call);
        mem_free(waiter);
    }
}

/* The question goes on: its answer is good for who asks next. */
static void on_gone(void *arg)
{
    struct waiter *waiter = arg;
    TAILQ_REMOVE(&waiter->inquiry->waiters, waiter, link);
    mem_free(waiter);
}

static void wait_for(struct inquiry *inquiry, struct http_call *call)
{
    struct waiter *waiter = mem_try_alloc(sizeof(*waiter));
    if (waiter == NULL) {
        http_call_refuse(call, STATUS_BUSY, "memory is out");
        return;
    }
    waiter->inquiry = inquiry;
    waiter->call = call;
    TAILQ_INSERT_TAIL(&inquiry->waiters, waiter, link);
    http_call_on_gone(call, on_gone, waiter);
}

/* --- questions ------------------------------------------------------------------------------- */

static bool is_done(const struct inquiry *inquiry)
{
    return inquiry->probe == NULL && inquiry->health == NULL;
}

static bool is_fresh(const struct inquiry *inquiry)
{
    return clock_mono_ms() - inquiry->done_ms < APP_PROBE_FRESH_MS;
}

static void drop_stale(struct app_probes *probes)
{
    struct inquiry *next = NULL;
    for (struct inquiry *i = TAILQ_FIRST(&probes->inquiries); i != NULL; i = next) {
        next = TAILQ_NEXT(i, link);
        if (is_done(i) && !is_fresh(i)) {
            drop(probes, i);
        }
    }
}

static enum question_kind kind_of(const struct config_app_probe *config)
{
    if (config->get.text != NULL) {
        return QUESTION_GET;
    }
    return config->grpc.text.text != NULL ? QUESTION_GRPC : QUESTION_CONNECT;
}

static const char *question_of(const struct config_app_probe *config)
{
    switch (kind_of(config)) {
    case QUESTION_GET:
        return config->get.text;
    case QUESTION_GRPC:
        return config->grpc.text.text;
    case QUESTION_CONNECT:
        break;
    }
    return config->connect.text.text;
}

static const char *service_of(const struct config_app_probe *config)
{
    return config->service.text != NULL ? config->service.text : "";
}

/* Two kinds may have the same address. */
static bool is_same(const struct inquiry *inquiry, const struct config_app_probe *config)
{
    return inquiry->kind == kind_of(config) && inquiry->timeout_ms == config->timeout_ms &&
           strcmp(inquiry->question, question_of(config)) == 0 &&
           strcmp(inquiry->service, service_of(config)) == 0;
}

static struct inquiry *find(struct app_probes *probes, const struct config_app_probe *config)
{
    struct inquiry *inquiry = NULL;
    TAILQ_FOREACH (inquiry, &probes->inquiries, link) {
        if (is_same(inquiry, config)) {
            return inquiry;
        }
    }
    return NULL;
}

static struct inquiry *add(struct app_probes *probes, const struct config_app_probe *config)
{
    drop_stale(probes);
    if (probes->count == APP_PROBES_AT_ONCE) {
        return NULL;
    }
    struct inquiry *inquiry = mem_alloc(sizeof(*inquiry));
    inquiry->kind = kind_of(config);
    inquiry->question = mem_strdup(question_of(config));
    inquiry->service = mem_strdup(service_of(config));
    inquiry->timeout_ms = config->timeout_ms;
    TAILQ_INIT(&inquiry->waiters);
    TAILQ_INSERT_TAIL(&probes->inquiries, inquiry, link);
    probes->count++;
    return inquiry;
}

static void ask_health(struct app_probes *probes, struct inquiry *inquiry,
                       const struct config_app_probe *config)
{
    struct netaddr addr;
    if (address_to_netaddr(&config->grpc, &addr)) { /* validated: it is one */
        inquiry->health = grpc_health_start(probes->loop, &addr, inquiry->service,
                                            inquiry->timeout_ms, on_done, inquiry);
    }
}

static void ask_http(struct app_probes *probes, struct inquiry *inquiry,
                     const struct config_app_probe *config)
{
    struct http_url url = {.target = ""};
    struct errbuf err;
    bool gets = inquiry->kind == QUESTION_GET;
    bool known = gets ? http_url_parse(config->get.text, &url, &err)
                      : address_to_netaddr(&config->connect, &url.addr);
    if (!known) {
        return; /* validated: it is */
    }
    const char *target = url.target[0] == '\0' ? "/" : url.target;
    inquiry->probe = http_probe_start(probes->loop, &url.addr, gets ? target : NULL,
                                      inquiry->timeout_ms, on_done, inquiry);
}

/* False: it can't be asked now. */
static bool ask(struct app_probes *probes, struct inquiry *inquiry,
                const struct config_app_probe *config)
{
    if (inquiry->kind == QUESTION_GRPC) {
        ask_health(probes, inquiry, config);
    } else {
        ask_http(probes, inquiry, config);
    }
    return !is_done(inquiry);
}

void app_probes_answer(struct app_probes *probes, const struct config_app_probe *config,
                       struct http_call *call)
{
    struct inquiry *inquiry = find(probes, config);
    if (inquiry != NULL && is_done(inquiry) && is_fresh(inquiry)) {
        tell(inquiry, call);
        return;
    }
    if (inquiry == NULL) {
        inquiry = add(probes, config);
    }
    if (inquiry == NULL) {
        http_call_refuse(call, STATUS_BUSY, "too many questions are under way");
    } else if (is_done(inquiry) && !ask(probes, inquiry, config)) {
        http_call_refuse(call, STATUS_BUSY, "memory or descriptors are out");
    } else {
        wait_for(inquiry, call);
    }
}
