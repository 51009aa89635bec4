/*
 * What control knows by itself, worked out at each scrape.
 */
#include "scrape.h"

#include "base/assert.h"
#include "base/clock.h"
#include "control/material.h"
#include "control/open_door.h"
#include "control/process.h"
#include "control/process_usage.h"
#include "control/readiness.h"
#include "control/reload.h"
#include "control/sources.h"
#include "control_private.h"
#include "policy/quarantine.h"
#include "proxy/setup.h"
#include "spiffe/crl.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"
#include "telemetry/log_writer.h"
#include "telemetry/peer_table.h"
#include "tls/tls_context.h"

static const struct material *material_of(const struct scrape *scrape)
{
    return sources_in_force(scrape->control->sources);
}

static void tell(struct scrape *scrape, uint64_t value)
{
    exposition_u64(&scrape->text, NULL, 0, value);
}

/* "OpenSSL 3.0.17 1 Jul 2025": the second word. */
static struct strview second_word(const char *text)
{
    const char *from = text;
    while (*from != '\0' && *from != ' ') {
        from++;
    }
    from += *from == ' ';
    const char *to = from;
    while (*to != '\0' && *to != ' ') {
        to++;
    }
    return (struct strview){from, (size_t)(to - from)};
}

void scrape_build_info(struct scrape *scrape, size_t item)
{
    (void)item;
    const struct metric_label labels[] = {{"version", strview_from(BULKHEAD_VERSION)},
                                          {"openssl", second_word(tls_run_version())}};
    exposition_u64(&scrape->text, labels, 2, 1);
}

void scrape_reloads(struct scrape *scrape, size_t item)
{
    (void)item;
    for (size_t i = 0; i < RELOAD_RESULTS; i++) {
        const struct metric_label labels[] = {
            {"result", strview_from(reload_result_name((enum reload_result)i))}};
        exposition_u64(&scrape->text, labels, 1, scrape->control->reloads.results[i]);
    }
}

void scrape_state(struct scrape *scrape, size_t item)
{
    (void)item;
    const struct reload_counts *reloads = &scrape->control->reloads;
    if (scrape->family == METRIC_GENERATION) {
        tell(scrape, reloads->generation);
    } else if (scrape->family == METRIC_LAST_RELOAD_SUCCESSFUL) {
        tell(scrape, reload_counts_all_well(reloads));
    } else if (scrape->family == METRIC_LAST_RELOAD_SUCCESS_TIMESTAMP) {
        exposition_us(&scrape->text, NULL, 0, reloads->success_wall_ms * 1000);
    } else if (scrape->family == METRIC_RELOAD_DURATION) {
        exposition_us(&scrape->text, NULL, 0, reloads->duration_ms * 1000);
    } else if (scrape->family == METRIC_QUARANTINE_ENTRIES) {
        tell(scrape, quarantine_count(material_of(scrape)->quarantine));
    } else {
        ASSERT(scrape->family == METRIC_FAILING_TESTS);
        tell(scrape, material_of(scrape)->failed_tests);
    }
}

void scrape_ready(struct scrape *scrape, size_t item)
{
    struct readiness readiness;
    (void)item;
    readiness_look(scrape->control, &readiness);
    tell(scrape, readiness.ready);
}

size_t scrape_audit_items(const struct scrape *scrape)
{
    return scrape->setup->config->listener_count;
}

void scrape_audit(struct scrape *scrape, size_t item)
{
    const struct config_listener *listener = &scrape->setup->config->listeners[item];
    const struct metric_label labels[] = {{"listener", strview_from(listener->name.text)}};
    exposition_u64(&scrape->text, labels, 1, listener->enforcement == CONFIG_ENFORCEMENT_AUDIT);
}

size_t scrape_svid_items(const struct scrape *scrape)
{
    return material_of(scrape)->own == NULL ? 0 : 1;
}

void scrape_open_doors(struct scrape *scrape, size_t item)
{
    const char *name = scrape->setup->config->listeners[item].name.text;
    const struct metric_label labels[] = {{"listener", strview_from(name)}};
    size_t count = 0;
    if (open_doors_of(scrape->control->open_doors, name, &count)) {
        exposition_u64(&scrape->text, labels, 1, count);
    }
}

void scrape_svid(struct scrape *scrape, size_t item)
{
    (void)item;
    const struct x509_svid *own = material_of(scrape)->own;
    const struct metric_label labels[] = {{"spiffe_id", x509_svid_id(own)->text}};
    exposition_i64(&scrape->text, labels, 1,
                   scrape->family == METRIC_SVID_NOT_AFTER ? x509_svid_not_after(own)
                                                           : x509_svid_not_before(own));
}

size_t scrape_domain_items(const struct scrape *scrape)
{
    return material_of(scrape)->domain_count;
}

/* False: no anchor has dates. */
static bool latest_not_after(const struct trust_bundle *bundle, int64_t *latest)
{
    bool found = false;
    for (size_t i = 0; i < trust_bundle_count(bundle); i++) {
        int64_t from;
        int64_t until;
        if (x509_svid_validity(trust_bundle_anchor(bundle, i), &from, &until) == 0 &&
            (!found || until > *latest)) {
            *latest = until;
            found = true;
        }
    }
    return found;
}

static uint64_t count_gaps(const struct scrape *scrape, const char *domain)
{
    uint64_t count = 0;
    size_t cursor = 0;
    struct svid_failure gap;
    while (credentials_next_crl_gap(material_of(scrape)->credentials, strview_from(domain),
                                    clock_wall_s(), &cursor, &gap)) {
        count++;
    }
    return count;
}

void scrape_domain(struct scrape *scrape, size_t item)
{
    const struct material_domain *domain = &material_of(scrape)->domains[item];
    const struct metric_label labels[] = {{"trust_domain", strview_from(domain->name)}};
    int64_t latest = 0;
    if (scrape->family == METRIC_BUNDLE_ANCHORS) {
        exposition_u64(&scrape->text, labels, 1,
                       domain->bundle == NULL ? 0 : trust_bundle_count(domain->bundle));
    } else if (scrape->family == METRIC_BUNDLE_NOT_AFTER) {
        if (domain->bundle != NULL && latest_not_after(domain->bundle, &latest)) {
            exposition_i64(&scrape->text, labels, 1, latest);
        }
    } else if (scrape->family == METRIC_CRL_NEXT_UPDATE) {
        if (domain->crls != NULL) {
            exposition_i64(&scrape->text, labels, 1, crl_set_next_update(domain->crls));
        }
    } else if (domain->crl_check != CRL_CHECK_NONE) {
        ASSERT(scrape->family == METRIC_ANCHORS_WITHOUT_CRL);
        exposition_u64(&scrape->text, labels, 1, count_gaps(scrape, domain->name));
    }
}

void scrape_log_lines(struct scrape *scrape, size_t item)
{
    static const char *const logs[LOG_CHANNEL_COUNT] = {
        [LOG_CHANNEL_PROCESS] = "process", [LOG_CHANNEL_ACCESS] = "access"};
    (void)item;
    for (size_t i = 0; i < LOG_CHANNEL_COUNT; i++) {
        const struct metric_label labels[] = {{"log", strview_from(logs[i])}};
        exposition_u64(&scrape->text, labels, 1,
                       log_writer_dropped_of(scrape->control->log_writer, (enum log_channel)i));
    }
}

size_t scrape_peer_items(const struct scrape *scrape)
{
    size_t most = (size_t)control_config(scrape->control)->metrics.peers;
    size_t size = peer_table_size(scrape->control->peers);
    return most == 0 ? 0 : size < most + 1 ? size : most + 1;
}

void scrape_peer(struct scrape *scrape, size_t item)
{
    struct peer_record count;
    if (item == 0) {
        peer_table_rest(scrape->control->peers,
                        (size_t)control_config(scrape->control)->metrics.peers + 1, &count);
    } else {
        peer_table_get(scrape->control->peers, item, &count);
    }
    struct metric_label labels[] = {
        {"peer", count.id.len > 0 ? count.id : strview_from("other")},
        {"decision", strview_from("allow")},
    };
    exposition_u64(&scrape->text, labels, 2, count.allowed);
    labels[1].value = strview_from("deny");
    exposition_u64(&scrape->text, labels, 2, count.denied);
}

void scrape_process(struct scrape *scrape, size_t item)
{
    (void)item;
    struct process_usage usage;
    if (scrape->family == METRIC_PROCESS_OPEN_FDS) {
        tell(scrape, process_open_descriptors());
        return;
    }
    if (scrape->family == METRIC_PROCESS_START_TIME) {
        exposition_us(&scrape->text, NULL, 0, scrape->control->started_wall_ms * 1000);
        return;
    }
    process_usage_read(&usage);
    if (scrape->family == METRIC_PROCESS_CPU) {
        exposition_us(&scrape->text, NULL, 0, usage.cpu_us);
    } else if (scrape->family == METRIC_PROCESS_MAX_FDS) {
        tell(scrape, usage.max_descriptors);
    } else if (usage.has_stat) {
        tell(scrape, scrape->family == METRIC_PROCESS_VIRTUAL_MEMORY    ? usage.virtual_bytes
                     : scrape->family == METRIC_PROCESS_RESIDENT_MEMORY ? usage.resident_bytes
                                                                        : usage.threads);
    }
}
