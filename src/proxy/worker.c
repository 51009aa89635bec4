/*
 * A worker's thread, the life of its parts, and its answers to control.
 */
#include "proxy/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/plain_conn.h"
#include "proxy/accepting.h"
#include "proxy/access_lines.h"
#include "proxy/session_query.h"
#include "proxy/snapshot.h"
#include "proxy/survey.h"
#include "proxy/swap.h"
#include "telemetry/metrics.h"
#include "tls/tls_conn.h"

enum { PEER_CHAINS_PER_WORKER = 16384 };

void worker_report(struct worker *worker, enum worker_says what, struct worker_report *report)
{
    report->node.kind = (int)what;
    report->worker = worker->index;
    mailbox_post(worker->control, &report->node);
}

/* Once each, without asking for memory: a worker must not fail at that. */
static void say(struct worker *worker, enum worker_says what)
{
    struct worker_report *report = worker->to_say[what];
    ASSERT(report != NULL);
    worker->to_say[what] = NULL;
    worker_report(worker, what, report);
}

void worker_access_line(struct worker *worker, const char *line, size_t len)
{
    log_ring_write(worker->ring, LOG_CHANNEL_ACCESS, line, len);
}

void worker_session_ended(struct worker *worker)
{
    ASSERT(worker->session_count > 0);
    worker->session_count--;
    if (worker->draining && worker->session_count == 0) {
        say(worker, WORKER_SAYS_IDLE);
    }
}

static void stop_accepting(struct worker *worker)
{
    accepting_stop(worker->accepting);
    worker->draining = true;
    say(worker, WORKER_SAYS_NOT_ACCEPTING);
    if (worker->session_count == 0) {
        say(worker, WORKER_SAYS_IDLE);
    }
}

static void cut(struct worker *worker, enum reason reason)
{
    struct session *session;
    while ((session = TAILQ_FIRST(&worker->sessions)) != NULL) {
        session_end(session, reason, NULL);
    }
}

static void take_snapshot(struct worker *worker, struct worker_message *message)
{
    swap_start(worker->swap, message->snapshot);
    message->snapshot = NULL;
    if (message->rule_hits != NULL) {
        worker->rule_hits = message->rule_hits;
    }
    if (message->sockets != NULL && !accepting_follow(worker->accepting, message->sockets)) {
        log_begin(&worker->log, LOG_ERROR, "accept_failed");
        log_str(&worker->log, "error", "memory is out: a listener does not accept here");
        log_end(&worker->log);
    }
    if (message->reread_resolver) {
        struct errbuf err;
        if (resolver_rebuild(worker->resolver, &err) != 0) {
            log_begin(&worker->log, LOG_WARN, "resolver_kept");
            log_str(&worker->log, "error", err.text);
            log_end(&worker->log);
        }
    }
}

static void on_order(void *arg, struct mailbox_message *node)
{
    struct worker *worker = arg;
    struct worker_message *message = (struct worker_message *)(void *)node;
    enum worker_order order = (enum worker_order)node->kind;
    enum reason reason = message->reason;
    if (order <= WORKER_EXIT) {
        /* From here on control may give it again, and then this message is no longer ours. */
        atomic_store_explicit(&worker->orders[order].posted, false, memory_order_release);
    }
    switch (order) {
    case WORKER_STOP_ACCEPTING:
        if (!worker->draining) {
            stop_accepting(worker);
        }
        break;
    case WORKER_CUT:
        cut(worker, reason);
        break;
    case WORKER_SWAP:
        take_snapshot(worker, message);
        mem_free(message);
        break;
    case WORKER_SURVEY:
        survey_start(worker, message->snapshot);
        mem_free(message);
        break;
    case WORKER_QUERY:
        session_query_start(worker, message->query);
        mem_free(message);
        break;
    case WORKER_CLOCK_SET:
        expiry_clock_set(worker->expiry);
        break;
    case WORKER_BEAT:
        break;
    case WORKER_EXIT:
        loop_stop(worker->loop);
        break;
    }
}

bool worker_has_order(const struct worker *worker, enum worker_order order)
{
    ASSERT(order <= WORKER_EXIT);
    return atomic_load_explicit(&worker->orders[order].posted, memory_order_acquire);
}

void worker_order(struct worker *worker, enum worker_order order, enum reason reason)
{
    ASSERT(order <= WORKER_EXIT);
    struct worker_plain_order *plain = &worker->orders[order];
    if (atomic_exchange_explicit(&plain->posted, true, memory_order_acquire)) {
        return;
    }
    plain->message.node.kind = (int)order;
    plain->message.reason = reason;
    mailbox_post(worker->mailbox, &plain->message.node);
}

void worker_swap(struct worker *worker, const struct worker_next *next)
{
    struct worker_message *message = mem_alloc(sizeof(*message));
    message->node.kind = WORKER_SWAP;
    message->snapshot = snapshot_ref(next->snapshot);
    message->sockets = next->sockets;
    message->rule_hits = next->rule_hits;
    message->reread_resolver = next->reread_resolver;
    mailbox_post(worker->mailbox, &message->node);
}

void worker_survey(struct worker *worker, struct snapshot *snapshot)
{
    struct worker_message *message = mem_alloc(sizeof(*message));
    message->node.kind = WORKER_SURVEY;
    message->snapshot = snapshot_ref(snapshot);
    mailbox_post(worker->mailbox, &message->node);
}

void worker_query(struct worker *worker, const struct session_query *query)
{
    struct worker_message *message = mem_alloc(sizeof(*message));
    message->node.kind = WORKER_QUERY;
    message->query = query;
    mailbox_post(worker->mailbox, &message->node);
}

static int make_parts(struct worker *worker, const struct worker_options *options,
                      struct errbuf *err)
{
    worker->loop = loop_new(err);
    if (worker->loop == NULL) {
        return -1;
    }
    worker->mailbox = mailbox_new(worker->loop, on_order, worker, err);
    if (worker->mailbox == NULL) {
        return -1;
    }
    worker->resolver = resolver_new(worker->loop, err);
    if (worker->resolver == NULL) {
        return -1;
    }
    if (getrandom(&worker->unique_mark, sizeof(worker->unique_mark), 0) !=
        (ssize_t)sizeof(worker->unique_mark)) {
        errbuf_set_errno(err, "can't draw a random number");
        return -1;
    }
    worker->tls =
        tls_thread_new(options->crypto, PEER_CHAINS_PER_WORKER, &options->limits->descriptors);
    worker->plain = plain_thread_new();
    worker->accepting = accepting_new(worker);
    worker->expiry = expiry_new(worker->loop);
    worker->swap = swap_new(worker);
    worker->access_lines = access_lines_new(worker);
    if (worker->access_lines == NULL || worker->tls == NULL || worker->plain == NULL ||
        worker->accepting == NULL || worker->expiry == NULL || worker->swap == NULL) {
        errbuf_set(err, "memory is out");
        return -1;
    }
    tls_thread_set_credentials(worker->tls, worker->snapshot->credentials);
    return 0;
}

struct worker *worker_new(const struct worker_options *options, struct errbuf *err)
{
    struct worker *worker = mem_alloc(sizeof(*worker));
    worker->index = options->index;
    worker->control = options->control;
    worker->ring = options->ring;
    worker->limits = options->limits;
    worker->rule_hits = options->rule_hits;
    worker->metrics = metrics_blocks(options->metrics, options->index);
    worker->peers = options->peers;
    worker->snapshot = snapshot_ref(options->snapshot);
    for (size_t i = 0; i < WORKER_SAYS_ONCE; i++) {
        worker->to_say[i] = mem_alloc(sizeof(*worker->to_say[i]));
    }
    worker->next_session = options->index + 1;
    worker->session_step = options->count;
    const struct config *config = options->snapshot->setup->config;
    log_init(&worker->log, (enum log_level)config->log.level, (enum log_format)config->log.format,
             log_ring_sink, worker->ring);
    log_follow_level(&worker->log, options->log_level);
    TAILQ_INIT(&worker->sessions);
    TAILQ_INIT(&worker->walks);
    if (make_parts(worker, options, err) != 0) {
        worker_free(worker);
        return NULL;
    }
    if (!accepting_follow(worker->accepting, options->sockets)) {
        errbuf_set(err, "memory is out");
        worker_free(worker);
        return NULL;
    }
    return worker;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    loop_run(worker->loop);
    return NULL;
}

int worker_start(struct worker *worker, struct errbuf *err)
{
    char name[16];
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (error != 0) {
        errno = error;
        errbuf_set_errno(err, "can't start worker %u", worker->index);
        return -1;
    }
    snprintf(name, sizeof(name), "worker-%u", worker->index);
    (void)pthread_setname_np(worker->thread, name); /* only for people who look at threads */
    return 0;
}

void worker_join(struct worker *worker)
{
    int error = pthread_join(worker->thread, NULL);
    ASSERT(error == 0);
}

void worker_free(struct worker *worker)
{
    cut(worker, REASON_STOPPED);
    access_lines_free(worker->access_lines);
    walk_abandon_all(worker);
    accepting_free(worker->accepting);
    swap_free(worker->swap);
    expiry_free(worker->expiry);
    resolver_free(worker->resolver);
    if (worker->tls != NULL) {
        tls_thread_free(worker->tls);
    }
    if (worker->mailbox != NULL) {
        mailbox_free(worker->mailbox);
    }
    if (worker->loop != NULL) {
        loop_free(worker->loop);
    }
    if (worker->plain != NULL) {
        plain_thread_free(worker->plain);
    }
    snapshot_unref(worker->snapshot);
    for (size_t i = 0; i < WORKER_SAYS_ONCE; i++) {
        mem_free(worker->to_say[i]);
    }
    mem_free(worker);
}
