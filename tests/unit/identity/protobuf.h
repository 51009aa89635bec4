/*
 * protobuf: writes protobuf's wire format, good and broken, for tests. Knows nothing of the decoder
 * that it tests.
 */
#ifndef BULKHEAD_TESTS_UNIT_IDENTITY_PROTOBUF_H
#define BULKHEAD_TESTS_UNIT_IDENTITY_PROTOBUF_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A zeroed struct is an empty message. */
struct pb {
    uint8_t *data;
    size_t len;
};

static inline void pb_raw(struct pb *pb, const void *data, size_t len)
{
    /* Exactly as many bytes as there are, for the sanitizer. */
    uint8_t *grown = malloc(pb->len + len + (pb->len + len == 0));
    assert(grown != NULL);
    if (pb->len > 0) {
        memcpy(grown, pb->data, pb->len);
    }
    if (len > 0) {
        memcpy(grown + pb->len, data, len);
    }
    free(pb->data);
    pb->data = grown;
    pb->len += len;
}

static inline void pb_varint(struct pb *pb, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)(value & 0x7f);
        value >>= 7;
        byte = (uint8_t)(byte | (value != 0 ? 0x80 : 0));
        pb_raw(pb, &byte, 1);
    } while (value != 0);
}

static inline void pb_tag(struct pb *pb, uint64_t field, unsigned type)
{
    pb_varint(pb, field << 3 | type);
}

static inline void pb_bytes(struct pb *pb, uint64_t field, const void *data, size_t len)
{
    pb_tag(pb, field, 2);
    pb_varint(pb, len);
    pb_raw(pb, data, len);
}

static inline void pb_text(struct pb *pb, uint64_t field, const char *text)
{
    pb_bytes(pb, field, text, strlen(text));
}

/* Takes what is inside and empties it. */
static inline void pb_message(struct pb *pb, uint64_t field, struct pb *inside)
{
    pb_bytes(pb, field, inside->data, inside->len);
    free(inside->data);
    *inside = (struct pb){NULL, 0};
}

static inline void pb_free(struct pb *pb)
{
    free(pb->data);
    *pb = (struct pb){NULL, 0};
}

/* Fields of X509SVIDResponse and X509SVID, from the standard's text. */
enum { PB_SVIDS = 1, PB_CRL = 2, PB_FEDERATED = 3 };
enum { PB_SPIFFE_ID = 1, PB_X509_SVID = 2, PB_X509_SVID_KEY = 3, PB_BUNDLE = 4, PB_HINT = 5 };

static inline void pb_svid(struct pb *pb, const char *id, const char *chain, const char *key,
                           const char *bundle, const char *hint)
{
    struct pb svid = {NULL, 0};
    if (id != NULL) {
        pb_text(&svid, PB_SPIFFE_ID, id);
    }
    if (chain != NULL) {
        pb_text(&svid, PB_X509_SVID, chain);
    }
    if (key != NULL) {
        pb_text(&svid, PB_X509_SVID_KEY, key);
    }
    if (bundle != NULL) {
        pb_text(&svid, PB_BUNDLE, bundle);
    }
    if (hint != NULL) {
        pb_text(&svid, PB_HINT, hint);
    }
    pb_message(pb, PB_SVIDS, &svid);
}

static inline void pb_federated(struct pb *pb, const char *domain, const char *bundle)
{
    struct pb entry = {NULL, 0};
    if (domain != NULL) {
        pb_text(&entry, 1, domain);
    }
    if (bundle != NULL) {
        pb_text(&entry, 2, bundle);
    }
    pb_message(pb, PB_FEDERATED, &entry);
}

#endif
