/*
 * The main thread of `bulkhead run`.
 *
 *   start:  configuration → descriptors → log writer → sockets → workers → ready
 *   end:    control/drain.h
 *
 * Signals are blocked before any thread is made and unblocked here alone, so that no worker ever
 * runs a handler.
 */
#include "control/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin_sessions.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "control/activation.h"
#include "control/admin.h"
#include "control/drain.h"
#include "control/first_seen.h"
#include "control/log_level.h"
#include "control/material.h"
#include "control/open_door.h"
#include "control/own_expiry.h"
#include "control/probes.h"
#include "control/process.h"
#include "control/pulse.h"
#include "control/reload.h"
#include "control/rule_expiry.h"
#include "control/rule_totals.h"
#include "control/sockets.h"
#include "control/sources.h"
#include "control/systemd.h"
#include "control/watching.h"
#include "control/workload_material.h"
#include "control/workload_source.h"
#include "control_private.h"
#include "net/clock_watch.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "policy/policy.h"
#include "proxy/snapshot.h"
#include "proxy/survey.h"
#include "proxy/worker.h"
#include "reload_log.h"
#include "spiffe/crypto.h"
#include "spiffe/x509_svid.h"
#include "telemetry/log_writer.h"
#include "telemetry/metrics.h"
#include "telemetry/peer_table.h"
#include "tls/tls_session_store.h"

enum { LOG_FLUSH_MS = 3000 };

const struct config *control_config(const struct control *control)
{
    return control->snapshot->setup->config;
}

void control_order_all(struct control *control, enum worker_order order, enum reason reason)
{
    for (unsigned i = 0; i < control->running; i++) {
        worker_order(control->workers[i], order, reason);
    }
}

static void on_timer(void *arg)
{
    drain_on_timer(arg);
}

static void set_of_signals(sigset_t *set)
{
    static const int handled[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++) {
        sigaddset(set, handled[i]);
    }
}

static const char *signal_name(int signal_number)
{
    switch (signal_number) {
    case SIGTERM:
        return "SIGTERM";
    case SIGINT:
        return "SIGINT";
    case SIGQUIT:
        return "SIGQUIT";
    case SIGHUP:
        return "SIGHUP";
    case SIGUSR1:
        return "SIGUSR1";
    default:
        return "SIGUSR2";
    }
}

/* The logs' files are opened anew whatever becomes of the reload: whoever rotates them waits. */
static void on_reload_signal(struct control *control, int signal_number)
{
    log_writer_reopen(control->log_writer);
    const struct reload_request request = {
        .kind = RELOAD_APPLY, .scope = SOURCES_ALL, .trigger = signal_name(signal_number)};
    reload_start(control->reload, &request);
}

/* It would end a process that does not handle it. */
static void on_other_signal(struct control *control, int signal_number)
{
    log_begin(&control->log, LOG_INFO, "signal_ignored");
    log_str(&control->log, "signal", signal_name(signal_number));
    log_end(&control->log);
}

static void on_signal(void *arg, int signal_number)
{
    switch (signal_number) {
    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
        drain_on_signal(arg, signal_number, signal_name(signal_number));
        break;
    case SIGHUP:
    case SIGUSR1:
        on_reload_signal(arg, signal_number);
        break;
    default:
        on_other_signal(arg, signal_number);
        break;
    }
}

static void log_ready_once(struct control *control);

void control_material_changed(struct control *control)
{
    control_set_session_bound(control);
    log_level_follow(control);
    watching_update(control->watching);
    own_expiry_look(control->own_expiry);
    rule_expiry_look(control->rule_expiry);
    workload_source_in_force(control->workload);
    log_ready_once(control);
}

static void on_clock_set(void *arg)
{
    struct control *control = arg;
    log_begin(&control->log, LOG_WARN, "clock_set");
    log_str(&control->log, "error", "the wall clock was set; all expiries are looked at anew");
    log_end(&control->log);
    own_expiry_look(control->own_expiry);
    rule_expiry_look(control->rule_expiry);
    control_order_all(control, WORKER_CLOCK_SET, REASON_NONE);
}

/* At the end nobody asks any more what a report answers. */
static void take_report(struct control *control, struct worker_report *report)
{
    if (control->state == CONTROL_STOPPING) {
        snapshot_unref(report->former);
        survey_free(report->survey);
        return;
    }
    if (report->node.kind == WORKER_SAYS_QUERIED) {
        admin_sessions_on_report(control->admin_sessions, report);
    } else {
        reload_on_report(control->reload, report);
    }
}

static void on_report(void *arg, struct mailbox_message *node)
{
    struct control *control = arg;
    switch ((enum worker_says)node->kind) {
    case WORKER_SAYS_NOT_ACCEPTING:
        control->not_accepting++;
        break;
    case WORKER_SAYS_IDLE:
        control->idle++;
        if (control->idle == control->running) {
            control->state = CONTROL_STOPPING;
            loop_stop(control->loop);
        }
        break;
    case WORKER_SAYS_IN_FORCE:
    case WORKER_SAYS_SURVEYED:
    case WORKER_SAYS_QUERIED:
        take_report(control, (struct worker_report *)(void *)node);
        break;
    }
    mem_free(node);
}

/* Until the log writer runs, and after it. */
static void log_to_stderr(struct control *control)
{
    const struct config *config = control_config(control);
    log_init(&control->log, (enum log_level)config->log.level, (enum log_format)config->log.format,
             log_sink_fd, &control->stderr_fd);
}

/* 0, or the exit code. */
static int load(struct control *control, const char *config_path,
                const struct config_options *options)
{
    struct diag_list diags;
    diag_list_init(&diags);
    static const struct tls_session_limits session_limits = {
        .max_sessions = TLS_SESSIONS_DEFAULT,
        .max_per_peer = TLS_SESSIONS_PER_PEER_DEFAULT,
        .max_age_s = TLS_SESSION_AGE_DEFAULT_S,
    };
    control->sessions = tls_session_store_new(&session_limits);
    control->sources = sources_new(config_path, options, control->sessions);
    bool loaded = sources_load(control->sources, &diags);
    if (loaded) {
        control->crypto = sources_crypto(control->sources);
        control->snapshot = material_compose(sources_in_force(control->sources), 1);
        log_to_stderr(control);
        control_log_warnings(control, &diags);
        control_log_crypto(control);
    } else {
        control_print_diags(&diags);
        fprintf(stderr, "bulkhead: not started: %zu error%s in the configuration\n",
                diags.error_count, diags.error_count == 1 ? "" : "s");
    }
    diag_list_fini(&diags);
    return control->snapshot == NULL ? 2 : 0;
}

/* 0, or the exit code. */
static int take_passed(struct control *control)
{
    struct errbuf err;
    control->activation = activation_new(&err);
    if (control->activation == NULL) {
        fprintf(stderr, "bulkhead: not started: %s\n", err.text);
        return 1;
    }
    return 0;
}

static int open_sockets(struct control *control, struct errbuf *err)
{
    control->sockets = socket_table_new(control->worker_count, control->activation);
    bool held = workload_material_address(control_config(control)) != NULL;
    if (held) {
        socket_table_hold(control->sockets);
    }
    control->start_sockets = socket_table_open(control->sockets, control->snapshot->setup, err);
    if (control->start_sockets == NULL ||
        (!held && activation_check_taken(control->activation, err) != 0)) {
        return -1;
    }
    socket_table_settle(control->sockets, control->snapshot->setup);
    return 0;
}

static int make_control_loop(struct control *control, struct errbuf *err)
{
    control->loop = loop_new(err);
    if (control->loop == NULL) {
        return -1;
    }
    control->mailbox = mailbox_new(control->loop, on_report, control, err);
    if (control->mailbox == NULL) {
        return -1;
    }
    control->timer = timer_new(control->loop, on_timer, control);
    if (control->timer == NULL) {
        errbuf_set(err, "memory is out");
        return -1;
    }
    sigset_t signals;
    set_of_signals(&signals);
    control->signals = signal_watch_new(control->loop, &signals, on_signal, control, err);
    return control->signals != NULL ? 0 : -1;
}

void control_follow_metrics(struct control *control, const struct setup *setup)
{
    size_t count = setup->config->listener_count;
    struct metrics_listener *listeners = mem_alloc_array(count, sizeof(*listeners));
    for (size_t i = 0; i < count; i++) {
        const struct setup_listener *listener = &setup->listeners[i];
        listeners[i] = (struct metrics_listener){
            .name = listener->config->name.text,
            .slot = listener->slot,
            .has_side = {[METRIC_DOWNSTREAM] = listener->server != NULL,
                         [METRIC_UPSTREAM] = listener->client != NULL},
        };
    }
    metrics_follow(control->metrics, listeners, count);
    mem_free(listeners);
}

static int make_workers(struct control *control, struct errbuf *err)
{
    control->metrics = metrics_new(control->worker_count, SETUP_SLOTS);
    control_follow_metrics(control, control->snapshot->setup);
    control->peers = peer_table_new(FIRST_SEEN_MAX);
    const struct config_string *file = &control_config(control)->first_seen_file;
    if (file->text != NULL) {
        control->first_seen = first_seen_start(control, file->text);
    }
    control->workers = mem_alloc_array(control->worker_count, sizeof(struct worker *));
    control->rule_totals = rule_totals_new(control->snapshot->setup, control->worker_count);
    for (unsigned i = 0; i < control->worker_count; i++) {
        struct worker_options options = {
            .index = i,
            .count = control->worker_count,
            .crypto = control->crypto,
            .snapshot = control->snapshot,
            .limits = &control->limits,
            .rule_hits = rule_totals_hits(control->rule_totals, i),
            .metrics = control->metrics,
            .peers = control->peers,
            .ring = log_writer_ring(control->log_writer, i + 1),
            .log_level = &control->log_level,
            .control = control->mailbox,
            .sockets = control->start_sockets,
        };
        control->workers[i] = worker_new(&options, err);
        if (control->workers[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

/* What is in use but for connections: a reload may have opened listening sockets. */
static uint64_t used_descriptors(const struct control *control)
{
    return control->descriptors_at_start + socket_table_descriptors(control->sockets);
}

void control_set_session_bound(struct control *control)
{
    uint64_t used = used_descriptors(control);
    uint64_t bound = limits_sessions_by_descriptors(control->descriptor_limit, used);
    uint64_t wanted = control_config(control)->limits.connections;
    if (wanted > bound) {
        log_begin(&control->log, LOG_WARN, "connections_limited");
        log_u64(&control->log, "limits_connections", wanted);
        log_u64(&control->log, "possible", bound);
        log_str(&control->log, "error", "RLIMIT_NOFILE allows no more; raise its hard limit");
        log_end(&control->log);
    }
    control->limits.max_descriptors = limits_descriptors(control->descriptor_limit, used);
    control->limits.max_sessions = wanted != 0 && wanted < bound ? wanted : bound;
}

/* How many sessions may be open at once, by descriptors and by limits.connections. */
static int measure_descriptors(struct control *control, struct errbuf *err)
{
    uint64_t used = process_open_descriptors() + probes_descriptors(control->probes);
    uint64_t sockets = socket_table_descriptors(control->sockets);
    control->descriptors_at_start = used > sockets ? used - sockets : 0;
    if (limits_sessions_by_descriptors(control->descriptor_limit, used) < 1) {
        errbuf_set(err,
                   "RLIMIT_NOFILE is %llu: %llu descriptors are in use, 32 are held in reserve, a "
                   "session takes 2: none is left; raise it to %llu at least",
                   (unsigned long long)control->descriptor_limit, (unsigned long long)used,
                   (unsigned long long)used + 34);
        return -1;
    }
    control_set_session_bound(control);
    return 0;
}

/* What follows the files and the clock while it runs. */
static int make_watchers(struct control *control, struct errbuf *err)
{
    control->reload = reload_new(control);
    reload_counts_init(&control->reloads, control->snapshot->generation);
    control->own_expiry = own_expiry_new(control);
    control->rule_expiry = rule_expiry_new(control);
    control->workload = workload_source_new(control);
    control->pulse = pulse_new(control);
    control->open_doors = open_doors_new(control);
    if (control->reload == NULL || control->own_expiry == NULL || control->rule_expiry == NULL ||
        control->workload == NULL || control->pulse == NULL || control->open_doors == NULL) {
        errbuf_set(err, "memory is out");
        return -1;
    }
    control->watching = watching_new(control, err);
    if (control->watching == NULL) {
        return -1;
    }
    control->clock_watch = clock_watch_new(control->loop, on_clock_set, control, err);
    if (control->clock_watch == NULL) {
        return -1;
    }
    return 0;
}

/* What others may ask it at, and how they may steer it. */
static int open_admin(struct control *control, struct errbuf *err)
{
    const struct config *config = control_config(control);
    if (config->admin.listen.scheme != CONFIG_SCHEME_NONE) {
        control->admin_sessions = admin_sessions_new(control);
        control->admin = admin_new(control, err);
        if (control->admin == NULL) {
            return -1;
        }
    }
    if (config->probes.listen.scheme != CONFIG_SCHEME_NONE) {
        control->probes = probes_new(control, err);
        if (control->probes == NULL) {
            return -1;
        }
    }
    return 0;
}

static int start_workers(struct control *control, struct errbuf *err)
{
    for (unsigned i = 0; i < control->worker_count; i++) {
        if (worker_start(control->workers[i], err) != 0) {
            return -1;
        }
        control->running++;
    }
    return 0;
}

/* Not while no listener is open, for want of an identity. */
static void log_ready_once(struct control *control)
{
    if (!control->said_ready && !socket_table_is_held(control->sockets)) {
        control->said_ready = true;
        control_log_ready(control);
        systemd_ready(control->systemd);
    }
}

static void log_start(struct control *control)
{
    size_t count = control_config(control)->listener_count;
    for (size_t i = 0; i < count && !socket_table_is_held(control->sockets); i++) {
        control_log_listening(control, i);
    }
    log_ready_once(control);
}

void control_give_up(struct control *control, const char *error)
{
    control_log_not_started(control, error);
    systemd_not_started(control->systemd, error);
    control->exit_code = 1;
    control->state = CONTROL_STOPPING;
    loop_stop(control->loop);
}

static int start_logging(struct control *control, struct errbuf *err)
{
    const struct config *config = control_config(control);
    control->log_writer =
        log_writer_start(config->access_log.to.text, control->worker_count + 1, err);
    if (control->log_writer == NULL) {
        errbuf_prefix(err, "access_log.to");
        return -1;
    }
    log_init(&control->log, (enum log_level)config->log.level, (enum log_format)config->log.format,
             log_ring_sink, log_writer_ring(control->log_writer, 0));
    log_level_start(control);
    return 0;
}

/* Everything between the configuration and "ready". */
static int start(struct control *control, struct errbuf *err)
{
    const struct config *config = control_config(control);
    control->worker_count =
        config->workers != 0 ? (unsigned)config->workers : process_usable_cpus();
    control->descriptor_limit = process_raise_descriptor_limit();
    limits_init(&control->limits);
    if (start_logging(control, err) != 0 || open_sockets(control, err) != 0 ||
        make_control_loop(control, err) != 0 || make_workers(control, err) != 0 ||
        make_watchers(control, err) != 0 || open_admin(control, err) != 0 ||
        measure_descriptors(control, err) != 0) {
        return -1;
    }
    return start_workers(control, err);
}

static void stop_workers(struct control *control)
{
    control_order_all(control, WORKER_EXIT, REASON_NONE);
    for (unsigned i = 0; i < control->running; i++) {
        worker_join(control->workers[i]);
    }
}

static void free_workers(struct control *control)
{
    for (unsigned i = 0; control->workers != NULL && i < control->worker_count; i++) {
        if (control->workers[i] != NULL) {
            worker_free(control->workers[i]);
        }
    }
    mem_free(control->workers);
    control->workers = NULL;
}

static void fini(struct control *control)
{
    free_workers(control);
    if (first_seen_stop(control->first_seen)) {
        peer_table_free(control->peers);
    }
    rule_totals_free(control->rule_totals);
    admin_free(control->admin);
    admin_sessions_free(control->admin_sessions);
    probes_free(control->probes);
    systemd_free(control->systemd);
    pulse_free(control->pulse);
    metrics_free(control->metrics);
    clock_watch_free(control->clock_watch);
    watching_free(control->watching);
    open_doors_free(control->open_doors);
    own_expiry_free(control->own_expiry);
    rule_expiry_free(control->rule_expiry);
    signal_watch_free(control->signals);
    timer_free(control->timer);
    if (control->mailbox != NULL) {
        mailbox_free(control->mailbox);
    }
    workload_source_free(control->workload);
    reload_free(control->reload);
    socket_table_free(control->sockets);
    activation_free(control->activation);
    mem_free(control->start_sockets);
    loop_free(control->loop);
    limits_fini(&control->limits);
    if (control->log_writer != NULL) {
        log_to_stderr(control);
        uint64_t lost = log_writer_stop(control->log_writer, LOG_FLUSH_MS);
        if (lost != 0) {
            log_begin(&control->log, LOG_WARN, "log_lines_lost");
            log_u64(&control->log, "count", lost);
            log_end(&control->log);
        }
    }
    snapshot_unref(control->snapshot);
    tls_session_store_unref(control->sessions); /* its sessions hold the peers' certificates */
    sources_free(control->sources);
}

/* From here on they wait for the loop, in every thread that is started, until the process ends. */
static void block_signals(void)
{
    sigset_t signals;
    set_of_signals(&signals);
    int error = pthread_sigmask(SIG_BLOCK, &signals, NULL);
    ASSERT(error == 0);
}

int control_run(const char *config_path, const struct config_options *options)
{
    struct control *control = mem_alloc(sizeof(*control));
    control->started_ms = clock_mono_ms();
    control->started_wall_ms = clock_wall_ms();
    control->stderr_fd = STDERR_FILENO;
    process_prepare();
    control->systemd = systemd_new();
    int code = take_passed(control);
    if (code == 0) {
        code = load(control, config_path, options);
    }
    process_close_inherited(control->activation == NULL ? 0
                                                        : activation_count(control->activation));
    if (code == 0) {
        struct errbuf err;
        systemd_open(control->systemd, control);
        block_signals();
        if (start(control, &err) != 0) {
            control_log_not_started(control, err.text);
            systemd_not_started(control->systemd, err.text);
            stop_workers(control);
            code = 1;
        } else {
            log_start(control);
            loop_run(control->loop);
            code = control->exit_code;
            stop_workers(control);
            control_log_stopped(control);
        }
    }
    fini(control);
    mem_free(control);
    return code;
}
