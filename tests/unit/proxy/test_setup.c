/* setup: slots that stay with their names, TLS settings that stay where nothing changed. */
#include "unit/tls/tls_test.h"

#include "config/config.h"
#include "policy/policy.h"
#include "proxy/setup.h"

enum { TEXT_SIZE = 256 * 1024 };

static struct crypto *crypto;

static int make_crypto(void **state)
{
    struct errbuf err;
    (void)state;
    crypto = test_crypto_new(&err);
    return crypto == NULL ? -1 : 0;
}

static int free_crypto(void **state)
{
    (void)state;
    crypto_free(crypto);
    return 0;
}

/* listeners: the list's text. */
static struct setup *build(const char *listeners, const struct setup *former)
{
    char *text = mem_alloc(TEXT_SIZE);
    int len = snprintf(text, TEXT_SIZE,
                       "version: 1\n"
                       "identity: {files: {certificate: /none, private_key: /none}}\n"
                       "trust: {one.example: {bundle: /none, crl: /none, crl_expired: cut},\n"
                       "        two.example: {bundle: /none, crl: /none}}\n"
                       "listeners:\n%s",
                       listeners);
    assert_true(len > 0 && len < TEXT_SIZE);
    struct diag_list diags;
    diag_list_init(&diags);
    struct config *config = config_parse("test", text, (size_t)len, NULL, &diags);
    assert_non_null(config);
    struct policy *policy = policy_load(config, &diags);
    const struct setup_parts parts = {.crypto = crypto};
    struct setup *setup = setup_build(config, policy, former, &parts, &diags);
    for (size_t i = 0; setup == NULL && i < diags.count; i++) {
        (void)fprintf(stderr, "%s\n", diags.items[i].message);
    }
    assert_non_null(setup);
    diag_list_fini(&diags);
    mem_free(text);
    return setup;
}

#define IN(name, more) \
    "  - {name: " name ", accept: 'mtls://127.0.0.1:0', forward: 'tcp://127.0.0.1:9'" more "}\n"
#define BRIDGE(name, more)                                                                \
    "  - {name: " name ", accept: 'mtls://127.0.0.1:0', forward: 'mtls://127.0.0.1:9',\n" \
    "     expect: 'spiffe://one.example/x'" more "}\n"

static size_t slot_of(const struct setup *setup, const char *name)
{
    const struct setup_listener *listener = setup_find_name(setup, name);
    assert_non_null(listener);
    assert_ptr_equal(setup_find_slot(setup, listener->slot), listener);
    return listener->slot;
}

static void test_setup_a_name_keeps_its_slot(void **state)
{
    (void)state;
    struct setup *one = build(IN("a", "") IN("b", "") IN("c", ""), NULL);
    struct setup *two = build(IN("d", "") IN("c", "") IN("a", ""), one);
    assert_int_equal(slot_of(two, "a"), slot_of(one, "a"));
    assert_int_equal(slot_of(two, "c"), slot_of(one, "c"));
    assert_null(setup_find_name(two, "b"));
    /* Not the one that b had: its sessions may still be about. */
    assert_int_not_equal(slot_of(two, "d"), slot_of(one, "b"));
    assert_null(setup_find_slot(two, slot_of(one, "b")));
    struct setup *three = build(IN("e", "") IN("a", ""), two);
    assert_int_equal(slot_of(three, "e"), slot_of(one, "b"));
    setup_unref(one);
    setup_unref(two);
    setup_unref(three);
}

/* As many listeners as there may be, all with other names, again and again. */
static void test_setup_slots_suffice(void **state)
{
    (void)state;
    char *text = mem_alloc(TEXT_SIZE);
    struct setup *former = NULL;
    for (int round = 0; round < 3; round++) {
        size_t len = 0;
        for (int i = 0; i < CONFIG_MAX_LISTENERS; i++) {
            len += (size_t)snprintf(text + len, TEXT_SIZE - len,
                                    "  - {name: n%d-%d, accept: 'mtls://127.0.0.1:0',\n"
                                    "     forward: 'tcp://127.0.0.1:9'}\n",
                                    round, i);
            assert_true(len < TEXT_SIZE);
        }
        struct setup *setup = build(text, former);
        for (size_t i = 0; i < CONFIG_MAX_LISTENERS; i++) {
            size_t slot = setup->listeners[i].slot;
            assert_true(slot < SETUP_SLOTS);
            assert_ptr_equal(setup_find_slot(setup, slot), &setup->listeners[i]);
            if (former != NULL) {
                assert_null(setup_find_slot(former, slot));
            }
        }
        setup_unref(former);
        former = setup;
    }
    setup_unref(former);
    mem_free(text);
}

static void test_setup_tls_settings_stay_where_nothing_changed(void **state)
{
    (void)state;
    struct setup *one =
        build(IN("a", ", alpn: [h2]") BRIDGE("b", ", alpn: [h2]") IN("c", ""), NULL);
    struct setup *two = build(IN("a", ", alpn: [h2], max_age: 1h") BRIDGE("b", ", alpn: [http/1.1]")
                                  IN("c", ", alpn: [h2], alpn_required: true"),
                              one);
    assert_non_null(one->listeners[0].server);
    assert_null(one->listeners[0].client);
    assert_ptr_equal(one->listeners[0].server, two->listeners[0].server);
    assert_ptr_not_equal(one->listeners[1].server, two->listeners[1].server);
    assert_ptr_not_equal(one->listeners[1].client, two->listeners[1].client);
    assert_ptr_not_equal(one->listeners[2].server, two->listeners[2].server);
    setup_unref(one); /* what was taken over outlives it */
    assert_non_null(two->listeners[0].server);
    struct setup *three = build(BRIDGE("a", ", alpn: [h2]"), two); /* of another kind */
    assert_ptr_not_equal(three->listeners[0].server, two->listeners[0].server);
    assert_non_null(three->listeners[0].client);
    setup_unref(two);
    setup_unref(three);
}

static void test_setup_same_path(void **state)
{
    (void)state;
    struct setup *setup = build(
        IN("a", "") IN("b", ", max_age: 1h") BRIDGE(
            "c", "") "  - {name: d, accept: 'mtls://127.0.0.1:0', forward: 'tcp://127.0.0.1:10'}\n"
                     "  - {name: e, accept: 'mtls://127.0.0.1:0', forward: 'unix:///x'}\n"
                     "  - {name: f, accept: 'mtls+unix:///y', forward: 'tcp://127.0.0.1:9'}\n",
        NULL);
    const struct setup_listener *all = setup->listeners;
    assert_true(setup_same_path(&all[0], &all[1]));
    assert_true(setup_same_path(&all[0], &all[5])); /* where it accepts does not matter */
    assert_false(setup_same_path(&all[0], &all[2]));
    assert_false(setup_same_path(&all[0], &all[3]));
    assert_false(setup_same_path(&all[0], &all[4]));
    setup_unref(setup);
}

static void test_setup_crl_expiry_cuts(void **state)
{
    (void)state;
    struct setup *setup = build(IN("a", ""), NULL);
    assert_true(setup_crl_expiry_cuts(setup, strview_from("one.example")));
    assert_false(setup_crl_expiry_cuts(setup, strview_from("two.example")));
    assert_false(setup_crl_expiry_cuts(setup, strview_from("one.exampl")));
    assert_false(setup_crl_expiry_cuts(setup, strview_from("three.example")));
    setup_unref(setup);
    setup_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setup_a_name_keeps_its_slot),
        cmocka_unit_test(test_setup_slots_suffice),
        cmocka_unit_test(test_setup_tls_settings_stay_where_nothing_changed),
        cmocka_unit_test(test_setup_same_path),
        cmocka_unit_test(test_setup_crl_expiry_cuts),
    };
    return cmocka_run_group_tests(tests, make_crypto, free_crypto);
}
