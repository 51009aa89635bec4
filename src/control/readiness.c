/*
 * A trust domain that can vouch for nobody takes readiness only when none is left that can: a
 * partner who lets its CRL lapse must not take every replica out of its Service, and with it
 * those whom the other domains vouch for.
 */
#include "control/readiness.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/bytebuf.h"
#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "control/material.h"
#include "control/open_door.h"
#include "control/pulse.h"
#include "control/sockets.h"
#include "control/sources.h"
#include "control/workload_source.h"
#include "control_private.h"
#include "net/http_server.h"
#include "proxy/snapshot.h"
#include "spiffe/svid_verify.h"
#include "spiffe/trust_bundle.h"
#include "spiffe/x509_svid.h"

enum { STATUS_OK = 200, STATUS_UNAVAILABLE = 503 };
/* An item of which every byte is escaped as \u00XX, and what stands around it. */
enum { JSON_SIZE = READINESS_ITEMS_MAX * (6 * READINESS_TEXT_SIZE + 128) + 512 };

void readiness_add(struct readiness *readiness, enum readiness_weight weight, const char *code,
                   const char *format, ...)
{
    readiness->live = readiness->live && weight != READINESS_NOT_ALIVE;
    readiness->ready = readiness->ready && weight == READINESS_DETAIL;
    if (readiness->count == READINESS_ITEMS_MAX) {
        readiness->left_out++;
        return;
    }
    struct readiness_item *item = &readiness->items[readiness->count++];
    item->weight = weight;
    item->code = code;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(item->text, sizeof(item->text), format, args);
    va_end(args);
}

/* --- what is looked at ----------------------------------------------------------------------- */

static void look_at_workers(const struct control *control, struct readiness *out)
{
    for (unsigned i = 0; pulse_find_stuck(control->pulse, &i); i++) {
        readiness_add(out, READINESS_NOT_ALIVE, "worker_stuck",
                      "worker %u has not come round its loop for %d s or more", i,
                      PULSE_STUCK_BEATS * PULSE_BEAT_MS / 1000);
    }
}

static void look_at_state(const struct control *control, struct readiness *out)
{
    if (control->state != CONTROL_RUNNING) {
        readiness_add(out, READINESS_NOT_READY, "draining", "the process was told to stop");
    }
}

static void look_at_identity(const struct control *control, int64_t now, struct readiness *out)
{
    const struct x509_svid *own = sources_in_force(control->sources)->own;
    char text[CLOCK_TEXT_SIZE];
    if (own == NULL) {
        const char *why = workload_source_problem(control->workload);
        readiness_add(out, READINESS_NOT_READY, "svid_missing", "there is no SVID of our own: %s",
                      why[0] != '\0' ? why : "the Workload API has given none yet");
    } else if (now > x509_svid_not_after(own)) {
        readiness_add(out, READINESS_NOT_READY, "svid_expired", "our own SVID ended at %s",
                      clock_format_s(x509_svid_not_after(own), text));
    } else if (now < x509_svid_not_before(own)) {
        readiness_add(out, READINESS_NOT_READY, "svid_not_yet_valid", "our own SVID begins at %s",
                      clock_format_s(x509_svid_not_before(own), text));
    }
}

static void look_at_listeners(const struct control *control, struct readiness *out)
{
    const struct setup *setup = sources_in_force(control->sources)->setup;
    for (size_t i = 0; i < setup->config->listener_count; i++) {
        if (socket_table_find(control->sockets, setup, i) == NULL) {
            readiness_add(out, READINESS_NOT_READY, "listener_closed", "%s does not listen",
                          setup->config->listeners[i].name.text);
        }
    }
}

/* NULL: its bundle can vouch for somebody. */
static const char *why_unusable(const struct credentials *credentials,
                                const struct material_domain *domain, int64_t now)
{
    struct svid_failure gap;
    size_t cursor = 0;
    if (domain->bundle == NULL) {
        return "its bundle could not be read";
    }
    size_t valid = trust_bundle_count_valid(domain->bundle, now);
    if (valid == 0) {
        return "its bundle has no anchor that is valid now";
    }
    if (domain->crl_check == CRL_CHECK_NONE) {
        return NULL;
    }
    size_t without = 0;
    while (credentials_next_crl_gap(credentials, strview_from(domain->name), now, &cursor, &gap)) {
        without++;
    }
    return without >= valid ? "none of its anchors has a CRL in force" : NULL;
}

static void look_at_trust(const struct control *control, int64_t now, struct readiness *out)
{
    const struct material *material = sources_in_force(control->sources);
    size_t usable = 0;
    for (size_t i = 0; i < material->domain_count; i++) {
        usable += why_unusable(material->credentials, &material->domains[i], now) == NULL;
    }
    for (size_t i = 0; i < material->domain_count; i++) {
        const struct material_domain *domain = &material->domains[i];
        const char *why = why_unusable(material->credentials, domain, now);
        if (why != NULL) {
            readiness_add(out, usable == 0 ? READINESS_NOT_READY : READINESS_DETAIL,
                          "trust_unusable", "every peer of %s is refused: %s", domain->name, why);
        }
    }
}

static void look_at_tests(const struct control *control, struct readiness *out)
{
    size_t failed = sources_in_force(control->sources)->failed_tests;
    if (failed > 0) {
        readiness_add(out, READINESS_DETAIL, "tests_failed",
                      "%zu of the configuration's `tests` failed at the start", failed);
    }
}

static void look_at_doors(const struct control *control, struct readiness *out)
{
    for (size_t i = 0; i < open_doors_count(control->open_doors); i++) {
        readiness_add(out, READINESS_DETAIL, "open_door", "%s",
                      open_doors_text(control->open_doors, i));
    }
}

/* What takes readiness comes first: it must have its room. */
void readiness_look(const struct control *control, struct readiness *out)
{
    int64_t now = clock_wall_s();
    out->live = true;
    out->ready = true;
    out->count = 0;
    out->left_out = 0;
    look_at_workers(control, out);
    look_at_state(control, out);
    look_at_identity(control, now, out);
    look_at_listeners(control, out);
    look_at_trust(control, now, out);
    look_at_tests(control, out);
    look_at_doors(control, out);
}

/* --- how it is told -------------------------------------------------------------------------- */

static bool append(struct bytebuf *body, const char *text)
{
    return bytebuf_append(body, text, strlen(text));
}

static bool write_lines(const struct readiness *readiness, enum readiness_weight least,
                        struct bytebuf *body)
{
    bool whole = true;
    for (size_t i = 0; i < readiness->count; i++) {
        const struct readiness_item *item = &readiness->items[i];
        if (item->weight >= least) {
            whole = whole && append(body, item->code) && append(body, ": ") &&
                    append(body, item->text) && append(body, "\n");
        }
    }
    return whole;
}

static void write_items(struct json_writer *w, const char *key, const struct readiness *readiness,
                        enum readiness_weight least, enum readiness_weight most, bool with_text)
{
    json_key(w, key);
    json_array_begin(w);
    for (size_t i = 0; i < readiness->count; i++) {
        const struct readiness_item *item = &readiness->items[i];
        if (item->weight >= least && item->weight <= most) {
            json_object_begin(w);
            json_field_string(w, "code", item->code);
            if (with_text) {
                json_field_string(w, "text", item->text);
            }
            json_object_end(w);
        }
    }
    json_array_end(w);
}

static bool write_json(const struct control *control, const struct readiness *readiness,
                       enum readiness_weight least, enum readiness_caller caller,
                       struct bytebuf *body)
{
    bool of_ready = least == READINESS_NOT_READY;
    char *text = mem_try_alloc(JSON_SIZE);
    struct json_writer w;
    if (text == NULL) {
        return false;
    }
    json_writer_init(&w, text, JSON_SIZE);
    json_object_begin(&w);
    json_field_bool(&w, "live", readiness->live);
    if (of_ready) {
        json_field_bool(&w, "ready", readiness->ready);
        json_field_u64(&w, "generation", control->snapshot->generation);
    }
    write_items(&w, "reasons", readiness, least, READINESS_NOT_ALIVE, true);
    if (of_ready) {
        write_items(&w, "details", readiness, READINESS_DETAIL, READINESS_DETAIL,
                    caller == READINESS_TO_OPERATOR);
        json_field_u64(&w, "left_out", readiness->left_out);
    }
    json_object_end(&w);
    size_t len = json_writer_finish(&w);
    bool whole = len > 0 && bytebuf_append(body, text, len) && append(body, "\n");
    mem_free(text);
    return whole;
}

/* One of the types that Accept names, whatever weight it has. */
static bool names_json(struct strview accept)
{
    static const char type[] = "application/json";
    size_t len = sizeof(type) - 1;
    for (size_t i = 0; i + len <= accept.len; i++) {
        bool starts = i == 0 || strchr(", \t", accept.ptr[i - 1]) != NULL;
        bool ends = i + len == accept.len || strchr(",; \t", accept.ptr[i + len]) != NULL;
        if (starts && ends && strncasecmp(accept.ptr + i, type, len) == 0) {
            return true;
        }
    }
    return false;
}

static bool wants_json(const struct http_request *request)
{
    const struct http_header *accept = http_request_header(request, "Accept");
    return http_request_parameter(request, "json") != NULL ||
           (accept != NULL && names_json(accept->value));
}

static void answer(const struct control *control, struct http_call *call,
                   enum readiness_weight least, enum readiness_caller caller)
{
    struct readiness readiness;
    struct bytebuf body = {0};
    readiness_look(control, &readiness);
    bool good = least == READINESS_NOT_READY ? readiness.ready : readiness.live;
    bool json = wants_json(http_call_request(call));
    bool whole = json   ? write_json(control, &readiness, least, caller, &body)
                 : good ? append(&body, "ok\n")
                        : write_lines(&readiness, least, &body);
    if (!whole) {
        http_call_refuse(call, STATUS_UNAVAILABLE, "memory is out");
    } else {
        const struct http_answer told = {
            .status = good ? STATUS_OK : STATUS_UNAVAILABLE,
            .content_type = json ? NULL : "text/plain; charset=utf-8",
            .body = &body,
        };
        http_call_answer(call, &told);
    }
    bytebuf_clear(&body);
}

void readiness_answer_live(const struct control *control, struct http_call *call)
{
    answer(control, call, READINESS_NOT_ALIVE, READINESS_TO_ANYONE);
}

void readiness_answer_ready(const struct control *control, struct http_call *call,
                            enum readiness_caller caller)
{
    answer(control, call, READINESS_NOT_READY, caller);
}
