/* Unit tests of issuer_match, by svid_verify: several certificates that bear one name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "verify_fixture.h"

/* The file's order must not matter; the bundle's own is by hash, and so differs at each run. */
static void verify_with_anchors(struct fixture *f, X509 *const *anchors, X509 *const *list,
                                enum reason expected)
{
    for (size_t i = 0; i < 3; i++) {
        struct svid_failure failure;
        X509 *const ordered[] = {anchors[i], anchors[(i + 1) % 3], anchors[(i + 2) % 3], NULL};
        struct credentials *credentials = credentials_with(f, ordered);
        enum reason reason =
            verify_under(f, credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
        credentials_unref(credentials);
        expect(reason, expected, &failure);
    }
}

static void test_namesake_anchors(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *keys[] = {f->root_key, f->spare_key, f->intermediate_key};
    for (int identifiers = 0; identifiers < 2; identifiers++) {
        X509 *anchors[3];
        for (size_t i = 0; i < 3; i++) {
            struct cert_spec spec = cert_ca("one name");
            spec.key_identifiers = identifiers == 1;
            anchors[i] = cert_build(f->crypto, &spec, keys[i], NULL, NULL);
        }
        /* A leaf of each of the three; and of a fourth with the same name. */
        for (size_t i = 0; i < 4; i++) {
            struct cert_spec spec = cert_leaf(ID);
            spec.key_identifiers = identifiers == 1;
            EVP_PKEY *stranger = cert_ec_key(f->crypto, "P-256");
            X509 *leaf =
                cert_build(f->crypto, &spec, f->key, anchors[i % 3], i < 3 ? keys[i] : stranger);
            X509 *const list[] = {leaf, NULL};
            verify_with_anchors(f, anchors, list, i < 3 ? REASON_NONE : REASON_SVID_BAD_SIGNATURE);
            X509_free(leaf);
            EVP_PKEY_free(stranger);
        }
        for (size_t i = 0; i < 3; i++) {
            X509_free(anchors[i]);
        }
    }
}

/* envoy#38302: an expired duplicate of the root shadows the good one. */
static void test_expired_namesake_anchor(void **state)
{
    struct fixture *f = *state;
    for (int same_key = 0; same_key < 2; same_key++) {
        for (int identifiers = 0; identifiers < 2; identifiers++) {
            struct cert_spec spec = cert_ca("one name");
            spec.key_identifiers = identifiers == 1;
            X509 *good = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
            spec.not_after = CERT_NOW - 1;
            X509 *old =
                cert_build(f->crypto, &spec, same_key ? f->root_key : f->spare_key, NULL, NULL);
            spec.not_before = CERT_NOW + 1;
            spec.not_after = CERT_NOW + CERT_DAY;
            X509 *future =
                cert_build(f->crypto, &spec, same_key ? f->root_key : f->spare_key, NULL, NULL);
            struct cert_spec leaf_spec = cert_leaf(ID);
            leaf_spec.key_identifiers = identifiers == 1;
            X509 *leaf = cert_build(f->crypto, &leaf_spec, f->key, good, f->root_key);
            X509 *const anchors[] = {old, good, future};
            X509 *const list[] = {leaf, NULL};
            verify_with_anchors(f, anchors, list, REASON_NONE);
            X509_free(leaf);
            X509_free(good);
            X509_free(old);
            X509_free(future);
        }
    }
}

/* A wrong namesake may also fail earlier than at its signature: by its path length or purpose. */
static void namesake_with_another_fault(struct fixture *f)
{
    struct cert_spec spec = cert_ca("one name");
    spec.key_identifiers = false;
    X509 *good = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    spec.basic_constraints = "critical,CA:TRUE,pathlen:0";
    X509 *narrow = cert_build(f->crypto, &spec, f->spare_key, NULL, NULL);
    spec.basic_constraints = "critical,CA:TRUE";
    spec.extended_key_usage = "emailProtection";
    X509 *mail = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    spec = cert_ca("middle");
    spec.key_identifiers = false;
    X509 *middle = cert_build(f->crypto, &spec, f->intermediate_key, good, f->root_key);
    struct cert_spec leaf_spec = cert_leaf(ID);
    leaf_spec.key_identifiers = false;
    X509 *leaf = cert_build(f->crypto, &leaf_spec, f->key, middle, f->intermediate_key);
    X509 *const anchors[] = {narrow, good, mail};
    X509 *const list[] = {leaf, middle, NULL};
    verify_with_anchors(f, anchors, list, REASON_NONE);
    X509_free(leaf);
    X509_free(middle);
    X509_free(good);
    X509_free(narrow);
    X509_free(mail);
}

static void test_namesake_with_another_fault(void **state)
{
    for (size_t i = 0; i < 8; i++) { /* new serials, new hashes, another order of anchors */
        namesake_with_another_fault(*state);
    }
}

/*
 * A root's rollover certificate, the new key signed by the old one, bears the anchor's name and is
 * sent by the peer; leaves of the new key carry no identifier to tell the two apart.
 */
static void test_rollover_certificate(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec ca = cert_ca("prod root");
    X509 *new_with_old = cert_build(f->crypto, &ca, f->spare_key, f->root, f->root_key);
    struct cert_spec spec = cert_leaf(ID);
    spec.key_identifiers = false;
    X509 *leaf = cert_build(f->crypto, &spec, f->key, new_with_old, f->spare_key);
    X509 *const list[] = {leaf, new_with_old, NULL};
    expect(verify(f, list, &failure), REASON_NONE, &failure);
    X509_free(leaf);
    X509_free(new_with_old);
}

/* Namesakes among what the peer sends: a rotated intermediate with and without its predecessor. */
static void test_namesake_intermediates(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec spec = cert_ca("middle");
    spec.key_identifiers = false;
    X509 *old = cert_build(f->crypto, &spec, f->spare_key, f->root, f->root_key);
    X509 *fresh = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    struct cert_spec leaf_spec = cert_leaf(ID);
    leaf_spec.key_identifiers = false;
    X509 *leaf = cert_build(f->crypto, &leaf_spec, f->key, fresh, f->intermediate_key);
    X509 *const old_first[] = {leaf, old, fresh, NULL};
    X509 *const fresh_first[] = {leaf, fresh, old, NULL};
    X509 *const only_old[] = {leaf, old, NULL};
    expect(verify(f, old_first, &failure), REASON_NONE, &failure);
    expect(verify(f, fresh_first, &failure), REASON_NONE, &failure);
    expect(verify(f, only_old, &failure), REASON_SVID_BAD_SIGNATURE, &failure);
    X509_free(leaf);
    X509_free(old);
    X509_free(fresh);
}

/* A peer that sends an impostor root with our root's name changes nothing. */
static void test_peers_namesake_of_the_anchor(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec spec = cert_ca("prod root");
    spec.key_identifiers = false;
    X509 *impostor = cert_build(f->crypto, &spec, f->spare_key, NULL, NULL);
    X509 *honest = leaf_of(f, f->root, f->root_key);
    struct cert_spec leaf_spec = cert_leaf(ID);
    leaf_spec.key_identifiers = false;
    X509 *forged = cert_build(f->crypto, &leaf_spec, f->key, impostor, f->spare_key);
    X509 *const good[] = {honest, impostor, NULL};
    X509 *const bad[] = {forged, impostor, NULL};
    expect(verify(f, good, &failure), REASON_NONE, &failure);
    expect(verify(f, bad, &failure), REASON_SVID_BAD_SIGNATURE, &failure);
    X509_free(honest);
    X509_free(forged);
    X509_free(impostor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_namesake_anchors),
        cmocka_unit_test(test_expired_namesake_anchor),
        cmocka_unit_test(test_namesake_with_another_fault),
        cmocka_unit_test(test_rollover_certificate),
        cmocka_unit_test(test_namesake_intermediates),
        cmocka_unit_test(test_peers_namesake_of_the_anchor),
    };
    return cmocka_run_group_tests(tests, verify_setup, verify_teardown);
}
