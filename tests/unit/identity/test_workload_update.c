/* workload_update: what a message means, and which messages mean nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/spiffe/crl_builder.h"
#include "unit/spiffe/der_of.h"
#include "unit/spiffe/verify_fixture.h"

#include "identity/workload_response.h"
#include "identity/workload_update.h"
#include "spiffe/x509_svid.h"

#define OTHER_ID "spiffe://prod.example/ns/shop/sa/other"

enum { TEXTS_MAX = 16 };

struct message {
    struct workload_response response;
    struct der_text texts[TEXTS_MAX];
    size_t text_count;
};

static struct message message;

static struct strview keep(struct der_text text)
{
    CERT_MUST(message.text_count < TEXTS_MAX);
    message.texts[message.text_count++] = text;
    return (struct strview){(const char *)text.data, text.len};
}

static void begin(void)
{
    for (size_t i = 0; i < message.text_count; i++) {
        free(message.texts[i].data);
    }
    message.text_count = 0;
    memset(&message.response, 0, sizeof(message.response));
}

static struct workload_svid *add_svid(struct fixture *f, const char *id, X509 *anchor,
                                      EVP_PKEY *anchor_key)
{
    struct cert_spec spec = cert_leaf(id);
    X509 *leaf = cert_build(f->crypto, &spec, f->key, anchor, anchor_key);
    X509 *const chain[] = {leaf, NULL};
    X509 *const anchors[] = {anchor, NULL};
    struct workload_svid *svid = &message.response.svids[message.response.svid_count++];
    *svid = (struct workload_svid){.spiffe_id = strview_from(id),
                                   .chain = keep(der_of(chain)),
                                   .key = keep(pkcs8_of(f->key)),
                                   .bundle = keep(der_of(anchors)),
                                   .hint = strview_from("")};
    X509_free(leaf);
    return svid;
}

static struct workload_bundle *add_bundle(const char *id, X509 *anchor)
{
    X509 *const anchors[] = {anchor, NULL};
    struct workload_bundle *bundle = &message.response.bundles[message.response.bundle_count++];
    *bundle = (struct workload_bundle){.trust_domain = strview_from(id),
                                       .anchors = keep(der_of(anchors))};
    return bundle;
}

static struct workload_update *make(struct fixture *f, const char *id, const char *hint,
                                    const struct workload_update *former, struct errbuf *err)
{
    const struct workload_choice choice = {.spiffe_id = id, .hint = hint};
    err->text[0] = '\0';
    return workload_update_new(f->crypto, &message.response, &choice, former, err);
}

static struct workload_update *must(struct fixture *f, const char *id, const char *hint,
                                    const struct workload_update *former)
{
    struct errbuf err;
    struct workload_update *update = make(f, id, hint, former, &err);
    if (update == NULL) {
        fail_msg("refused: %s", err.text);
    }
    return update;
}

static void assert_refused(struct fixture *f, const char *why)
{
    struct errbuf err;
    assert_null(make(f, NULL, NULL, NULL, &err));
    if (strstr(err.text, why) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", why, err.text);
    }
}

static void test_a_whole_message(void **state)
{
    struct fixture *f = *state;
    begin();
    (void)add_svid(f, ID, f->root, f->root_key);
    (void)add_bundle("spiffe://partner.example", f->partner);
    struct workload_update *update = must(f, NULL, NULL, NULL);
    assert_true(strview_equal_text(x509_svid_id(update->own)->text, ID));
    assert_int_equal(update->domain_count, 2);
    assert_string_equal(update->domains[0].name, "prod.example");
    assert_string_equal(update->domains[1].name, "partner.example");
    assert_int_equal(trust_bundle_count(update->domains[1].bundle), 1);
    assert_string_equal(update->note, "");
    /* The same once more: the same objects. Another without the partner: it is withdrawn. */
    struct workload_update *again = must(f, NULL, NULL, update);
    assert_true(workload_update_same(again, update));
    assert_ptr_equal(again->own, update->own);
    message.response.bundle_count = 0;
    struct workload_update *without = must(f, NULL, NULL, update);
    assert_false(workload_update_same(without, update));
    assert_int_equal(without->domain_count, 1);
    assert_ptr_equal(without->domains[0].bundle, update->domains[0].bundle);
    workload_update_unref(without);
    workload_update_unref(again);
    workload_update_unref(update);
    workload_update_unref(NULL);
}

static void test_one_of_several_is_chosen(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *id;
        const char *hint;
        const char *chosen;
    } rows[] = {
        {NULL, NULL, ID},
        {"", "", ID},
        {OTHER_ID, NULL, OTHER_ID},
        {NULL, "internal", ID},
        {NULL, "external", OTHER_ID},
        {ID, "external", ID "2"},
        {OTHER_ID, "internal", NULL},
        {"spiffe://prod.example/none", NULL, NULL},
        {NULL, "none", NULL},
        {NULL, "Internal", NULL},
    };
    begin();
    add_svid(f, ID, f->root, f->root_key)->hint = strview_from("internal");
    add_svid(f, OTHER_ID, f->root, f->root_key)->hint = strview_from("external");
    /* A hint that stands twice: the first has it; a third SVID to tell the two apart. */
    add_svid(f, ID "2", f->root, f->root_key)->hint = strview_from("external");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool both = rows[i].id != NULL && strcmp(rows[i].id, ID) == 0;
        struct workload_update *update = must(f, both ? ID "2" : rows[i].id, rows[i].hint, NULL);
        assert_int_equal(update->svid_count, 3);
        assert_int_equal(update->domain_count, 1);
        if (rows[i].chosen == NULL) {
            assert_null(update->own);
            assert_non_null(strstr(update->note, "none of the agent's 3 SVIDs has"));
            assert_non_null(strstr(update->note, "the first is " ID));
        } else {
            assert_true(strview_equal_text(x509_svid_id(update->own)->text, rows[i].chosen));
        }
        workload_update_unref(update);
    }
}

static void test_what_is_not_of_one_another_is_refused(void **state)
{
    struct fixture *f = *state;
    begin();
    add_svid(f, ID, f->root, f->root_key)->spiffe_id = strview_from(OTHER_ID);
    assert_refused(f, "is said to be " OTHER_ID ", and its certificate is " ID);
    begin();
    add_svid(f, ID, f->root, f->root_key)->key = keep(pkcs8_of(f->spare_key));
    assert_refused(f, "the private key does not belong to the certificate");
    begin();
    struct workload_svid *svid = add_svid(f, ID, f->root, f->root_key);
    svid->key.len--;
    assert_refused(f, "private key: ");
    begin();
    svid = add_svid(f, ID, f->root, f->root_key);
    svid->chain.len--;
    assert_refused(f, "certificate chain: ");
    begin();
    svid = add_svid(f, ID, f->root, f->root_key);
    svid->chain = svid->bundle;
    assert_refused(f, "the SVID " ID);
}

static void test_ids_that_are_none_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[] = {
        "prod.example",           "spiffe://prod.example",  "spiffe://Prod.example/a",
        "spiffe://prod.example/", "https://prod.example/a", "\n"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        begin();
        (void)add_svid(f, ID, f->root, f->root_key);
        add_svid(f, OTHER_ID, f->root, f->root_key)->spiffe_id = strview_from(ids[i]);
        assert_refused(f, ids[i]);
    }
    static const char *const domains[] = {"partner.example", "spiffe://partner.example/",
                                          "spiffe://partner.example/a", "spiffe://",
                                          "spiffe://P.x"};
    for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
        begin();
        (void)add_svid(f, ID, f->root, f->root_key);
        (void)add_bundle(domains[i], f->partner);
        assert_refused(f, domains[i]);
    }
}

static void test_a_bundle_of_our_own_must_be_one(void **state)
{
    struct fixture *f = *state;
    begin();
    struct workload_svid *svid = add_svid(f, ID, f->root, f->root_key);
    svid->bundle = svid->chain;
    assert_refused(f,
                   "the bundle of prod.example: certificate 1: \"CN=leaf\" is no CA certificate");
    begin();
    add_svid(f, ID, f->root, f->root_key)->bundle = strview_from("garbage");
    assert_refused(f, "the bundle of prod.example");
}

static void test_two_bundles_for_one_domain_must_agree(void **state)
{
    struct fixture *f = *state;
    begin();
    (void)add_svid(f, ID, f->root, f->root_key);
    (void)add_bundle("spiffe://prod.example", f->root);
    workload_update_unref(must(f, NULL, NULL, NULL));
    (void)add_bundle("spiffe://prod.example", f->partner);
    assert_refused(f, "two bundles for prod.example in one message, and they differ");
    begin();
    (void)add_svid(f, ID, f->root, f->root_key);
    (void)add_svid(f, OTHER_ID, f->partner, f->partner_key);
    assert_refused(f, "two bundles for prod.example");
}

/* One partner's mistake must not hold back our own rotation, nor withdraw others. */
static void test_a_federated_bundle_is_its_domains_matter(void **state)
{
    struct fixture *f = *state;
    begin();
    (void)add_svid(f, ID, f->root, f->root_key);
    add_bundle("spiffe://partner.example", f->partner)->anchors = strview_from("garbage");
    struct workload_update *update = must(f, NULL, NULL, NULL);
    assert_int_equal(update->domain_count, 1);
    assert_int_equal(update->kept, 1);
    assert_non_null(strstr(update->note, "the bundle of partner.example: "));
    assert_non_null(strstr(update->note, "; the domain has none"));
    workload_update_unref(update);
    message.response.bundle_count = 0;
    struct workload_bundle *bundle = add_bundle("spiffe://partner.example", f->partner);
    struct workload_update *former = must(f, NULL, NULL, NULL);
    bundle->anchors = strview_from("garbage");
    update = must(f, NULL, NULL, former);
    assert_int_equal(update->domain_count, 2);
    assert_ptr_equal(update->domains[1].bundle, former->domains[1].bundle);
    assert_non_null(strstr(update->note, "the former one is kept"));
    workload_update_unref(update);
    /* None at all trusts nobody, and is no mistake. */
    bundle->anchors = strview_from("");
    update = must(f, NULL, NULL, former);
    assert_int_equal(update->kept, 0);
    assert_int_equal(trust_bundle_count(update->domains[1].bundle), 0);
    workload_update_unref(update);
    workload_update_unref(former);
}

/* CA certificates are public: a partner that copies ours must not take our own bundle away. */
static void test_a_federated_bundle_never_displaces_our_own(void **state)
{
    struct fixture *f = *state;
    X509 *const both[] = {f->partner, f->root, NULL};
    X509 *const one[] = {f->root, NULL};
    begin();
    struct workload_svid *svid = add_svid(f, ID, f->partner, f->partner_key);
    struct workload_bundle *bundle = add_bundle("spiffe://partner.example", f->root);
    struct workload_update *former = must(f, NULL, NULL, NULL);
    assert_int_equal(former->domain_count, 2);
    /* We take in a new root: the one that the partner has already. */
    svid->bundle = keep(der_of(both));
    struct workload_update *update = must(f, NULL, NULL, former);
    assert_int_equal(update->domain_count, 1);
    assert_int_equal(trust_bundle_count(update->domains[0].bundle), 2);
    assert_int_equal(update->kept, 1);
    assert_non_null(strstr(update->note, "the bundle of partner.example: the key of its anchor "
                                         "\"CN=prod root\" is also in the bundle of prod.example"));
    assert_non_null(strstr(update->note, "; the domain has none"));
    workload_update_unref(update);
    /* Only the partner has changed, and what it had before is its own. */
    workload_update_unref(former);
    svid->bundle = keep(der_of((X509 *const[]){f->partner, NULL}));
    former = must(f, NULL, NULL, NULL);
    bundle->anchors = keep(der_of(both));
    update = must(f, NULL, NULL, former);
    assert_int_equal(update->domain_count, 2);
    assert_ptr_equal(update->domains[1].bundle, former->domains[1].bundle);
    assert_non_null(strstr(update->note, "the former one is kept"));
    workload_update_unref(update);
    workload_update_unref(former);
    /* Of two that are federated nobody knows whose the key is. */
    bundle->anchors = keep(der_of(one));
    (void)add_bundle("spiffe://third.example", f->root);
    update = must(f, NULL, NULL, NULL);
    assert_int_equal(update->domain_count, 3);
    workload_update_unref(update);
}

static void test_crls_go_where_they_belong(void **state)
{
    struct fixture *f = *state;
    begin();
    (void)add_svid(f, ID, f->root, f->root_key);
    (void)add_bundle("spiffe://partner.example", f->partner);
    struct crl_spec spec = crl_of(f->partner, f->partner_key);
    struct der_text list = {NULL, 0};
    list.data = (uint8_t *)crl_der(&spec, &list.len);
    message.response.crls[message.response.crl_count++] = keep(list);
    struct workload_update *update = must(f, NULL, NULL, NULL);
    assert_null(update->domains[0].crls);
    assert_int_equal(crl_set_count(update->domains[1].crls), 1);
    assert_int_equal(update->loose_crls, 0);
    struct workload_update *again = must(f, NULL, NULL, update);
    assert_ptr_equal(again->domains[1].crls, update->domains[1].crls);
    assert_true(workload_update_same(again, update));
    workload_update_unref(again);
    message.response.bundle_count = 0;
    again = must(f, NULL, NULL, update);
    assert_int_equal(again->loose_crls, 1);
    workload_update_unref(again);
    message.response.crls[message.response.crl_count++] = strview_from("garbage");
    assert_refused(f, "CRL 2: ");
    workload_update_unref(update);
}

/* Names are chosen by each CA for itself: whose a list is, only its signature says, and the time
   that takes adds up. */
static void test_lists_and_namesakes_are_bounded_together(void **state)
{
    enum { DOMAINS = 41, NAME_SIZE = 32 };
    struct fixture *f = *state;
    static char names[DOMAINS][NAME_SIZE];
    struct crl_spec spec = crl_of(f->partner, f->partner_key);
    struct der_text list = {NULL, 0};
    begin();
    (void)add_svid(f, ID, f->root, f->root_key);
    list.data = (uint8_t *)crl_der(&spec, &list.len);
    struct strview crl = keep(list);
    struct workload_bundle first = *add_bundle("spiffe://first.example", f->partner);
    message.response.bundle_count = 0;
    for (size_t i = 0; i < DOMAINS; i++) {
        (void)snprintf(names[i], NAME_SIZE, "spiffe://d%zu.example", i);
        message.response.bundles[message.response.bundle_count++] = (struct workload_bundle){
            .trust_domain = strview_from(names[i]), .anchors = first.anchors};
    }
    while (message.response.crl_count * DOMAINS + DOMAINS <= WORKLOAD_CRL_CHECKS_MAX) {
        message.response.crls[message.response.crl_count++] = crl;
    }
    workload_update_unref(must(f, NULL, NULL, NULL));
    message.response.crls[message.response.crl_count++] = crl;
    assert_refused(f,
                   "too many CRLs: to say whose each of the 98 is takes 4018 signatures; at most "
                   "4000 are checked");
}

static void test_withdrawn(void **state)
{
    struct fixture *f = *state;
    begin();
    (void)add_svid(f, ID, f->root, f->root_key);
    struct workload_update *update = must(f, NULL, NULL, NULL);
    struct workload_update *withdrawn = workload_update_withdrawn(update, "denied");
    assert_null(withdrawn->own);
    assert_int_equal(withdrawn->domain_count, 1);
    assert_ptr_equal(withdrawn->domains[0].bundle, update->domains[0].bundle);
    assert_string_equal(withdrawn->note, "denied");
    assert_false(workload_update_same(update, withdrawn));
    struct workload_update *nothing = workload_update_withdrawn(NULL, "denied");
    assert_int_equal(nothing->domain_count, 0);
    workload_update_unref(nothing);
    workload_update_unref(withdrawn);
    workload_update_unref(update);
    begin();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_message),
        cmocka_unit_test(test_one_of_several_is_chosen),
        cmocka_unit_test(test_what_is_not_of_one_another_is_refused),
        cmocka_unit_test(test_ids_that_are_none_are_refused),
        cmocka_unit_test(test_a_bundle_of_our_own_must_be_one),
        cmocka_unit_test(test_two_bundles_for_one_domain_must_agree),
        cmocka_unit_test(test_a_federated_bundle_is_its_domains_matter),
        cmocka_unit_test(test_a_federated_bundle_never_displaces_our_own),
        cmocka_unit_test(test_crls_go_where_they_belong),
        cmocka_unit_test(test_lists_and_namesakes_are_bounded_together),
        cmocka_unit_test(test_withdrawn),
    };
    return cmocka_run_group_tests(tests, verify_setup, verify_teardown);
}
