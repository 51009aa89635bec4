/*
 * workload_response: the bytes of an X509SVIDResponse (SPIFFE Workload API 5.1) taken apart.
 *
 * A decoder of our own for eight fields, and not protobuf-c: generated code copies what it finds,
 * the private key among it, into memory that nobody wipes; it allocates for each unknown field; and
 * what it refuses is not ours to say. Here nothing is allocated or copied: every view points into
 * the message, which its owner wipes.
 *
 *     message X509SVIDResponse {          message X509SVID {
 *       repeated X509SVID svids = 1;        string spiffe_id = 1;
 *       repeated bytes crl = 2;             bytes x509_svid = 2;      // DER, leaf first
 *       map<string, bytes>                  bytes x509_svid_key = 3;  // PKCS#8, DER
 *           federated_bundles = 3;          bytes bundle = 4;         // DER
 *     }                                     string hint = 5;
 *                                         }
 *
 * As proto3 has it: of a field that is there twice the last one counts, and of two entries of a map
 * with one key; fields that are not known, and known ones with another wire type, are skipped.
 * Refused, and with it the whole message: groups (proto3 has none), wire types 6 and 7, field
 * number 0, a varint longer than the ten bytes of 64 bits (of a tag or a length: than five), a
 * length beyond what is there, text that is no UTF-8, more than the bounds below, no SVID at all,
 * an SVID that lacks a mandatory field (Workload API 4.5: all but `hint` and `federated_bundles`
 * and `crl`), and a federated bundle without a name. A federated bundle without a certificate is
 * one that trusts nobody. Whether the fields mean anything is workload_update's business.
 *
 * Pure; any thread.
 */
#ifndef BULKHEAD_IDENTITY_WORKLOAD_RESPONSE_H
#define BULKHEAD_IDENTITY_WORKLOAD_RESPONSE_H

#include "base/errbuf.h"
#include "base/strview.h"

#include <stddef.h>

enum {
    WORKLOAD_MESSAGE_MAX = 4 * 1024 * 1024,
    WORKLOAD_SVIDS_MAX = 256,
    WORKLOAD_BUNDLES_MAX = 1000, /* entries of the map, those that a later one replaces too */
    WORKLOAD_CRLS_MAX = 1000,
    WORKLOAD_HINT_MAX = 1024 /* bytes; Workload API 5.2.1 */
};

struct workload_svid {
    struct strview spiffe_id;
    struct strview chain;
    struct strview key;
    struct strview bundle;
    struct strview hint; /* may be empty */
};

struct workload_bundle {
    struct strview trust_domain; /* its SPIFFE ID, as it came */
    struct strview anchors;
};

/* Views into the message that was decoded. About 70 KiB: not for a stack. */
struct workload_response {
    size_t svid_count; /* at least 1 */
    size_t bundle_count;
    size_t crl_count;
    struct workload_svid svids[WORKLOAD_SVIDS_MAX];
    struct workload_bundle bundles[WORKLOAD_BUNDLES_MAX]; /* each trust domain once */
    struct strview crls[WORKLOAD_CRLS_MAX];
};

/* -1 with err, which never holds a byte of the message: it is refused whole. */
int workload_response_decode(const void *message, size_t len, struct workload_response *response,
                             struct errbuf *err) __attribute__((warn_unused_result));

#endif
