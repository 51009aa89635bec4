/*
 * What the process says of itself at its start and at its end.
 */
#include "control_private.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/diag.h"
#include "control/fips.h"
#include "control/open_door.h"
#include "control/sockets.h"
#include "net/listener.h"
#include "policy/quarantine.h"
#include "proxy/snapshot.h"
#include "reload_log.h"
#include "spiffe/crypto.h"
#include "spiffe/x509_svid.h"
#include "telemetry/log_writer.h"
#include "telemetry/metrics.h"

void control_print_diags(struct diag_list *diags)
{
    char line[2048];
    diag_sort(diags);
    for (size_t i = 0; i < diags->count; i++) {
        diag_format(diags, &diags->items[i], line, sizeof(line));
        fprintf(stderr, "%s\n", line);
    }
}

/* What the configuration says of the log holds from here on. */
void control_log_warnings(struct control *control, struct diag_list *diags)
{
    struct log *log = &control->log;
    diag_sort(diags);
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->items[i];
        if (diag->severity == DIAG_NOTE) {
            continue; /* for `check` */
        }
        if (diag->severity == DIAG_TEST) {
            log_begin(log, LOG_ERROR, "config_test_failed");
        } else {
            log_begin(log, LOG_WARN, "config_warning");
        }
        if (diag->pos.file < diags->file_count) {
            log_str(log, "file", diags->files[diag->pos.file]);
            log_u64(log, "line", diag->pos.line);
            log_u64(log, "column", diag->pos.column);
        }
        log_str(log, "message", diag->message);
        log_end(log);
    }
}

static const char *provider_name(enum crypto_provider provider)
{
    switch (provider) {
    case CRYPTO_FILTERED:
        return "filtered";
    case CRYPTO_STOCK:
        return "stock";
    case CRYPTO_SYSTEM:
        return "system";
    }
    ASSERT(false);
    return "";
}

void control_log_crypto(struct control *control)
{
    struct log *log = &control->log;
    const struct fips_request request = {
        .provider = crypto_provider(control->crypto),
        .kernel = fips_kernel_asks("/proc/sys/crypto/fips_enabled"),
        .wanted = crypto_fips_wanted(),
        .enforced = crypto_fips_enforced(control->crypto),
    };
    bool all = false;
    const char *answer = fips_answer(&request, &all);
    if (answer == NULL && request.provider != CRYPTO_SYSTEM) {
        return;
    }
    log_begin(log, answer == NULL || all ? LOG_INFO : LOG_WARN, "crypto");
    log_str(log, "provider", provider_name(request.provider));
    log_str(log, "openssl", crypto_run_version());
    if (crypto_host_file(control->crypto) != NULL) {
        log_str(log, "file", crypto_host_file(control->crypto));
    }
    if (answer != NULL) {
        log_str(log, "fips_asked_by", fips_asked_by(&request));
        log_str(log, "message", answer);
    }
    log_end(log);
}

void control_log_listening(struct control *control, size_t index)
{
    const struct setup *setup = control->snapshot->setup;
    const struct config_listener *listener = &setup->config->listeners[index];
    const struct listen_sockets *sockets = socket_table_find(control->sockets, setup, index);
    char text[NETADDR_TEXT_SIZE];
    log_begin(&control->log, LOG_INFO, "listening");
    log_str(&control->log, "listener", listener->name.text);
    log_str(&control->log, "addr", netaddr_format(listen_sockets_address(sockets), text));
    log_str(&control->log, "kind", config_kind_name(listener->kind));
    log_str(&control->log, "forward", listener->forward.text.text);
    log_end(&control->log);
}

void control_log_ready(struct control *control)
{
    const struct config *config = control_config(control);
    reload_log_audit(&control->log, config);
    open_doors_look(control->open_doors);
    const struct x509_svid *own = credentials_own(control->snapshot->credentials);
    char expires[CLOCK_TEXT_SIZE];
    log_begin(&control->log, LOG_INFO, "ready");
    log_u64(&control->log, "generation", control->snapshot->generation);
    log_u64(&control->log, "workers", control->worker_count);
    log_u64(&control->log, "listeners", config->listener_count);
    log_u64(&control->log, "rules", config->rule_count);
    log_u64(&control->log, "quarantine", quarantine_count(control->snapshot->quarantine));
    log_u64(&control->log, "max_sessions", control->limits.max_sessions);
    log_strview(&control->log, "spiffe_id", x509_svid_id(own)->text);
    log_str(&control->log, "expires", clock_format_s(x509_svid_not_after(own), expires));
    log_end(&control->log);
}

void control_log_stopped(struct control *control)
{
    uint64_t total = 0;
    uint64_t ended[REASON_COUNT] = {0};
    for (size_t reason = 0; reason < REASON_COUNT; reason++) {
        ended[reason] = metrics_total(control->metrics, METRIC_CELL_SESSIONS_ENDED + reason);
        total += ended[reason];
    }
    log_begin(&control->log, LOG_INFO, "stopped");
    log_u64(&control->log, "uptime_ms", clock_mono_ms() - control->started_ms);
    log_u64(&control->log, "sessions", total);
    for (int reason = 0; reason < REASON_COUNT; reason++) {
        if (ended[reason] != 0) {
            log_u64(&control->log, reason_label((enum reason)reason), ended[reason]);
        }
    }
    log_u64(&control->log, "log_lines_dropped", log_writer_dropped(control->log_writer));
    log_end(&control->log);
}

void control_log_not_started(struct control *control, const char *error)
{
    log_begin(&control->log, LOG_ERROR, "not_started");
    log_str(&control->log, "error", error);
    log_end(&control->log);
}
