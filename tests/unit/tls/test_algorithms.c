/*
 * What a handshake needs of the library context is there, with each kind of key that an SVID may
 * have, and nothing of it comes from anywhere else.
 */
#include "tls_test.h"

#include <openssl/provider.h>

#include "../../../src/tls/tls_context_private.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void test_each_kind_of_key(void **state)
{
    struct world *world = *state;
    EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_EC_gen("P-521"),
                        EVP_RSA_gen(2048), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_non_null(keys[i]);
        assert_int_equal(EVP_PKEY_up_ref(keys[i]), 1);
        struct identity own =
            make_identity_of(keys[i], &world->anchor, OURS_ID, false, -HOUR, HOUR);
        struct identity theirs =
            make_identity_of(keys[i], &world->anchor, PEER_ID, false, -HOUR, HOUR);
        use_credentials(world, &own, &world->anchor, 2 + i);
        for (size_t j = 0; j < 4; j++) {
            bool we_serve = j < 2;
            struct duel duel = {0};
            const struct peer_options options = {
                .server = !we_serve, .version = versions[j % 2], .show = &theirs};
            duel_run(world, &duel, we_serve ? world->server : world->client, &options);
            assert_true(duel.ours.open);
            assert_true(duel.peer.done);
            duel_fini(&duel);
        }
        free_identity(&own);
        free_identity(&theirs);
    }
}

/* Each in turn is all that the peer can do. In TLS 1.2 the group is also that of our certificate.
 */
static void test_each_suite_and_group(void **state)
{
    static const struct {
        int version;
        const char *suite;
        const char *group;
    } ROWS[] = {
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "P-256"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", "P-256"},
        {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", "P-256"},
        {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", "P-521"},
        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", "P-384"},
        {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", "X25519"},
    };
    struct world *world = *state;
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct duel duel = {0};
        bool is_new = ROWS[i].version == TLS1_3_VERSION;
        const struct peer_options options = {.version = ROWS[i].version,
                                             .show = &world->peer,
                                             .ciphers = is_new ? NULL : ROWS[i].suite,
                                             .suites = is_new ? ROWS[i].suite : NULL,
                                             .groups = ROWS[i].group};
        duel_run(world, &duel, world->server, &options);
        assert_true(duel.ours.open);
        assert_string_equal(tls_conn_cipher_name(duel.ours.conn), ROWS[i].suite);
        assert_string_equal(tls_conn_peer(duel.ours.conn)->group, ROWS[i].group);
        duel_fini(&duel);
    }
}

static bool both_are_open(void *arg)
{
    const struct ours *sides = arg;
    return sides[0].called && sides[1].called;
}

/* Whatever asks for an algorithm without saying in which context finds none. */
static void test_nothing_comes_from_the_default_context(void **state)
{
    struct world *world = *state;
    OSSL_LIB_CTX *empty = OSSL_LIB_CTX_new();
    OSSL_PROVIDER *none = OSSL_PROVIDER_load(empty, "null");
    assert_non_null(none);
    OSSL_LIB_CTX *former = OSSL_LIB_CTX_set0_default(empty);
    assert_null(EVP_MD_fetch(NULL, "SHA256", NULL));
    use_credentials(world, &world->ours, &world->anchor, 2);
    struct ours sides[2] = {{.conn = NULL}};
    int fds[2];
    unix_pair(fds);
    ours_accept(world, &sides[0], world->server, fds[0]);
    ours_connect(world, &sides[1], world->client, fds[1], NULL, NULL);
    run_until(world, both_are_open, sides);
    assert_true(sides[0].open);
    assert_true(sides[1].open);
    ours_fini(&sides[0]);
    ours_fini(&sides[1]);
    (void)OSSL_LIB_CTX_set0_default(former);
    (void)OSSL_PROVIDER_unload(none);
    OSSL_LIB_CTX_free(empty);
    ERR_clear_error();
}

static void test_other_groups_are_unknown(void **state)
{
    struct world *world = *state;
    static const char *const NAMES[] = {"brainpoolP256r1", "secp256k1", "sect571r1", "X448",
                                        "ffdhe2048",       "secp224r1"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%s", NAMES[i]);
        int set = (int)SSL_CTX_set1_groups_list(world->server->ssl_ctx, name);
        ERR_clear_error();
        /* A FIPS module has some of them, and the default provider all. */
        assert_true(set == 0 || test_provider() != CRYPTO_FILTERED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_kind_of_key, setup_world, teardown_world),
        cmocka_unit_test_setup_teardown(test_each_suite_and_group, setup_world, teardown_world),
        cmocka_unit_test_setup_teardown(test_nothing_comes_from_the_default_context, setup_world,
                                        teardown_world),
        cmocka_unit_test_setup_teardown(test_other_groups_are_unknown, setup_world, teardown_world),
    };
    return cmocka_run_group_tests_name("algorithms", tests, NULL, NULL);
}
