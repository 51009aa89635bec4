/*
 * One field at a time: take_field() reads a tag and the value behind it, whatever its type, and
 * three small functions, one per message, say what becomes of it.
 */
#include "identity/workload_response.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/utf8.h"

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_GROUP_START = 3,
    WIRE_GROUP_END = 4,
    WIRE_FIXED32 = 5
};

enum { VARINT_BYTES_MAX = 10, SMALL_VARINT_BYTES_MAX = 5, TYPE_BITS = 3, FIXED64 = 8, FIXED32 = 4 };

/* What is left to read; text is UTF-8 or any bytes. */
struct wire {
    const uint8_t *at;
    size_t left;
};

struct field {
    uint64_t number;
    struct wire value;
    bool is_bytes; /* else it is of a type that no field of ours has */
};

static struct wire wire_of(struct strview view)
{
    return (struct wire){.at = (const uint8_t *)view.ptr, .left = view.len};
}

static struct strview view_of(const struct field *field)
{
    return (struct strview){.ptr = (const char *)field->value.at, .len = field->value.left};
}

/* False: cut off, longer than max_bytes, or more than 64 bits. */
static bool take_varint(struct wire *in, size_t max_bytes, uint64_t *value)
{
    enum { PAYLOAD_BITS = 7, PAYLOAD = 0x7f, MORE = 0x80, LAST_OF_64_BITS = 1 };
    *value = 0;
    for (size_t i = 0; i < max_bytes && i < in->left; i++) {
        uint8_t byte = in->at[i];
        if (i == VARINT_BYTES_MAX - 1 && byte > LAST_OF_64_BITS) {
            return false;
        }
        *value |= (uint64_t)(byte & PAYLOAD) << (PAYLOAD_BITS * i);
        if ((byte & MORE) == 0) {
            in->at += i + 1;
            in->left -= i + 1;
            return true;
        }
    }
    return false;
}

static bool take_bytes(struct wire *in, uint64_t count, struct wire *bytes)
{
    if (count > in->left) {
        return false;
    }
    *bytes = (struct wire){.at = in->at, .left = (size_t)count};
    in->at += count;
    in->left -= (size_t)count;
    return true;
}

static bool take_value(struct wire *in, unsigned type, struct wire *value)
{
    uint64_t number = 0;
    switch (type) {
    case WIRE_VARINT:
        return take_varint(in, VARINT_BYTES_MAX, &number);
    case WIRE_FIXED64:
        return take_bytes(in, FIXED64, value);
    case WIRE_FIXED32:
        return take_bytes(in, FIXED32, value);
    case WIRE_BYTES:
        return take_varint(in, SMALL_VARINT_BYTES_MAX, &number) && take_bytes(in, number, value);
    default:
        return false;
    }
}

static int take_field(struct wire *in, struct field *field, struct errbuf *err)
{
    enum { TYPE = (1 << TYPE_BITS) - 1 };
    uint64_t tag = 0;
    field->value = (struct wire){.at = NULL, .left = 0};
    if (!take_varint(in, SMALL_VARINT_BYTES_MAX, &tag) || tag > UINT32_MAX) {
        errbuf_set(err, "a field's tag is cut off or too long");
        return -1;
    }
    unsigned type = (unsigned)tag & TYPE;
    field->number = tag >> TYPE_BITS;
    field->is_bytes = type == WIRE_BYTES;
    if (field->number == 0) {
        errbuf_set(err, "field number 0");
        return -1;
    }
    if (type == WIRE_GROUP_START || type == WIRE_GROUP_END) {
        errbuf_set(err, "field %u is a group", (unsigned)field->number);
        return -1;
    }
    if (!take_value(in, type, &field->value)) {
        errbuf_set(err, "field %u: its value (wire type %u) is cut off or broken",
                   (unsigned)field->number, type);
        return -1;
    }
    return 0;
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

static int take_text(const struct field *field, const char *name, struct strview *text,
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

static int take_svid_field(const struct field *field, struct workload_svid *svid,
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

static int take_svid(struct wire in, struct workload_response *response, struct errbuf *err)
{
    if (response->svid_count == WORKLOAD_SVIDS_MAX) {
        errbuf_set(err, "more than %d SVIDs", WORKLOAD_SVIDS_MAX);
        return -1;
    }
    struct workload_svid *svid = &response->svids[response->svid_count++];
    *svid = (struct workload_svid){.hint = {.ptr = "", .len = 0}};
    while (in.left > 0) {
        struct field field;
        if (take_field(&in, &field, err) != 0 ||
            (field.is_bytes && take_svid_field(&field, svid, err) != 0)) {
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

static int take_map_entry(struct wire in, struct workload_response *response, struct errbuf *err)
{
    enum { KEY = 1, VALUE };
    struct workload_bundle bundle = {.anchors = {.ptr = "", .len = 0}};
    while (in.left > 0) {
        struct field field;
        if (take_field(&in, &field, err) != 0) {
            return -1;
        }
        if (field.is_bytes && field.number == KEY &&
            take_text(&field, "a trust domain", &bundle.trust_domain, err) != 0) {
            return -1;
        }
        if (field.is_bytes && field.number == VALUE) {
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

static int take_response_field(const struct field *field, struct workload_response *response,
                               struct counts *counts, struct errbuf *err)
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
    struct wire in = wire_of((struct strview){.ptr = message, .len = len});
    struct counts counts = {.map_entries = 0};
    response->svid_count = 0;
    response->bundle_count = 0;
    response->crl_count = 0;
    if (len > WORKLOAD_MESSAGE_MAX) {
        errbuf_set(err, "%zu bytes; at most %d are taken", len, WORKLOAD_MESSAGE_MAX);
        return -1;
    }
    while (in.left > 0) {
        struct field field;
        if (take_field(&in, &field, err) != 0 ||
            (field.is_bytes && take_response_field(&field, response, &counts, err) != 0)) {
            return -1;
        }
    }
    if (response->svid_count == 0) {
        errbuf_set(err, "no SVID in it");
        return -1;
    }
    return 0;
}
