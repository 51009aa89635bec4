/*
 * Fuzz target: workload_response. Every view lies in the message, every bound holds, and what was
 * found, written out anew, is found again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "identity/workload_response.h"
#include "unit/identity/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct workload_response response;
static struct workload_response again;

static void check_inside(struct strview view, const uint8_t *data, size_t size)
{
    const uint8_t *at = (const uint8_t *)view.ptr;
    ASSERT(view.len == 0 || (at >= data && view.len <= size && at + view.len <= data + size));
}

static void check(const uint8_t *data, size_t size)
{
    ASSERT(response.svid_count > 0 && response.svid_count <= WORKLOAD_SVIDS_MAX);
    ASSERT(response.bundle_count <= WORKLOAD_BUNDLES_MAX);
    ASSERT(response.crl_count <= WORKLOAD_CRLS_MAX);
    for (size_t i = 0; i < response.svid_count; i++) {
        const struct workload_svid *svid = &response.svids[i];
        ASSERT(svid->spiffe_id.len > 0 && svid->chain.len > 0 && svid->key.len > 0);
        ASSERT(svid->bundle.len > 0 && svid->hint.len <= WORKLOAD_HINT_MAX);
        check_inside(svid->spiffe_id, data, size);
        check_inside(svid->chain, data, size);
        check_inside(svid->key, data, size);
        check_inside(svid->bundle, data, size);
        check_inside(svid->hint, data, size);
    }
    for (size_t i = 0; i < response.bundle_count; i++) {
        ASSERT(response.bundles[i].trust_domain.len > 0);
        check_inside(response.bundles[i].trust_domain, data, size);
        check_inside(response.bundles[i].anchors, data, size);
        for (size_t k = 0; k < i; k++) {
            ASSERT(
                !strview_equal(response.bundles[i].trust_domain, response.bundles[k].trust_domain));
        }
    }
    for (size_t i = 0; i < response.crl_count; i++) {
        check_inside(response.crls[i], data, size);
    }
}

static void put(struct pb *pb, uint64_t field, struct strview value)
{
    pb_bytes(pb, field, value.ptr, value.len);
}

static void write_response(struct pb *pb)
{
    for (size_t i = 0; i < response.svid_count; i++) {
        struct pb svid = {NULL, 0};
        put(&svid, PB_HINT, response.svids[i].hint);
        put(&svid, PB_SPIFFE_ID, response.svids[i].spiffe_id);
        put(&svid, PB_X509_SVID, response.svids[i].chain);
        put(&svid, PB_X509_SVID_KEY, response.svids[i].key);
        put(&svid, PB_BUNDLE, response.svids[i].bundle);
        pb_message(pb, PB_SVIDS, &svid);
    }
    for (size_t i = 0; i < response.crl_count; i++) {
        put(pb, PB_CRL, response.crls[i]);
    }
    for (size_t i = 0; i < response.bundle_count; i++) {
        struct pb entry = {NULL, 0};
        put(&entry, 1, response.bundles[i].trust_domain);
        put(&entry, 2, response.bundles[i].anchors);
        pb_message(pb, PB_FEDERATED, &entry);
    }
}

static void compare(void)
{
    ASSERT(again.svid_count == response.svid_count && again.crl_count == response.crl_count);
    ASSERT(again.bundle_count == response.bundle_count);
    for (size_t i = 0; i < again.svid_count; i++) {
        ASSERT(strview_equal(again.svids[i].spiffe_id, response.svids[i].spiffe_id));
        ASSERT(strview_equal(again.svids[i].chain, response.svids[i].chain));
        ASSERT(strview_equal(again.svids[i].key, response.svids[i].key));
        ASSERT(strview_equal(again.svids[i].bundle, response.svids[i].bundle));
        ASSERT(strview_equal(again.svids[i].hint, response.svids[i].hint));
    }
    for (size_t i = 0; i < again.bundle_count; i++) {
        ASSERT(strview_equal(again.bundles[i].anchors, response.bundles[i].anchors));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errbuf err = {""};
    if (workload_response_decode(data, size, &response, &err) != 0) {
        ASSERT(err.text[0] != '\0');
        return 0;
    }
    check(data, size);
    struct pb pb = {NULL, 0};
    write_response(&pb);
    if (pb.len <= WORKLOAD_MESSAGE_MAX) { /* small fields of many make more than they were */
        ASSERT(workload_response_decode(pb.data, pb.len, &again, &err) == 0);
        compare();
    }
    pb_free(&pb);
    return 0;
}
