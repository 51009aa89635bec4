/* workload_response: what is a response of the Workload API and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "identity/workload_response.h"
#include "unit/identity/protobuf.h"

static struct workload_response response;

/* Takes the message. */
static int decode(struct pb *pb, struct errbuf *err)
{
    err->text[0] = '\0';
    int result = workload_response_decode(pb->data, pb->len, &response, err);
    assert_int_equal(result != 0, err->text[0] != '\0');
    return result;
}

static void assert_good(struct pb *pb)
{
    struct errbuf err;
    if (decode(pb, &err) != 0) {
        fail_msg("refused: %s", err.text);
    }
}

static void assert_refused(struct pb *pb, const char *why)
{
    struct errbuf err;
    if (decode(pb, &err) == 0) {
        fail_msg("not refused: %s", why);
    }
    if (strstr(err.text, why) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", why, err.text);
    }
    pb_free(pb);
}

static void good_svid(struct pb *pb)
{
    pb_svid(pb, "spiffe://prod.example/a", "chain", "key", "bundle", NULL);
}

static void test_takes_a_whole_response(void **state)
{
    (void)state;
    struct pb pb = {NULL, 0};
    pb_svid(&pb, "spiffe://prod.example/a", "chain-a", "key-a", "bundle-a", "internal");
    pb_text(&pb, PB_CRL, "crl-1");
    pb_federated(&pb, "spiffe://partner.example", "anchors");
    pb_svid(&pb, "spiffe://prod.example/b", "chain-b", "key-b", "bundle-b", NULL);
    pb_text(&pb, PB_CRL, "crl-2");
    pb_federated(&pb, "spiffe://other.example", NULL);
    assert_good(&pb);
    assert_int_equal(response.svid_count, 2);
    const struct workload_svid *a = &response.svids[0];
    assert_true(strview_equal_text(a->spiffe_id, "spiffe://prod.example/a"));
    assert_true(strview_equal_text(a->chain, "chain-a"));
    assert_true(strview_equal_text(a->key, "key-a"));
    assert_true(strview_equal_text(a->bundle, "bundle-a"));
    assert_true(strview_equal_text(a->hint, "internal"));
    assert_true(strview_equal_text(response.svids[1].spiffe_id, "spiffe://prod.example/b"));
    assert_int_equal(response.svids[1].hint.len, 0);
    assert_int_equal(response.crl_count, 2);
    assert_true(strview_equal_text(response.crls[0], "crl-1"));
    assert_true(strview_equal_text(response.crls[1], "crl-2"));
    assert_int_equal(response.bundle_count, 2);
    assert_true(strview_equal_text(response.bundles[0].trust_domain, "spiffe://partner.example"));
    assert_true(strview_equal_text(response.bundles[0].anchors, "anchors"));
    assert_int_equal(response.bundles[1].anchors.len, 0);
    pb_free(&pb);
}

static void test_of_a_field_twice_the_last_counts(void **state)
{
    (void)state;
    struct pb svid = {NULL, 0};
    pb_text(&svid, PB_HINT, "old");
    pb_text(&svid, PB_SPIFFE_ID, "spiffe://prod.example/old");
    pb_text(&svid, PB_X509_SVID_KEY, "key");
    pb_text(&svid, PB_BUNDLE, "bundle");
    pb_text(&svid, PB_X509_SVID, "chain");
    pb_text(&svid, PB_SPIFFE_ID, "spiffe://prod.example/new");
    pb_text(&svid, PB_HINT, "");
    struct pb pb = {NULL, 0};
    pb_message(&pb, PB_SVIDS, &svid);
    struct pb entry = {NULL, 0};
    pb_text(&entry, 2, "first");
    pb_text(&entry, 1, "spiffe://wrong.example");
    pb_text(&entry, 2, "second");
    pb_text(&entry, 1, "spiffe://partner.example");
    pb_message(&pb, PB_FEDERATED, &entry);
    pb_federated(&pb, "spiffe://other.example", "other");
    pb_federated(&pb, "spiffe://partner.example", "third");
    assert_good(&pb);
    assert_true(strview_equal_text(response.svids[0].spiffe_id, "spiffe://prod.example/new"));
    assert_int_equal(response.svids[0].hint.len, 0);
    assert_int_equal(response.bundle_count, 2);
    assert_true(strview_equal_text(response.bundles[0].trust_domain, "spiffe://partner.example"));
    assert_true(strview_equal_text(response.bundles[0].anchors, "third"));
    pb_free(&pb);
}

/* Values of every wire type but groups, under a number that is not ours or with a type that is not
   the field's. */
static void put_strangers(struct pb *pb, uint64_t field)
{
    static const uint8_t fixed[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    pb_tag(pb, field, 0);
    pb_varint(pb, UINT64_MAX);
    pb_tag(pb, field, 1);
    pb_raw(pb, fixed, 8);
    pb_tag(pb, field, 5);
    pb_raw(pb, fixed, 4);
}

static void test_skips_what_it_does_not_know(void **state)
{
    (void)state;
    struct pb svid = {NULL, 0};
    for (uint64_t field = 1; field <= 6; field++) {
        put_strangers(&svid, field);
    }
    pb_text(&svid, 100, "unknown");
    pb_text(&svid, PB_SPIFFE_ID, "spiffe://prod.example/a");
    pb_text(&svid, PB_X509_SVID, "chain");
    pb_text(&svid, PB_X509_SVID_KEY, "key");
    pb_text(&svid, PB_BUNDLE, "bundle");
    put_strangers(&svid, (1U << 29) - 1);
    struct pb pb = {NULL, 0};
    for (uint64_t field = 1; field <= 4; field++) {
        put_strangers(&pb, field);
    }
    pb_text(&pb, 99, "\x0a\x01"); /* looks like something, is nobody's business */
    pb_message(&pb, PB_SVIDS, &svid);
    struct pb entry = {NULL, 0};
    put_strangers(&entry, 1);
    put_strangers(&entry, 2);
    pb_text(&entry, 3, "unknown");
    pb_text(&entry, 1, "spiffe://partner.example");
    pb_message(&pb, PB_FEDERATED, &entry);
    assert_good(&pb);
    assert_int_equal(response.svid_count, 1);
    assert_true(strview_equal_text(response.svids[0].chain, "chain"));
    assert_int_equal(response.bundle_count, 1);
    assert_int_equal(response.bundles[0].anchors.len, 0);
    assert_int_equal(response.crl_count, 0);
    pb_free(&pb);
}

/* Padding is wasteful, but some encoders reserve a length's place before they know it. */
static void test_takes_padded_varints(void **state)
{
    (void)state;
    struct pb pb = {NULL, 0};
    good_svid(&pb);
    pb_raw(&pb, "\x92\x80\x80\x80\x00", 5); /* field 2, bytes */
    pb_raw(&pb, "\x83\x80\x80\x80\x00", 5); /* 3 */
    pb_raw(&pb, "crl", 3);
    pb_raw(&pb, "\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11); /* field 7: 2^64 - 1 */
    assert_good(&pb);
    assert_int_equal(response.crl_count, 1);
    assert_true(strview_equal_text(response.crls[0], "crl"));
    pb_free(&pb);
}

static void test_refuses_broken_bytes(void **state)
{
    (void)state;
#define BYTES(text) text, sizeof(text) - 1
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } rows[] = {
        {BYTES("\x80"), "tag is cut off"},
        {BYTES("\xff\xff\xff\xff\x1f\x00"), "tag is cut off or too long"},
        {BYTES("\x92\x80\x80\x80\x80\x00\x00"), "tag is cut off or too long"},
        {BYTES("\x00\x00"), "field number 0"},
        {BYTES("\x02\x00"), "field number 0"},
        {BYTES("\x0b\x0c"), "field 1 is a group"},
        {BYTES("\x0c"), "field 1 is a group"},
        {BYTES("\x9b\x06\x9c\x06"), "field 99 is a group"},
        {BYTES("\x0e\x00"), "wire type 6"},
        {BYTES("\x0f\x00"), "wire type 7"},
        {BYTES("\x12"), "field 2: its value (wire type 2) is cut off"},
        {BYTES("\x12\x04"
               "crl"),
         "cut off"},
        {BYTES("\x12\x80"), "cut off"},
        {BYTES("\x12\x83\x80\x80\x80\x80\x00"
               "crl"),
         "cut off or broken"},
        {BYTES("\x12\xff\xff\xff\xff\x0f"), "cut off"},
        {BYTES("\x12\xff\xff\xff\xff\x7f"), "cut off"},
        {BYTES("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"), "field 1: its value"},
        {BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"), "field 1: its value"},
        {BYTES("\x08"), "cut off"},
        {BYTES("\x09\x01\x02\x03\x04\x05\x06\x07"), "wire type 1"},
        {BYTES("\x0d\x01\x02\x03"), "wire type 5"},
        /* The same inside an SVID and inside an entry of the map. */
        {BYTES("\x0a\x02\x0a\x01"), "SVID 2: field 1"},
        {BYTES("\x0a\x01\x0b"), "SVID 2: field 1 is a group"},
        {BYTES("\x1a\x02\x12\x7f"), "federated bundle 1: field 2"},
        {BYTES("\x1a\x01\x00"), "federated bundle 1: field number 0"},
    };
#undef BYTES
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pb pb = {NULL, 0};
        good_svid(&pb);
        pb_raw(&pb, rows[i].bytes, rows[i].len);
        assert_refused(&pb, rows[i].why);
    }
}

static void test_refuses_a_message_cut_anywhere(void **state)
{
    (void)state;
    struct pb whole = {NULL, 0};
    pb_svid(&whole, "spiffe://prod.example/a", "chain", "key", "bundle", "hint");
    size_t svid = whole.len;
    pb_federated(&whole, "spiffe://partner.example", "anchors");
    for (size_t len = 0; len < whole.len; len++) {
        struct pb cut = {NULL, 0};
        pb_raw(&cut, whole.data, len);
        if (len == svid) {
            assert_good(&cut);
            pb_free(&cut);
        } else {
            assert_refused(&cut, "");
        }
    }
    pb_free(&whole);
}

static void test_refuses_an_svid_that_lacks_a_field(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        const char *chain;
        const char *key;
        const char *bundle;
        const char *why;
    } rows[] = {
        {NULL, "chain", "key", "bundle", "SVID 2: spiffe_id is empty"},
        {"", "chain", "key", "bundle", "SVID 2: spiffe_id is empty"},
        {"spiffe://a/b", NULL, "key", "bundle", "SVID 2: x509_svid is empty"},
        {"spiffe://a/b", "", "key", "bundle", "SVID 2: x509_svid is empty"},
        {"spiffe://a/b", "chain", NULL, "bundle", "SVID 2: x509_svid_key is empty"},
        {"spiffe://a/b", "chain", "", "bundle", "SVID 2: x509_svid_key is empty"},
        {"spiffe://a/b", "chain", "key", NULL, "SVID 2: bundle is empty"},
        {"spiffe://a/b", "chain", "key", "", "SVID 2: bundle is empty"},
        {NULL, NULL, NULL, NULL, "SVID 2: spiffe_id is empty"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pb pb = {NULL, 0};
        good_svid(&pb);
        pb_svid(&pb, rows[i].id, rows[i].chain, rows[i].key, rows[i].bundle, "hint");
        good_svid(&pb);
        assert_refused(&pb, rows[i].why);
    }
}

static void test_a_field_of_another_wire_type_is_not_there(void **state)
{
    (void)state;
    struct pb svid = {NULL, 0};
    pb_text(&svid, PB_SPIFFE_ID, "spiffe://prod.example/a");
    pb_text(&svid, PB_X509_SVID, "chain");
    pb_tag(&svid, PB_X509_SVID_KEY, 0);
    pb_varint(&svid, 1);
    pb_text(&svid, PB_BUNDLE, "bundle");
    struct pb pb = {NULL, 0};
    pb_message(&pb, PB_SVIDS, &svid);
    assert_refused(&pb, "x509_svid_key is empty");
}

static void test_refuses_a_response_without_an_svid(void **state)
{
    (void)state;
    struct pb pb = {NULL, 0};
    assert_refused(&pb, "no SVID");
    pb_federated(&pb, "spiffe://partner.example", "anchors");
    pb_text(&pb, PB_CRL, "crl");
    assert_refused(&pb, "no SVID");
}

static void test_refuses_a_bundle_without_a_name(void **state)
{
    (void)state;
    struct pb pb = {NULL, 0};
    good_svid(&pb);
    pb_federated(&pb, "spiffe://partner.example", "anchors");
    pb_federated(&pb, NULL, "anchors");
    assert_refused(&pb, "federated bundle 2: a bundle without a trust domain");
    good_svid(&pb);
    pb_federated(&pb, "", "anchors");
    assert_refused(&pb, "without a trust domain");
}

static void test_refuses_text_that_is_no_utf8(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct pb pb = {NULL, 0};
        pb_svid(&pb, texts[i], "chain", "key", "bundle", NULL);
        assert_refused(&pb, "SVID 1: spiffe_id is no UTF-8");
        pb_svid(&pb, "spiffe://a/b", "chain", "key", "bundle", texts[i]);
        assert_refused(&pb, "SVID 1: hint is no UTF-8");
        good_svid(&pb);
        pb_federated(&pb, texts[i], "anchors");
        assert_refused(&pb, "federated bundle 1: a trust domain is no UTF-8");
    }
    /* A text that a later one replaces must be sound as well. */
    struct pb svid = {NULL, 0};
    pb_text(&svid, PB_HINT, "\xff");
    pb_text(&svid, PB_HINT, "good");
    struct pb pb = {NULL, 0};
    pb_message(&pb, PB_SVIDS, &svid);
    assert_refused(&pb, "hint is no UTF-8");
}

static void test_bounds_what_it_takes(void **state)
{
    (void)state;
    struct pb pb = {NULL, 0};
    char hint[WORKLOAD_HINT_MAX + 2];
    memset(hint, 'h', sizeof(hint));
    hint[WORKLOAD_HINT_MAX] = '\0';
    pb_svid(&pb, "spiffe://a/b", "chain", "key", "bundle", hint);
    assert_good(&pb);
    hint[WORKLOAD_HINT_MAX] = 'h';
    hint[WORKLOAD_HINT_MAX + 1] = '\0';
    pb_svid(&pb, "spiffe://a/b", "chain", "key", "bundle", hint);
    assert_refused(&pb, "hint has 1025 bytes; at most 1024");
    for (size_t i = 0; i < WORKLOAD_SVIDS_MAX; i++) {
        good_svid(&pb);
    }
    assert_good(&pb);
    assert_int_equal(response.svid_count, WORKLOAD_SVIDS_MAX);
    good_svid(&pb);
    assert_refused(&pb, "more than 256 SVIDs");
    good_svid(&pb);
    for (size_t i = 0; i < WORKLOAD_CRLS_MAX; i++) {
        pb_text(&pb, PB_CRL, "");
    }
    assert_good(&pb);
    assert_int_equal(response.crl_count, WORKLOAD_CRLS_MAX);
    pb_text(&pb, PB_CRL, "");
    assert_refused(&pb, "more than 1000 CRLs");
    good_svid(&pb);
    for (size_t i = 0; i < WORKLOAD_BUNDLES_MAX; i++) {
        pb_federated(&pb, "spiffe://the.same", "anchors");
    }
    assert_good(&pb);
    assert_int_equal(response.bundle_count, 1);
    pb_federated(&pb, "spiffe://another.one", "anchors");
    assert_refused(&pb, "more than 1000 federated bundles");
}

static void test_bounds_the_message(void **state)
{
    (void)state;
    struct pb pb = {NULL, 0};
    good_svid(&pb);
    size_t head = 1 + 4; /* the tag and the length of what fills it */
    size_t fill = WORKLOAD_MESSAGE_MAX - pb.len - head;
    uint8_t *zeros = calloc(1, fill + 1);
    assert_non_null(zeros);
    struct pb larger = {NULL, 0};
    pb_raw(&larger, pb.data, pb.len);
    pb_bytes(&pb, 15, zeros, fill);
    assert_int_equal(pb.len, WORKLOAD_MESSAGE_MAX);
    assert_good(&pb);
    pb_free(&pb);
    pb_bytes(&larger, 15, zeros, fill + 1);
    assert_refused(&larger, "4194305 bytes; at most 4194304");
    free(zeros);
}

/* An error goes to a log: nothing of the message may be in it. */
static void test_no_error_holds_the_message(void **state)
{
    (void)state;
    struct errbuf err;
    struct pb svid = {NULL, 0};
    pb_text(&svid, PB_SPIFFE_ID, "SECRET");
    pb_text(&svid, PB_X509_SVID_KEY, "SECRET");
    pb_text(&svid, PB_HINT, "SECRET\xff");
    struct pb pb = {NULL, 0};
    pb_message(&pb, PB_SVIDS, &svid);
    for (size_t len = 0; len <= pb.len; len++) {
        assert_int_equal(workload_response_decode(pb.data, len, &response, &err), -1);
        assert_null(strstr(err.text, "SECRET"));
    }
    pb_free(&pb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_a_whole_response),
        cmocka_unit_test(test_of_a_field_twice_the_last_counts),
        cmocka_unit_test(test_skips_what_it_does_not_know),
        cmocka_unit_test(test_takes_padded_varints),
        cmocka_unit_test(test_refuses_broken_bytes),
        cmocka_unit_test(test_refuses_a_message_cut_anywhere),
        cmocka_unit_test(test_refuses_an_svid_that_lacks_a_field),
        cmocka_unit_test(test_a_field_of_another_wire_type_is_not_there),
        cmocka_unit_test(test_refuses_a_response_without_an_svid),
        cmocka_unit_test(test_refuses_a_bundle_without_a_name),
        cmocka_unit_test(test_refuses_text_that_is_no_utf8),
        cmocka_unit_test(test_bounds_what_it_takes),
        cmocka_unit_test(test_bounds_the_message),
        cmocka_unit_test(test_no_error_holds_the_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
