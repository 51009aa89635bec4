/*
 * What the files of the main thread share. Control thread only.
 */
#ifndef BULKHEAD_CONTROL_CONTROL_PRIVATE_H
#define BULKHEAD_CONTROL_CONTROL_PRIVATE_H

#include "base/log.h"
#include "config/config.h"
#include "net/loop.h"
#include "net/mailbox.h"
#include "proxy/limits.h"
#include "proxy/worker.h"
#include "reload_counts.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct activation;
struct admin;
struct admin_sessions;
struct clock_watch;
struct crypto;
struct diag_list;
struct first_seen;
struct log_writer;
struct metrics;
struct open_doors;
struct own_expiry;
struct peer_table;
struct probes;
struct pulse;
struct reload;
struct rule_expiry;
struct rule_totals;
struct setup;
struct snapshot;
struct listen_sockets;
struct socket_table;
struct tls_session_store;
struct sources;
struct systemd;
struct watching;
struct workload_source;

enum control_state { CONTROL_RUNNING = 0, CONTROL_DELAYED, CONTROL_DRAINING, CONTROL_STOPPING };

struct control {
    enum control_state state;
    unsigned stop_signals; /* SIGTERM, SIGINT and SIGQUIT that have come */
    const struct crypto *crypto; /* of sources */
    struct tls_session_store *sessions;
    struct sources *sources;
    struct snapshot *snapshot; /* in force, or being brought into force */
    struct loop *loop;
    struct mailbox *mailbox;
    struct signal_watch *signals;
    struct timer *timer;
    struct log log;
    _Atomic int log_level;     /* enum log_level, of every thread's log */
    int configured_log_level;  /* as it stood in the configuration when it was last taken from there */
    int stderr_fd; /* where it goes while there is no log writer */
    struct log_writer *log_writer;
    struct activation *activation; /* NULL: what was passed can't be understood */
    struct socket_table *sockets;
    struct listen_sockets **start_sockets; /* by config index, of the first setup */
    struct limits limits;
    struct metrics *metrics;
    struct peer_table *peers;
    struct first_seen *first_seen; /* NULL: no first_seen_file */
    struct reload *reload;
    struct reload_counts reloads;
    struct open_doors *open_doors;
    struct own_expiry *own_expiry;
    struct rule_expiry *rule_expiry;
    struct rule_totals *rule_totals;
    struct watching *watching;
    struct admin *admin; /* NULL: none is configured */
    struct admin_sessions *admin_sessions;
    struct probes *probes; /* NULL: none are configured */
    struct pulse *pulse;
    struct systemd *systemd;
    struct clock_watch *clock_watch;
    struct workload_source *workload;
    bool said_ready;
    int exit_code;
    struct worker **workers;
    unsigned worker_count;
    unsigned running; /* threads that were started */
    unsigned not_accepting;
    unsigned idle;
    uint64_t descriptor_limit;
    uint64_t descriptors_at_start; /* in use, without listening sockets */
    uint64_t started_ms;
    uint64_t started_wall_ms;
};

const struct config *control_config(const struct control *control);
/* To each worker that runs. */
void control_order_all(struct control *control, enum worker_order order, enum reason reason);
/* By limits.connections and the descriptors, as the configuration in force has them. */
void control_set_session_bound(struct control *control);
/* control_log.c: before there is a log, its errors; then its warnings. Sorts them. */
void control_print_diags(struct diag_list *diags);
void control_log_warnings(struct control *control, struct diag_list *diags);
/* Where cryptography comes from, when that is for the host to say, or the host has asked. */
void control_log_crypto(struct control *control);
void control_log_ready(struct control *control);
void control_log_not_started(struct control *control, const char *error);
void control_log_stopped(struct control *control);
/* The line that says where a listener, by config index, listens. */
void control_log_listening(struct control *control, size_t index);
/* The listeners that are counted from now on; before workers hear of the setup. */
void control_follow_metrics(struct control *control, const struct setup *setup);
/* A start that can't come to its end any more, before anything is served: exit code 1. */
void control_give_up(struct control *control, const char *error);
/* Another material is in force. */
void control_material_changed(struct control *control);

#endif
