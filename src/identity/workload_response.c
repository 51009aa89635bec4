/*
 * One field at a time: protobuf_take() reads a tag and the value behind it, whatever its type,
 * and three small functions, one per message, say what becomes of it.
 */
#include "identity/workload_response.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/protobuf.h"
#include "base/utf8.h"

static struct protobuf_wire wire_of(struct strview view)
{
    return (struct protobuf_wire){.at = (const uint8_t *)view.ptr, .left = view.len};
}

static struct strview view_of(const struct protobuf_field *field)
{
    return (struct strview){.ptr = (const char *)field->value.at, .len = field->value.left};
}

static bool is_utf8(struct strview text)
{
    uint32_t code = 0;
    for (size_t at = 0; at < text.len;) {
        size_t len = utf8_decode(text.ptr + at, text.len - at, &code);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}

static int take_text(const struct protobuf_field *field, const char *name, struct strview *text,
                     struct errbuf *err)
{
    *text = view_of(field);
    if (!is_utf8(*text)) {
        errbuf_set(err, "%s is no UTF-8", name);
        return -1;
    }
    return 0;
}

/* --- X509SVID -------------------------------------------------------------------------------- */

static int take_svid_field(const struct protobuf_field *field, struct workload_svid *svid,
                           struct errbuf *err)
{
    enum { SPIFFE_ID = 1, X509_SVID, X509_SVID_KEY, BUNDLE, HINT };
    switch (field->number) {
    case SPIFFE_ID:
        return take_text(field, "spiffe_id", &svid->spiffe_id, err);
    case X509_SVID:
        svid->chain = view_of(field);
        return 0;
    case X509_SVID_KEY:
        svid->key = view_of(field);
        return 0;
    case BUNDLE:
        svid->bundle = view_of(field);
        return 0;
    case HINT:
        return take_text(field, "hint", &svid->hint, err);
    default:
        return 0;
    }
}

/* Workload API 4.5: a mandatory field that is empty spoils the message. */
static int check_svid(const struct workload_svid *svid, struct errbuf *err)
{
    const struct {
        const char *name;
        struct strview value;
    } mandatory[] = {{"spiffe_id", svid->spiffe_id},
                     {"x509_svid", svid->chain},
                     {"x509_svid_key", svid->key},
                     {"bundle", svid->bundle}};
    for (size_t i = 0; i < sizeof(mandatory) / sizeof(mandatory[0]); i++) {
        if (mandatory[i].value.len == 0) {
            errbuf_set(err, "%s is empty", mandatory[i].name);
            return -1;
        }
    }
    if (svid->hint.len > WORKLOAD_HINT_MAX) {
        errbuf_set(err, "hint has %zu bytes; at most %d are allowed", svid->hint.len,
                   WORKLOAD_HINT_MAX);
        return -1;
    }
    return 0;
}

static int take_svid(struct protobuf_wire in, struct workload_response *response,
                     struct errbuf *err)
{
    if (response->svid_count == WORKLOAD_SVIDS_MAX) {
        errbuf_set(err, "more than %d SVIDs", WORKLOAD_SVIDS_MAX);
        return -1;
    }
    struct workload_svid *svid = &response->svids[response->svid_count++];
    *svid = (struct workload_svid){.hint = {.ptr = "", .len = 0}};
    while (in.left > 0) {
        struct protobuf_field field;
        if (protobuf_take(&in, &field, err) != 0 ||
            (field.type == PROTOBUF_BYTES && take_svid_field(&field, svid, err) != 0)) {
            goto fail;
        }
    }
    if (check_svid(svid, err) == 0) {
        return 0;
    }
fail:
    errbuf_prefix(err, "SVID %zu", response->svid_count);
    return -1;
}

/* --- the map of federated bundles ------------------------------------------------------------ */

static void put_bundle(struct workload_response *response, struct workload_bundle bundle)
{
    for (size_t i = 0; i < response->bundle_count; i++) {
        if (strview_equal(response->bundles[i].trust_domain, bundle.trust_domain)) {
            response->bundles[i] = bundle; /* the last one with a key counts */
            return;
        }
    }
    response->bundles[response->bundle_count++] = bundle;
}

static int take_map_entry(struct protobuf_wire in, struct workload_response *response,
                          struct errbuf *err)
{
    enum { KEY = 1, VALUE };
    struct workload_bundle bundle = {.anchors = {.ptr = "", .len = 0}};
    while (in.left > 0) {
        struct protobuf_field field;
        if (protobuf_take(&in, &field, err) != 0) {
            return -1;
        }
        if (field.type == PROTOBUF_BYTES && field.number == KEY &&
            take_text(&field, "a trust domain", &bundle.trust_domain, err) != 0) {
            return -1;
        }
        if (field.type == PROTOBUF_BYTES && field.number == VALUE) {
            bundle.anchors = view_of(&field);
        }
    }
    if (bundle.trust_domain.len == 0) {
        errbuf_set(err, "a bundle without a trust domain");
        return -1;
    }
    put_bundle(response, bundle);
    return 0;
}

/* --- X509SVIDResponse ------------------------------------------------------------------------ */

struct counts {
    size_t map_entries;
};

static int take_response_field(const struct protobuf_field *field,
                               struct workload_response *response, struct counts *counts,
                               struct errbuf *err)
{
    enum { SVIDS = 1, CRL, FEDERATED_BUNDLES };
    switch (field->number) {
    case SVIDS:
        return take_svid(field->value, response, err);
    case CRL:
        if (response->crl_count == WORKLOAD_CRLS_MAX) {
            errbuf_set(err, "more than %d CRLs", WORKLOAD_CRLS_MAX);
            return -1;
        }
        response->crls[response->crl_count++] = view_of(field);
        return 0;
    case FEDERATED_BUNDLES:
        if (counts->map_entries++ == WORKLOAD_BUNDLES_MAX) {
            errbuf_set(err, "more than %d federated bundles", WORKLOAD_BUNDLES_MAX);
            return -1;
        }
        if (take_map_entry(field->value, response, err) != 0) {
            errbuf_prefix(err, "federated bundle %zu", counts->map_entries);
            return -1;
        }
        return 0;
    default:
        return 0;
    }
}

int workload_response_decode(const void *message, size_t len, struct workload_response *response,
                             struct errbuf *err)
{
    struct protobuf_wire in = wire_of((struct strview){.ptr = message, .len = len});
    struct counts counts = {.map_entries = 0};
    response->svid_count = 0;
    response->bundle_count = 0;
    response->crl_count = 0;
    if (len > WORKLOAD_MESSAGE_MAX) {
        errbuf_set(err, "%zu bytes; at most %d are taken", len, WORKLOAD_MESSAGE_MAX);
        return -1;
    }
    while (in.left > 0) {
        struct protobuf_field field;
        if (protobuf_take(&in, &field, err) != 0 ||
            (field.type == PROTOBUF_BYTES &&
             take_response_field(&field, response, &counts, err) != 0)) {
            return -1;
        }
    }
    if (response->svid_count == 0) {
        errbuf_set(err, "no SVID in it");
        return -1;
    }
    return 0;
}
