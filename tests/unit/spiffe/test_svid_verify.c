/* Unit tests of svid_verify: whose CA may vouch for whom, and every way in which a path fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "verify_fixture.h"

/* One leaf from an intermediate with this spec, which the root issued. */
static enum reason verify_below(struct fixture *f, const struct cert_spec *intermediate,
                                EVP_PKEY *key, const char *id, struct svid_failure *failure)
{
    struct cert_spec spec = cert_leaf(id);
    X509 *issuer = cert_build(f->crypto, intermediate, key, f->root, f->root_key);
    X509 *leaf = cert_build(f->crypto, &spec, f->key, issuer, key);
    X509 *const list[] = {leaf, issuer, NULL};
    enum reason reason = verify(f, list, failure);
    X509_free(leaf);
    X509_free(issuer);
    return reason;
}

static void test_accepts_direct_and_by_intermediate(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *direct = leaf_of(f, f->root, f->root_key);
    X509 *below = leaf_of(f, f->intermediate, f->intermediate_key);
    X509 *const one[] = {direct, NULL};
    X509 *const two[] = {below, f->intermediate, NULL};
    X509 *const with_root[] = {below, f->intermediate, f->root, NULL};
    X509 *const with_junk[] = {below, f->partner, f->intermediate, direct, NULL};
    X509 *const twice[] = {below, f->intermediate, f->intermediate, NULL};
    expect(verify(f, one, &failure), REASON_NONE, &failure);
    expect(verify(f, two, &failure), REASON_NONE, &failure);
    expect(verify(f, with_root, &failure), REASON_NONE, &failure);
    expect(verify(f, with_junk, &failure), REASON_NONE, &failure);
    expect(verify(f, twice, &failure), REASON_NONE, &failure);
    X509 *const lonely[] = {below, NULL};
    expect(verify(f, lonely, &failure), REASON_SVID_UNTRUSTED, &failure);
    assert_non_null(strstr(failure.detail, "CN=intermediate"));
    X509_free(direct);
    X509_free(below);
}

static void test_success_says_what_it_rests_on(void **state)
{
    struct fixture *f = *state;
    struct svid_verified verified;
    struct svid_failure failure;
    uint8_t anchor[32];
    X509 *leaf = leaf_of(f, f->intermediate, f->intermediate_key);
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    CERT_MUST(sk_X509_push(untrusted, f->intermediate) > 0); /* without the leaf, too */
    CERT_MUST(X509_digest(f->root, EVP_sha256(), anchor, NULL) == 1);
    assert_int_equal(svid_verify(f->crypto, f->credentials, leaf, untrusted, SVID_ROLE_CLIENT,
                                 CERT_NOW, &verified, &failure),
                     REASON_NONE);
    assert_true(strview_equal_text(verified.id.text, ID));
    assert_ptr_equal(verified.id.text.ptr, verified.id_text);
    assert_memory_equal(verified.anchor_sha256, anchor, sizeof(anchor));
    assert_int_equal(sk_X509_num(verified.path), 3);
    assert_true(verified.not_before == CERT_NOW - CERT_DAY);
    assert_true(verified.not_after == CERT_NOW + CERT_DAY);
    svid_verified_fini(&verified);
    sk_X509_free(untrusted);
    X509_free(leaf);
}

/* SPIFFE bundle 3: the bundle of the leaf's own trust domain and nothing else. */
static void test_trust_domains_are_apart(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    /* A federated CA mints one of our IDs; ours mints one of theirs. */
    X509 *stolen = leaf_of(f, f->partner, f->partner_key);
    struct cert_spec spec = cert_leaf(PARTNER);
    X509 *reverse = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    X509 *honest = cert_build(f->crypto, &spec, f->key, f->partner, f->partner_key);
    spec = cert_leaf("spiffe://unknown.example/web");
    X509 *unknown = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    spec = cert_leaf("spiffe://prod.example.partner.example/web");
    X509 *longer = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);

    X509 *const a[] = {stolen, f->partner, NULL};
    X509 *const b[] = {reverse, NULL};
    X509 *const c[] = {honest, NULL};
    X509 *const d[] = {unknown, NULL};
    X509 *const e[] = {longer, NULL};
    expect(verify(f, a, &failure), REASON_SVID_UNTRUSTED, &failure);
    assert_string_equal(failure.claimed, ID);
    assert_non_null(strstr(failure.detail, "the bundle of \"prod.example\" has 1 anchor"));
    assert_null(strstr(failure.detail, "anchors"));
    expect(verify(f, b, &failure), REASON_SVID_UNTRUSTED, &failure);
    expect(verify(f, c, &failure), REASON_NONE, &failure);
    expect(verify(f, d, &failure), REASON_SVID_UNKNOWN_TRUST_DOMAIN, &failure);
    assert_non_null(strstr(failure.detail, "unknown.example"));
    expect(verify(f, e, &failure), REASON_SVID_UNKNOWN_TRUST_DOMAIN, &failure);
    X509_free(stolen);
    X509_free(reverse);
    X509_free(honest);
    X509_free(unknown);
    X509_free(longer);
}

static void test_foreign_and_self_signed_are_untrusted(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    /* The same name and another key: with key identifiers, and without. */
    struct cert_spec ca = cert_ca("prod root");
    X509 *impostor = cert_build(f->crypto, &ca, f->spare_key, NULL, NULL);
    X509 *leaf = leaf_of(f, impostor, f->spare_key);
    X509 *const named[] = {leaf, impostor, NULL};
    expect(verify(f, named, &failure), REASON_SVID_UNTRUSTED, &failure);
    X509_free(leaf);

    struct cert_spec spec = cert_leaf(ID);
    spec.key_identifiers = false;
    leaf = cert_build(f->crypto, &spec, f->key, impostor, f->spare_key);
    X509 *const bare[] = {leaf, NULL};
    expect(verify(f, bare, &failure), REASON_SVID_BAD_SIGNATURE, &failure);
    X509_free(leaf);
    X509_free(impostor);

    leaf = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    X509 *const self[] = {leaf, NULL};
    expect(verify(f, self, &failure), REASON_SVID_UNTRUSTED, &failure);
    X509_free(leaf);

    leaf = leaf_of(f, f->root, f->root_key);
    X509 *broken = cert_break_signature(f->crypto, leaf);
    X509 *const damaged[] = {broken, NULL};
    expect(verify(f, damaged, &failure), REASON_SVID_BAD_SIGNATURE, &failure);
    X509_free(broken);
    X509_free(leaf);
}

static void test_time(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *leaf = leaf_of(f, f->root, f->root_key);
    X509 *const list[] = {leaf, NULL};
    static const struct {
        int64_t now_s;
        enum reason reason;
    } cases[] = {
        {CERT_NOW - CERT_DAY - 1, REASON_SVID_NOT_YET_VALID},
        {CERT_NOW - CERT_DAY, REASON_NONE},
        {CERT_NOW + CERT_DAY - 1, REASON_NONE},
        {CERT_NOW + CERT_DAY, REASON_SVID_EXPIRED},
        {CERT_NOW + 100LL * CERT_DAY, REASON_SVID_EXPIRED},
        {0, REASON_SVID_NOT_YET_VALID},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect(verify_under(f, f->credentials, list, SVID_ROLE_CLIENT, cases[i].now_s, &failure),
               cases[i].reason, &failure);
    }
    X509_free(leaf);

    /* An expired intermediate or anchor ends the path as well. */
    struct cert_spec ca = cert_ca("short");
    ca.not_after = CERT_NOW - 1;
    expect(verify_below(f, &ca, f->spare_key, ID, &failure), REASON_SVID_EXPIRED, &failure);
    assert_non_null(strstr(failure.detail, "certificate 1 (CN=short)"));
    ca.not_after = CERT_NOW + CERT_DAY;
    ca.not_before = CERT_NOW + 1;
    expect(verify_below(f, &ca, f->spare_key, ID, &failure), REASON_SVID_NOT_YET_VALID, &failure);
}

static void test_intermediates(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name;
        const char *basic_constraints, *key_usage, *extended_key_usage, *uri, *private_extension;
        enum reason reason;
    } cases[] = {
        {"plain", "critical,CA:TRUE", "critical,keyCertSign", NULL, NULL, NULL, REASON_NONE},
        {"path length 0", "critical,CA:TRUE,pathlen:0", "critical,keyCertSign", NULL, NULL, NULL,
         REASON_NONE},
        {"ID", "critical,CA:TRUE", "critical,keyCertSign", NULL, "spiffe://prod.example", NULL,
         REASON_NONE},
        {"EKU of both roles", "critical,CA:TRUE", "critical,keyCertSign", "serverAuth,clientAuth",
         NULL, NULL, REASON_NONE},
        {"ID with a path", "critical,CA:TRUE", "critical,keyCertSign", NULL,
         "spiffe://prod.example/ca", NULL, REASON_SVID_ISSUER_ID},
        {"ID of another domain", "critical,CA:TRUE", "critical,keyCertSign", NULL,
         "spiffe://partner.example", NULL, REASON_SVID_ISSUER_ID},
        {"cA false", "critical,CA:FALSE", "critical,keyCertSign", NULL, NULL, NULL,
         REASON_SVID_ISSUER_NOT_CA},
        {"no basicConstraints", NULL, "critical,keyCertSign", NULL, NULL, NULL,
         REASON_SVID_ISSUER_NOT_CA},
        {"no keyCertSign", "critical,CA:TRUE", "critical,digitalSignature", NULL, NULL, NULL,
         REASON_SVID_ISSUER_NOT_CA},
        {"no keyUsage", "critical,CA:TRUE", NULL, NULL, NULL, NULL, REASON_SVID_ISSUER_NOT_CA},
        {"EKU e-mail", "critical,CA:TRUE", "critical,keyCertSign", "emailProtection", NULL, NULL,
         REASON_SVID_PURPOSE},
        {"critical extension", "critical,CA:TRUE", "critical,keyCertSign", NULL, NULL, "critical",
         REASON_SVID_CRITICAL_EXTENSION},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct svid_failure failure;
        struct cert_spec ca = cert_ca("case");
        ca.basic_constraints = cases[i].basic_constraints;
        ca.key_usage = cases[i].key_usage;
        ca.extended_key_usage = cases[i].extended_key_usage;
        ca.private_extension = cases[i].private_extension;
        if (cases[i].uri != NULL) {
            cert_add_name(&ca, GEN_URI, cases[i].uri, 0);
        }
        enum reason reason = verify_below(f, &ca, f->spare_key, ID, &failure);
        if (reason != cases[i].reason) {
            fail_msg("%s: %s (%s)", cases[i].name, reason_label(reason), failure.detail);
        }
    }
}

/* An intermediate's extendedKeyUsage for one role lets only that role through. */
static void test_purpose_is_the_peers_role(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec ca = cert_ca("servers only");
    ca.extended_key_usage = "serverAuth";
    X509 *issuer = cert_build(f->crypto, &ca, f->spare_key, f->root, f->root_key);
    X509 *leaf = leaf_of(f, issuer, f->spare_key);
    X509 *const list[] = {leaf, issuer, NULL};
    expect(verify_under(f, f->credentials, list, SVID_ROLE_SERVER, CERT_NOW, &failure), REASON_NONE,
           &failure);
    expect(verify_under(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure),
           REASON_SVID_PURPOSE, &failure);
    X509_free(leaf);
    X509_free(issuer);
}

/* CVE-2002-0862: a workload signs another workload's certificate. */
static void test_leaf_as_issuer(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec spec = cert_leaf("spiffe://prod.example/thief");
    X509 *thief = cert_build(f->crypto, &spec, f->spare_key, f->root, f->root_key);
    X509 *leaf = leaf_of(f, thief, f->spare_key);
    X509 *const list[] = {leaf, thief, NULL};
    expect(verify(f, list, &failure), REASON_SVID_ISSUER_NOT_CA, &failure);
    X509_free(leaf);
    X509_free(thief);
}

static void test_path_length_and_depth(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *list[10] = {NULL};
    struct cert_spec spec = cert_ca("limited");
    spec.basic_constraints = "critical,CA:TRUE,pathlen:0";
    X509 *limited = cert_build(f->crypto, &spec, f->spare_key, f->root, f->root_key);
    spec = cert_ca("below");
    X509 *below = cert_build(f->crypto, &spec, f->intermediate_key, limited, f->spare_key);
    X509 *leaf = leaf_of(f, below, f->intermediate_key);
    X509 *const exceeded[] = {leaf, below, limited, NULL};
    expect(verify(f, exceeded, &failure), REASON_SVID_ISSUER_NOT_CA, &failure);
    X509_free(leaf);
    X509_free(below);
    X509_free(limited);

    /* Five intermediates are the longest chain; a sixth is refused before any signature. */
    X509 *issuer = f->root;
    EVP_PKEY *issuer_key = f->root_key;
    for (size_t i = 6; i > 0; i--) {
        char cn[16];
        (void)snprintf(cn, sizeof(cn), "level %zu", i);
        spec = cert_ca(cn);
        list[i] = cert_build(f->crypto, &spec, f->spare_key, issuer, issuer_key);
        issuer = list[i];
        issuer_key = f->spare_key;
    }
    list[0] = leaf_of(f, list[1], f->spare_key);
    expect(verify(f, list, &failure), REASON_SVID_CHAIN_TOO_LONG, &failure);
    X509_free(list[0]);
    list[0] = leaf_of(f, list[2], f->spare_key);
    X509 *const five[] = {list[0], list[2], list[3], list[4], list[5], list[6], NULL};
    expect(verify(f, five, &failure), REASON_NONE, &failure);
    for (size_t i = 0; i < 7; i++) {
        X509_free(list[i]);
    }

    /* Counted as sent, whether the path needs them or not. */
    leaf = leaf_of(f, f->root, f->root_key);
    X509 *const junk[] = {leaf,
                          f->intermediate,
                          f->intermediate,
                          f->intermediate,
                          f->intermediate,
                          f->intermediate,
                          f->intermediate,
                          NULL};
    expect(verify(f, junk, &failure), REASON_SVID_CHAIN_TOO_LONG, &failure);
    expect(verify(f, junk + 1, &failure), REASON_SVID_NO_PATH, &failure);
    X509_free(leaf);
}

/* RFC 5280 4.2.1.10: URI constraints compare the host part, which is the trust domain. */
static void test_name_constraints(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *constraints;
        enum reason reason;
    } cases[] = {
        {"critical,permitted;URI:prod.example", REASON_NONE},
        {"permitted;URI:prod.example", REASON_NONE},
        {"critical,permitted;URI:.example", REASON_NONE},
        {"critical,excluded;URI:partner.example", REASON_NONE},
        {"critical,permitted;DNS:other.example", REASON_NONE}, /* no DNS name in the leaf */
        {"critical,permitted;URI:partner.example", REASON_SVID_NAME_CONSTRAINTS},
        {"critical,permitted;URI:.prod.example", REASON_SVID_NAME_CONSTRAINTS},
        {"critical,permitted;URI:rod.example", REASON_SVID_NAME_CONSTRAINTS},
        {"critical,permitted;URI:prod.example.org", REASON_SVID_NAME_CONSTRAINTS},
        {"critical,excluded;URI:prod.example", REASON_SVID_NAME_CONSTRAINTS},
        {"critical,excluded;URI:.example", REASON_SVID_NAME_CONSTRAINTS},
        {"excluded;URI:prod.example", REASON_SVID_NAME_CONSTRAINTS},
        {"critical,permitted;URI:prod.example,excluded;URI:prod.example",
         REASON_SVID_NAME_CONSTRAINTS},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct svid_failure failure;
        struct cert_spec ca = cert_ca("constrained");
        ca.name_constraints = cases[i].constraints;
        enum reason reason = verify_below(f, &ca, f->spare_key, ID, &failure);
        if (reason != cases[i].reason) {
            fail_msg("%s: %s (%s)", cases[i].constraints, reason_label(reason), failure.detail);
        }
    }
}

/* A common name that looks like a host is no name of ours; a DNS SAN is a name. */
static void test_dns_constraints_reach_sans_only(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec ca = cert_ca("constrained");
    ca.name_constraints = "critical,permitted;DNS:prod.example";
    X509 *issuer = cert_build(f->crypto, &ca, f->spare_key, f->root, f->root_key);
    struct cert_spec spec = cert_leaf(ID);
    spec.cn = "web.elsewhere.example";
    X509 *leaf = cert_build(f->crypto, &spec, f->key, issuer, f->spare_key);
    X509 *const by_cn[] = {leaf, issuer, NULL};
    expect(verify(f, by_cn, &failure), REASON_NONE, &failure);
    X509_free(leaf);
    cert_add_name(&spec, GEN_DNS, "web.elsewhere.example", 0);
    leaf = cert_build(f->crypto, &spec, f->key, issuer, f->spare_key);
    X509 *const by_san[] = {leaf, issuer, NULL};
    expect(verify(f, by_san, &failure), REASON_SVID_NAME_CONSTRAINTS, &failure);
    X509_free(leaf);
    X509_free(issuer);
}

static void test_explicit_policy_is_refused(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec ca = cert_ca("policy");
    ca.policy_constraints = "critical,requireExplicitPolicy:0";
    expect(verify_below(f, &ca, f->spare_key, ID, &failure), REASON_SVID_CRITICAL_EXTENSION,
           &failure);
    ca.policy_constraints = "inhibitPolicyMapping:0";
    expect(verify_below(f, &ca, f->spare_key, ID, &failure), REASON_NONE, &failure);
}

static void test_weak_signatures(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec spec = cert_leaf(ID);
    spec.digest = EVP_sha1();
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    X509 *const sha1[] = {leaf, NULL};
    expect(verify(f, sha1, &failure), REASON_SVID_WEAK_KEY, &failure);
    X509_free(leaf);

    EVP_PKEY *rsa = cert_rsa_key(f->crypto, 2048);
    struct cert_spec ca = cert_ca("rsa");
    X509 *issuer = cert_build(f->crypto, &ca, rsa, f->root, f->root_key);
    spec.digest = EVP_md5();
    leaf = cert_build(f->crypto, &spec, f->key, issuer, rsa);
    X509 *const md5[] = {leaf, issuer, NULL};
    expect(verify(f, md5, &failure), REASON_SVID_WEAK_KEY, &failure);
    X509_free(leaf);
    spec.digest = NULL;
    leaf = cert_build(f->crypto, &spec, f->key, issuer, rsa);
    X509 *const sha256[] = {leaf, issuer, NULL};
    expect(verify(f, sha256, &failure), REASON_NONE, &failure);
    X509_free(leaf);
    X509_free(issuer);
    EVP_PKEY_free(rsa);
}

/* A certificate whose key would cost too much is never used; beside the path it is no harm. */
static void test_weak_and_huge_intermediate_keys(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    EVP_PKEY *keys[] = {cert_rsa_key(f->crypto, 1024), cert_ec_key(f->crypto, "secp224r1"),
                        cert_explicit_key(f->crypto, "P-256")};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct cert_spec ca = cert_ca("weak");
        expect(verify_below(f, &ca, keys[i], ID, &failure), REASON_SVID_WEAK_KEY, &failure);
        assert_non_null(strstr(failure.detail, "certificate 1"));
        EVP_PKEY_free(keys[i]);
    }
    EVP_PKEY *huge = cert_fake_rsa_key(f->crypto, 16384, 64);
    struct cert_spec ca = cert_ca("huge");
    X509 *bystander = cert_build(f->crypto, &ca, huge, f->root, f->root_key);
    X509 *leaf = leaf_of(f, f->root, f->root_key);
    X509 *const list[] = {leaf, bystander, NULL};
    expect(verify(f, list, &failure), REASON_NONE, &failure);
    X509_free(leaf);
    X509_free(bystander);
    EVP_PKEY_free(huge);
}

static void test_a_bad_leaf_is_refused_before_its_chain(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec spec = cert_leaf(ID);
    spec.key_usage = "critical,digitalSignature,keyCertSign";
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->partner, f->partner_key);
    X509 *const list[] = {leaf, NULL};
    expect(verify(f, list, &failure), REASON_SVID_KEY_USAGE_SIGNS, &failure);
    X509 *const ca[] = {f->intermediate, NULL};
    expect(verify(f, ca, &failure), REASON_SVID_NO_PATH, &failure);
    X509 *const root[] = {f->root, NULL};
    expect(verify(f, root, &failure), REASON_SVID_NO_URI_SAN, &failure);
    X509_free(leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_direct_and_by_intermediate),
        cmocka_unit_test(test_success_says_what_it_rests_on),
        cmocka_unit_test(test_trust_domains_are_apart),
        cmocka_unit_test(test_foreign_and_self_signed_are_untrusted),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_intermediates),
        cmocka_unit_test(test_purpose_is_the_peers_role),
        cmocka_unit_test(test_leaf_as_issuer),
        cmocka_unit_test(test_path_length_and_depth),
        cmocka_unit_test(test_name_constraints),
        cmocka_unit_test(test_dns_constraints_reach_sans_only),
        cmocka_unit_test(test_explicit_policy_is_refused),
        cmocka_unit_test(test_weak_signatures),
        cmocka_unit_test(test_weak_and_huge_intermediate_keys),
        cmocka_unit_test(test_a_bad_leaf_is_refused_before_its_chain),
    };
    return cmocka_run_group_tests(tests, verify_setup, verify_teardown);
}
