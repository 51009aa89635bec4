/*
 * proxy_test: what the tests of proxy/ share: a real worker with listening sockets, its snapshot
 * made from a text, run in the test's own thread; its access log as a file; peers on its loop.
 */
#ifndef BULKHEAD_TESTS_UNIT_PROXY_PROXY_TEST_H
#define BULKHEAD_TESTS_UNIT_PROXY_PROXY_TEST_H

#include "unit/tls/tls_test.h"

#include <dirent.h>

#include "base/clock.h"
#include "policy/policy.h"
#include "proxy/accepting.h"
#include "proxy/limits.h"
#include "proxy/session.h"
#include "proxy/snapshot.h"
#include "proxy/survey.h"
#include "proxy/worker.h"
#include "telemetry/metrics.h"

#define ALLOW_PEER "rules: [{name: peers, from: " PEER_ID ", to: all}]\n"

enum { SITE_LISTENERS = 2, FORWARD_SIZE = NETADDR_TEXT_SIZE + 16 };

struct site {
    struct world world; /* its loop and thread are the worker's */
    struct limits limits;
    struct snapshot *snapshot;
    struct metrics *metrics;
    struct worker *worker;
    struct loop *control_loop;
    struct mailbox *control;
    struct listen_sockets *sockets[SITE_LISTENERS];
    struct log_writer *log_writer;
    char dir[32];
    char access[64];
    char lines[64 * 1024]; /* of the access log, as last read */
    size_t wanted_lines;
    unsigned said_not_accepting;
    unsigned said_idle;
    unsigned said_in_force;
    struct swap_result swapped; /* by the last swap */
    unsigned said_queried;
    uint64_t matched; /* by the last query */
    bool query_failed;
    struct session_survey *survey; /* of it; NULL: none */
    size_t descriptors;            /* open when nothing is going on */
};

static inline size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

/* ---- making ---- */

static inline void site_on_report(void *arg, struct mailbox_message *node)
{
    struct site *site = arg;
    site->said_not_accepting += node->kind == WORKER_SAYS_NOT_ACCEPTING;
    site->said_idle += node->kind == WORKER_SAYS_IDLE;
    if (node->kind == WORKER_SAYS_IN_FORCE) {
        struct worker_report *report = (struct worker_report *)(void *)node;
        site->said_in_force++;
        site->swapped = report->swap;
        snapshot_unref(report->former);
    }
    if (node->kind == WORKER_SAYS_QUERIED) {
        struct worker_report *report = (struct worker_report *)(void *)node;
        site->said_queried++;
        site->matched = report->matched;
        site->query_failed = report->failed;
        survey_free(site->survey);
        site->survey = report->survey;
    }
    mem_free(node);
}

/* text: the sections from `listeners` on. former: the setup that it follows, or NULL. */
static inline struct snapshot *site_compose(struct site *site, const char *text,
                                            struct credentials *credentials, uint64_t generation,
                                            const struct setup *former)
{
    char all[4096];
    int len = snprintf(all, sizeof(all),
                       "version: 1\n"
                       "identity: {files: {certificate: /none, private_key: /none}}\n"
                       "trust: {" DOMAIN ": {bundle: /none}}\n"
                       "log: {level: error}\n"
                       "%s",
                       text);
    assert_true(len > 0 && (size_t)len < sizeof(all));
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_parse("test", all, (size_t)len, NULL, &diags);
    struct policy *policy = config != NULL ? policy_load(config, &diags) : NULL;
    const struct setup_parts parts = {.crypto = site->world.crypto};
    struct setup *setup = NULL;
    if (policy != NULL) {
        setup = setup_build(config, policy, former, &parts, &diags);
    }
    for (size_t i = 0; setup == NULL && i < diags.count; i++) {
        (void)fprintf(stderr, "%s\n", diags.items[i].message);
    }
    assert_non_null(setup);
    struct quarantine *nobody = quarantine_build(NULL, 0);
    struct snapshot *snapshot = snapshot_new(setup, credentials, nobody, generation);
    quarantine_unref(nobody);
    setup_unref(setup);
    diag_list_fini(&diags);
    return snapshot;
}

static inline void site_make_snapshot(struct site *site, const char *text)
{
    struct credentials *credentials =
        make_credentials(site->world.crypto, &site->world.ours, &site->world.anchor, 1);
    site->snapshot = site_compose(site, text, credentials, 1, NULL);
    credentials_unref(credentials);
}

/* Before the worker hears of the setup, as control does it. */
static inline void site_follow_metrics(struct site *site, const struct setup *setup)
{
    struct metrics_listener listeners[SITE_LISTENERS];
    size_t count = setup->config->listener_count;
    assert_true(count <= SITE_LISTENERS);
    for (size_t i = 0; i < count; i++) {
        const struct setup_listener *listener = &setup->listeners[i];
        listeners[i] = (struct metrics_listener){
            .name = listener->config->name.text,
            .slot = listener->slot,
            .has_side = {listener->server != NULL, listener->client != NULL},
        };
    }
    metrics_follow(site->metrics, listeners, count);
}

static inline void site_make_worker(struct site *site)
{
    struct errbuf err;
    const struct listen_options none = {.owner = (uid_t)-1, .group = (gid_t)-1};
    size_t count = site->snapshot->setup->config->listener_count;
    assert_true(count <= SITE_LISTENERS);
    for (size_t i = 0; i < count; i++) {
        site->sockets[i] =
            listen_sockets_open(&site->snapshot->setup->listeners[i].accept, 1, &none, &err);
        assert_non_null(site->sockets[i]);
    }
    site->log_writer = log_writer_start(site->access, 1, &err);
    assert_non_null(site->log_writer);
    site->control_loop = new_loop();
    site->control = mailbox_new(site->control_loop, site_on_report, site, &err);
    assert_non_null(site->control);
    limits_init(&site->limits);
    site->limits.max_sessions = 100;
    site->limits.max_descriptors = 200;
    site->metrics = metrics_new(1, SETUP_SLOTS);
    site_follow_metrics(site, site->snapshot->setup);
    const struct worker_options options = {
        .count = 1,
        .crypto = site->world.crypto,
        .snapshot = site->snapshot,
        .limits = &site->limits,
        .metrics = site->metrics,
        .ring = log_writer_ring(site->log_writer, 0),
        .control = site->control,
        .sockets = site->sockets,
    };
    site->worker = worker_new(&options, &err);
    if (site->worker == NULL) {
        fail_msg("%s", err.text);
    }
    site->world.loop = site->worker->loop;
    site->world.thread = site->worker->tls;
}

static inline struct site *site_new(const char *text)
{
    struct site *site = mem_alloc(sizeof(*site));
    struct world *world = &site->world;
    struct errbuf err;
    world->crypto = crypto_new(&err);
    assert_non_null(world->crypto);
    world->anchor = make_identity(NULL, "spiffe://" DOMAIN, true, -HOUR, HOUR);
    world->ours = make_identity(&world->anchor, OURS_ID, false, -HOUR, HOUR);
    world->peer = make_identity(&world->anchor, PEER_ID, false, -HOUR, HOUR);
    (void)snprintf(site->dir, sizeof(site->dir), "/tmp/bulkhead-test-XXXXXX");
    assert_non_null(mkdtemp(site->dir));
    (void)snprintf(site->access, sizeof(site->access), "%s/access", site->dir);
    site_make_snapshot(site, text);
    site_make_worker(site);
    site->descriptors = open_descriptors();
    return site;
}

/* ---- looking ---- */

static inline struct session *site_session(const struct site *site)
{
    return TAILQ_FIRST(&site->worker->sessions);
}

static inline bool is_relaying(void *arg)
{
    const struct session *session = site_session(arg);
    return session != NULL && session->exchange.state == EXCHANGE_RELAY;
}

static inline bool site_has_no_handshakes(const struct site *site)
{
    return accepting_handshake_count(site->worker->accepting) == 0;
}

static inline size_t site_read_lines(struct site *site)
{
    int fd = open(site->access, O_RDONLY | O_CLOEXEC);
    assert_return_code(fd, errno);
    ssize_t got = read(fd, site->lines, sizeof(site->lines) - 1);
    assert_return_code(got, errno);
    (void)close(fd);
    site->lines[got] = '\0';
    size_t count = 0;
    for (ssize_t i = 0; i < got; i++) {
        count += site->lines[i] == '\n';
    }
    return count;
}

static inline bool site_has_lines(void *arg)
{
    struct site *site = arg;
    return site_read_lines(site) >= site->wanted_lines;
}

static inline bool site_has_session(void *arg)
{
    return site_session(arg) != NULL;
}

static inline bool site_has_none(void *arg)
{
    return site_session(arg) == NULL;
}

/* Waits for the only line of the access log so far, and checks that it has the text. */
static inline void assert_line_has(struct site *site, const char *text)
{
    site->wanted_lines = 1;
    run_until(&site->world, site_has_lines, site);
    if (strstr(site->lines, text) == NULL) {
        fail_msg("no %s in %s", text, site->lines);
    }
}

static inline void assert_line_lacks(struct site *site, const char *text)
{
    if (strstr(site->lines, text) != NULL) {
        fail_msg("%s in %s", text, site->lines);
    }
}

static inline uint64_t site_ended(const struct site *site, enum reason reason)
{
    return metrics_total(site->metrics, METRIC_CELL_SESSIONS_ENDED + (size_t)reason);
}

static inline bool site_has_ended(void *arg)
{
    uint64_t ended = 0;
    for (int i = 0; i < REASON_COUNT; i++) {
        ended += site_ended(arg, (enum reason)i);
    }
    return ended > 0 && site_has_none(arg);
}

/* One session has ended, for this reason, and its line says so (with "deny" or "close"). */
static inline void assert_ended(struct site *site, enum reason reason, const char *event)
{
    char text[128];
    run_until(&site->world, site_has_ended, site);
    for (int i = 0; i < REASON_COUNT; i++) {
        uint64_t ended = site_ended(site, (enum reason)i);
        if (ended != (i == (int)reason)) {
            fail_msg("%llu sessions ended by %s", (unsigned long long)ended,
                     reason_label((enum reason)i));
        }
    }
    (void)snprintf(text, sizeof(text), "\"reason\":\"%s\"", reason_label(reason));
    assert_line_has(site, text);
    (void)snprintf(text, sizeof(text), "\"event\":\"%s\"", event);
    assert_line_has(site, text);
}

static inline bool site_is_quiet(void *arg)
{
    struct site *site = arg;
    return site->limits.descriptors == 0 && open_descriptors() == site->descriptors;
}

/* ---- the end: every count is back at nothing, every descriptor closed ---- */

static inline void site_assert_quiet(struct site *site)
{
    run_until(&site->world, site_has_none, site);
    run_until(&site->world, site_is_quiet, site);
    assert_int_equal(site->worker->session_count, 0);
    assert_int_equal(metrics_total(site->metrics, METRIC_CELL_CONNECTIONS_ACTIVE), 0);
    assert_int_equal(metrics_total(site->metrics, METRIC_CELL_CONNECTIONS_HALF_OPEN), 0);
    assert_true(site_has_no_handshakes(site));
    assert_int_equal(site->limits.process.sessions, 0);
    assert_int_equal(site->limits.process.handshakes, 0);
    assert_int_equal(site->limits.process.buffered_bytes, 0);
    for (size_t i = 0; i < SITE_LISTENERS; i++) {
        assert_int_equal(site->limits.listeners[i].sessions, 0);
        assert_int_equal(site->limits.listeners[i].handshakes, 0);
        assert_int_equal(site->limits.listeners[i].buffered_bytes, 0);
    }
}

/* What the test opened since site_new is closed by now. */
static inline void site_free(struct site *site)
{
    site_assert_quiet(site);
    worker_free(site->worker);
    mailbox_free(site->control);
    loop_free(site->control_loop);
    assert_int_equal(log_writer_stop(site->log_writer, 5000), 0);
    for (size_t i = 0; i < SITE_LISTENERS; i++) {
        listen_sockets_close(site->sockets[i]);
    }
    limits_fini(&site->limits);
    metrics_free(site->metrics);
    snapshot_unref(site->snapshot);
    survey_free(site->survey);
    (void)unlink(site->access);
    (void)rmdir(site->dir);
    free_identity(&site->world.anchor);
    free_identity(&site->world.ours);
    free_identity(&site->world.peer);
    crypto_free(site->world.crypto);
    mem_free(site);
}

/* ---- who connects, and who is connected to ---- */

/* A connected, non-blocking socket to a listener of the site. */
static inline int site_dial(const struct site *site, size_t listener)
{
    const struct netaddr *addr = listen_sockets_address(site->sockets[listener]);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fd, errno);
    assert_return_code(connect(fd, &addr->u.sa, addr->len), errno);
    set_nonblocking(fd);
    return fd;
}

/* Where sessions are forwarded to: a listening socket of the test. */
struct backend {
    int listening;
    int fd; /* the connection accepted last, or -1 */
    struct netaddr addr;
    char host_port[NETADDR_TEXT_SIZE];
};

static inline void backend_open(struct backend *backend)
{
    backend->listening = listen_on("127.0.0.1", 8, &backend->addr);
    set_nonblocking(backend->listening);
    backend->fd = -1;
    (void)netaddr_format(&backend->addr, backend->host_port);
}

static inline bool backend_accepted(void *arg)
{
    struct backend *backend = arg;
    if (backend->fd < 0) {
        backend->fd = accept4(backend->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    return backend->fd >= 0;
}

static inline void backend_hang_up(struct backend *backend)
{
    if (backend->fd >= 0) {
        (void)close(backend->fd);
    }
    backend->fd = -1;
}

/* A listening socket whose queue is full: every further SYN is dropped, so that connect() hangs. */
enum { FILLERS = 8 };
struct hanging {
    int listening;
    int fillers[FILLERS];
    char host_port[NETADDR_TEXT_SIZE];
};

static inline void hanging_open(struct hanging *hanging)
{
    struct netaddr addr;
    hanging->listening = listen_on("127.0.0.1", 0, &addr);
    (void)netaddr_format(&addr, hanging->host_port);
    for (size_t i = 0; i < FILLERS; i++) {
        hanging->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_return_code(hanging->fillers[i], errno);
        (void)connect(hanging->fillers[i], &addr.u.sa, addr.len);
    }
}

static inline void hanging_close(struct hanging *hanging)
{
    for (size_t i = 0; i < FILLERS; i++) {
        (void)close(hanging->fillers[i]);
    }
    (void)close(hanging->listening);
}

/* Closes with a reset. */
static inline void reset_fd(int fd)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_return_code(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), errno);
    (void)close(fd);
}

/* How the stream of a socket ended: 0 in order, else the errno. Bytes before it are thrown away. */
struct fd_end {
    int fd;
    int error;
};

static inline bool fd_has_ended(void *arg)
{
    struct fd_end *end = arg;
    char bytes[4096];
    ssize_t got;
    while ((got = recv(end->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
    }
    end->error = got == 0 ? 0 : errno;
    return got == 0 || errno != EAGAIN;
}

static inline int wait_for_end(struct site *site, int fd)
{
    struct fd_end end = {.fd = fd};
    run_until(&site->world, fd_has_ended, &end);
    return end.error;
}

#endif
