/*
 * One row for each family says how it is written. The stream walks families and their items and
 * stops where a piece is full.
 */
#include "scrape.h"

#include "base/assert.h"
#include "base/memory.h"
#include "control/rule_totals.h"
#include "control_private.h"
#include "proxy/setup.h"

enum { PIECE_SIZE = 32 * 1024, STATUS_OK = 200, STATUS_NO_MEMORY = 503 };

static const struct scrape_source sources[METRIC_COUNT] = {
    [METRIC_BUILD_INFO] = {NULL, scrape_build_info},
    [METRIC_GENERATION] = {NULL, scrape_state},
    [METRIC_RELOADS] = {NULL, scrape_reloads},
    [METRIC_LAST_RELOAD_SUCCESSFUL] = {NULL, scrape_state},
    [METRIC_LAST_RELOAD_SUCCESS_TIMESTAMP] = {NULL, scrape_state},
    [METRIC_RELOAD_DURATION] = {NULL, scrape_state},
    [METRIC_QUARANTINE_ENTRIES] = {NULL, scrape_state},
    [METRIC_FAILING_TESTS] = {NULL, scrape_state},
    [METRIC_READY] = {NULL, scrape_ready},
    [METRIC_ENFORCEMENT_AUDIT] = {scrape_audit_items, scrape_audit},
    [METRIC_OPEN_DOORS] = {scrape_audit_items, scrape_open_doors},
    [METRIC_RULE_HITS] = {scrape_rule_items, scrape_rule_hits},
    [METRIC_RULE_LAST_HIT] = {scrape_rule_items, scrape_rule_times},
    [METRIC_RULE_EXPIRY] = {scrape_rule_items, scrape_rule_times},
    [METRIC_CONNECTIONS_ACCEPTED] = {scrape_listener_items, scrape_listener_count},
    [METRIC_CONNECTIONS_ACTIVE] = {scrape_listener_items, scrape_listener_count},
    [METRIC_CONNECTIONS_HALF_OPEN] = {scrape_listener_items, scrape_listener_count},
    [METRIC_HANDSHAKES] = {scrape_listener_items, scrape_handshakes},
    [METRIC_HANDSHAKE_FAILURES] = {scrape_listener_items, scrape_handshake_failures},
    [METRIC_DECISIONS] = {scrape_listener_items, scrape_decisions},
    [METRIC_SESSIONS_ENDED] = {scrape_listener_items, scrape_ended},
    [METRIC_SESSIONS_LOST_AUTHORITY] = {scrape_listener_items, scrape_lost_authority},
    [METRIC_RELAYED_BYTES] = {scrape_listener_items, scrape_bytes},
    [METRIC_HANDSHAKE_DURATION] = {NULL, scrape_handshake_duration},
    [METRIC_CONNECT_DURATION] = {scrape_listener_items, scrape_listener_duration},
    [METRIC_SESSION_DURATION] = {scrape_listener_items, scrape_listener_duration},
    [METRIC_UPSTREAM_DIALS] = {scrape_listener_items, scrape_dials},
    [METRIC_UPSTREAM_UP] = {scrape_listener_items, scrape_upstream_up},
    [METRIC_SVID_NOT_AFTER] = {scrape_svid_items, scrape_svid},
    [METRIC_SVID_NOT_BEFORE] = {scrape_svid_items, scrape_svid},
    [METRIC_BUNDLE_NOT_AFTER] = {scrape_domain_items, scrape_domain},
    [METRIC_BUNDLE_ANCHORS] = {scrape_domain_items, scrape_domain},
    [METRIC_CRL_NEXT_UPDATE] = {scrape_domain_items, scrape_domain},
    [METRIC_ANCHORS_WITHOUT_CRL] = {scrape_domain_items, scrape_domain},
    [METRIC_LOG_LINES_DROPPED] = {NULL, scrape_log_lines},
    [METRIC_PEER_DECISIONS] = {scrape_peer_items, scrape_peer},
    [METRIC_PROCESS_CPU] = {NULL, scrape_process},
    [METRIC_PROCESS_OPEN_FDS] = {NULL, scrape_process},
    [METRIC_PROCESS_MAX_FDS] = {NULL, scrape_process},
    [METRIC_PROCESS_VIRTUAL_MEMORY] = {NULL, scrape_process},
    [METRIC_PROCESS_RESIDENT_MEMORY] = {NULL, scrape_process},
    [METRIC_PROCESS_START_TIME] = {NULL, scrape_process},
    [METRIC_PROCESS_THREADS] = {NULL, scrape_process},
};

static const struct scrape_source *source_of(enum metric family)
{
    const struct scrape_source *source = &sources[family];
    ASSERT(source->write != NULL); /* a row of metrics.def without one here */
    return source;
}

static void enter_family(struct scrape *scrape, size_t family)
{
    scrape->family = (enum metric)family;
    scrape->item = 0;
    if (family < METRIC_COUNT) {
        exposition_family(&scrape->text, scrape->family);
    }
}

/* What items there are may change between two pieces, by a reload. */
static void write_item(struct scrape *scrape)
{
    const struct scrape_source *source = source_of(scrape->family);
    size_t items = source->items == NULL ? 1 : source->items(scrape);
    if (scrape->item < items) {
        source->write(scrape, scrape->item++);
    }
    if (scrape->item >= items) {
        enter_family(scrape, (size_t)scrape->family + 1);
    }
}

static enum http_piece next_piece(void *arg, struct bytebuf *out)
{
    struct scrape *scrape = arg;
    scrape->text.out = out;
    while (scrape->family < METRIC_COUNT && bytebuf_len(out) < PIECE_SIZE) {
        write_item(scrape);
    }
    bool last = scrape->family == METRIC_COUNT;
    if (last) {
        exposition_end(&scrape->text);
    }
    if (scrape->text.failed) {
        return HTTP_PIECE_FAILED;
    }
    return last ? HTTP_PIECE_LAST : HTTP_PIECE_MORE;
}

static void scrape_free(void *arg)
{
    struct scrape *scrape = arg;
    setup_unref(scrape->setup);
    mem_free(scrape->rules);
    mem_free(scrape);
}

static bool take_rules(struct scrape *scrape)
{
    const struct rule_totals *totals = scrape->control->rule_totals;
    size_t count = scrape->setup->config->rule_count;
    scrape->rules = mem_try_alloc(count * sizeof(*scrape->rules));
    for (size_t i = 0; scrape->rules != NULL && i < count; i++) {
        scrape->rules[i] = rule_totals_rule(totals, i);
    }
    return scrape->rules != NULL;
}

/* False: memory is out. */
static bool scrape_stream(struct control *control, enum exposition_format format,
                          struct http_stream *out)
{
    struct scrape *scrape = mem_try_alloc(sizeof(*scrape));
    if (scrape == NULL) {
        return false;
    }
    scrape->control = control;
    scrape->setup = setup_ref(rule_totals_setup(control->rule_totals));
    scrape->text = (struct exposition){.format = format};
    if (!take_rules(scrape)) {
        scrape_free(scrape);
        return false;
    }
    enter_family(scrape, 0);
    *out = (struct http_stream){.next = next_piece, .done = scrape_free, .arg = scrape};
    return true;
}

void scrape_answer(struct control *control, struct http_call *call)
{
    const struct http_header *accept = http_request_header(http_call_request(call), "Accept");
    enum exposition_format format =
        exposition_choose(accept == NULL ? strview_from("") : accept->value);
    struct http_stream stream;
    if (!scrape_stream(control, format, &stream)) {
        http_call_refuse(call, STATUS_NO_MEMORY, "memory is out");
        return;
    }
    const struct http_answer answer = {
        .status = STATUS_OK, .content_type = exposition_content_type(format), .stream = &stream};
    http_call_answer(call, &answer);
}
