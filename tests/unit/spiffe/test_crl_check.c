/* Unit tests of crl_check, by svid_verify: whose CRL speaks against whom, and what is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "crl_builder.h"
#include "verify_fixture.h"

#include "spiffe/crl_check.h"

/* prod.example with these anchors and CRLs (count 0: configured, and not loaded). */
static struct credentials *with_crls(struct fixture *f, X509 *const *anchors, enum crl_check check,
                                     const struct crl_spec *specs, size_t count)
{
    struct errbuf err;
    char *pem = cert_pem(anchors);
    struct credentials_domain domain = {.crl_check = check};
    domain.bundle = trust_bundle_from_pem(f->crypto, "prod.example", pem, strlen(pem), &err);
    free(pem);
    CERT_MUST(domain.bundle != NULL);
    domain.crls = count > 0 ? crl_set_of(f->crypto, specs, count) : NULL;
    struct credentials_parts parts = {
        .domains = &domain, .domain_count = 1, .generation = 5, .identity_epoch = 3};
    struct credentials *credentials = credentials_build(&parts, &err);
    CERT_MUST(credentials != NULL);
    trust_bundle_unref(domain.bundle);
    crl_set_unref(domain.crls);
    return credentials;
}

/* The chain up to NULL, under the root and these CRLs. */
static void judge(struct fixture *f, X509 *const *list, enum crl_check check,
                  const struct crl_spec *specs, size_t count, enum reason expected,
                  const char *detail)
{
    struct svid_failure failure;
    X509 *const anchors[] = {f->root, NULL};
    struct credentials *credentials = with_crls(f, anchors, check, specs, count);
    enum reason reason = verify_under(f, credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    expect(reason, expected, &failure);
    if (strstr(failure.detail, detail) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", failure.detail, detail);
    }
    credentials_unref(credentials);
}

struct chain {
    X509 *leaf;
    X509 *list[3];
};

/* Below the root (short), or below the intermediate. */
static struct chain chain_short(struct fixture *f)
{
    struct chain chain = {.leaf = leaf_of(f, f->root, f->root_key)};
    chain.list[0] = chain.leaf;
    return chain;
}

static struct chain chain_long(struct fixture *f)
{
    struct chain chain = {.leaf = leaf_of(f, f->intermediate, f->intermediate_key)};
    chain.list[0] = chain.leaf;
    chain.list[1] = f->intermediate;
    return chain;
}

static void test_a_revoked_leaf_is_refused(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    struct chain other = chain_short(f);
    struct crl_spec spec = crl_of(f->root, f->root_key);
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_NONE, "");
    crl_revoke(&spec, other.leaf, CRL_NO_CODE);
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_NONE, "");
    judge(f, other.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_REVOKED, "no reason given");
    crl_revoke(&spec, chain.leaf, 1);
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_REVOKED, "keyCompromise");
    judge(f, chain.list, CRL_CHECK_CHAIN, &spec, 1, REASON_SVID_REVOKED, "revoked 2027-01-15T");
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_REVOKED,
          "certificate 0, issued by \"CN=prod root\": serial ");
    X509_free(chain.leaf);
    X509_free(other.leaf);
}

static void test_what_is_taken_back_is_not_revoked(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    struct crl_spec spec = crl_of(f->root, f->root_key);
    crl_revoke(&spec, chain.leaf, 8);
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_NONE, "");
    crl_revoke(&spec, chain.leaf, 6);
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_REVOKED, "certificateHold");
    X509_free(chain.leaf);
}

/* Configured and not loaded, without a last good one: nobody of the domain. */
static void test_an_unusable_set_refuses_all(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    judge(f, chain.list, CRL_CHECK_LEAF, NULL, 0, REASON_SVID_CRL_MISSING, "could not be loaded");
    judge(f, chain.list, CRL_CHECK_CHAIN, NULL, 0, REASON_SVID_CRL_MISSING, "could not be loaded");
    judge(f, chain.list, CRL_CHECK_NONE, NULL, 0, REASON_NONE, "");
    X509_free(chain.leaf);
}

static void test_which_issuers_must_have_one(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_long(f);
    struct crl_spec root = crl_of(f->root, f->root_key);
    struct crl_spec own = crl_of(f->intermediate, f->intermediate_key);
    struct crl_spec both[2] = {root, own};
    judge(f, chain.list, CRL_CHECK_LEAF, &root, 1, REASON_SVID_CRL_MISSING,
          "certificate 0, issued by \"CN=intermediate\"");
    judge(f, chain.list, CRL_CHECK_LEAF, &own, 1, REASON_NONE, "");
    judge(f, chain.list, CRL_CHECK_CHAIN, &own, 1, REASON_SVID_CRL_MISSING,
          "certificate 1, issued by \"CN=prod root\"");
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_NONE, "");
    judge(f, chain.list, CRL_CHECK_CHAIN, both, 2, REASON_NONE, "");

    /* The root's is not demanded with LEAF, but as it is there it counts. */
    crl_revoke(&both[0], f->intermediate, 2);
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_SVID_REVOKED, "certificate 1");
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_SVID_REVOKED, "cACompromise");
    both[0].revoked_count = 0;
    both[0].next_update = CERT_NOW;
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_SVID_CRL_EXPIRED, "certificate 1");
    X509_free(chain.leaf);
}

/* A serial is revoked by its own issuer only. */
static void test_issuers_dont_revoke_for_each_other(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_long(f);
    struct crl_spec both[2] = {crl_of(f->root, f->root_key),
                               crl_of(f->intermediate, f->intermediate_key)};
    crl_revoke(&both[0], chain.leaf, 1);
    crl_revoke(&both[1], f->intermediate, 1);
    judge(f, chain.list, CRL_CHECK_CHAIN, both, 2, REASON_NONE, "");
    struct crl_spec partner = crl_of(f->partner, f->partner_key);
    crl_revoke(&partner, chain.leaf, 1);
    judge(f, chain.list, CRL_CHECK_LEAF, &partner, 1, REASON_SVID_CRL_MISSING, "no CRL of this");
    X509_free(chain.leaf);
}

static void test_dates(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    struct crl_spec spec = crl_of(f->root, f->root_key);
    spec.next_update = CERT_NOW; /* as of that second it is past */
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_CRL_EXPIRED, "2027-01-15T08:00:00Z");
    spec.next_update = CERT_NOW + 1;
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_NONE, "");
    spec.next_update = CERT_NOW + 10;
    spec.this_update = CERT_NOW + 1;
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_CRL_NOT_YET_VALID,
          "its CRL begins 2027-01-15T08:00:01Z");
    spec.this_update = CERT_NOW;
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_NONE, "");
    /* Out of date or not, what it revokes is revoked. */
    crl_revoke(&spec, chain.leaf, CRL_NO_CODE);
    spec.next_update = CERT_NOW;
    spec.this_update = CERT_NOW - 10;
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_REVOKED, "");
    spec.this_update = CERT_NOW + 1;
    spec.next_update = CERT_NOW + 10;
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_REVOKED, "");
    X509_free(chain.leaf);
}

static void test_the_newest_counts(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    struct crl_spec specs[2] = {crl_of(f->root, f->root_key), crl_of(f->root, f->root_key)};
    crl_revoke(&specs[0], chain.leaf, 6); /* a hold that ended */
    specs[0].this_update -= 10;
    judge(f, chain.list, CRL_CHECK_LEAF, specs, 2, REASON_NONE, "");
    specs[0].next_update = CERT_NOW - 5;
    judge(f, chain.list, CRL_CHECK_LEAF, specs, 2, REASON_NONE, "");
    /* An old one in force does not help against a newer one that is past its date. */
    specs[0] = specs[1];
    specs[0].this_update -= 10;
    specs[1].next_update = CERT_NOW - 5;
    judge(f, chain.list, CRL_CHECK_LEAF, specs, 2, REASON_SVID_CRL_EXPIRED, "");
    /* One for tomorrow replaces nothing, but what it revokes is known. */
    specs[1] = crl_of(f->root, f->root_key);
    specs[1].this_update = CERT_NOW + 5;
    judge(f, chain.list, CRL_CHECK_LEAF, specs, 2, REASON_NONE, "");
    crl_revoke(&specs[1], chain.leaf, 1);
    judge(f, chain.list, CRL_CHECK_LEAF, specs, 2, REASON_SVID_REVOKED, "");
    X509_free(chain.leaf);
}

static void test_forged_crls_refuse(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    struct chain below = chain_long(f);
    struct crl_spec forged = crl_of(f->root, f->spare_key);
    judge(f, chain.list, CRL_CHECK_LEAF, &forged, 1, REASON_SVID_CRL_BAD_SIGNATURE, "CN=prod root");
    forged.key_identifier = false;
    judge(f, chain.list, CRL_CHECK_LEAF, &forged, 1, REASON_SVID_CRL_BAD_SIGNATURE, "");
    /* Beside a good one: it may be the one that revokes. */
    struct crl_spec both[2] = {crl_of(f->root, f->root_key), forged};
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_SVID_CRL_BAD_SIGNATURE, "");
    /* Of an issuer whose CRL is not demanded. */
    both[0] = crl_of(f->intermediate, f->intermediate_key);
    judge(f, below.list, CRL_CHECK_LEAF, both, 2, REASON_SVID_CRL_BAD_SIGNATURE, "certificate 1");
    /* With another's key identifier, under the name of an anchor: a stranger of that name. */
    struct cert_spec spec = cert_ca("prod root");
    X509 *stranger = cert_build(f->crypto, &spec, f->spare_key, NULL, NULL);
    both[1] = crl_of(stranger, f->spare_key);
    judge(f, below.list, CRL_CHECK_LEAF, both, 2, REASON_SVID_CRL_BAD_SIGNATURE, "certificate 1");
    /* A key of another kind. */
    EVP_PKEY *rsa = cert_rsa_key(f->crypto, 2048);
    forged = crl_of(f->root, rsa);
    judge(f, chain.list, CRL_CHECK_LEAF, &forged, 1, REASON_SVID_CRL_BAD_SIGNATURE, "");
    EVP_PKEY_free(rsa);
    X509_free(stranger);
    X509_free(chain.leaf);
    X509_free(below.leaf);
}

/* Two anchors of one name: each needs its own CRL, and neither's is taken for a forgery. */
static void namesakes(struct fixture *f, bool key_identifiers)
{
    struct svid_failure failure;
    struct cert_spec spec = cert_ca("prod root");
    spec.key_identifiers = key_identifiers;
    X509 *old = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    X509 *next = cert_build(f->crypto, &spec, f->spare_key, NULL, NULL);
    spec = cert_leaf(ID);
    spec.key_identifiers = key_identifiers;
    X509 *leaf = cert_build(f->crypto, &spec, f->key, next, f->spare_key);
    X509 *const list[] = {leaf, NULL};
    X509 *const anchors[] = {old, next, NULL};
    struct crl_spec both[2] = {crl_of(old, f->root_key), crl_of(next, f->spare_key)};
    both[0].key_identifier = both[1].key_identifier = key_identifiers;
    crl_revoke(&both[0], leaf, 1); /* the other CA's serial */

    static const struct {
        size_t first, count;
        enum reason reason;
    } cases[] = {{0, 1, REASON_SVID_CRL_MISSING}, {0, 2, REASON_NONE}, {1, 1, REASON_NONE}};
    for (size_t i = 0; i < 3; i++) {
        struct credentials *credentials =
            with_crls(f, anchors, CRL_CHECK_CHAIN, both + cases[i].first, cases[i].count);
        expect(verify_under(f, credentials, list, SVID_ROLE_SERVER, CERT_NOW, &failure),
               cases[i].reason, &failure);
        credentials_unref(credentials);
    }
    X509_free(old);
    X509_free(next);
    X509_free(leaf);
}

static void test_namesakes_need_their_own(void **state)
{
    namesakes(*state, true);
    namesakes(*state, false);
}

/* Every kind of key and signature that an anchor may have. */
static void test_kinds_of_keys(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *const keys[] = {cert_rsa_key(f->crypto, 2048), cert_ed25519_key(f->crypto),
                              cert_ec_key(f->crypto, "P-384")};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct svid_failure failure;
        struct cert_spec spec = cert_ca("prod root");
        X509 *root = cert_build(f->crypto, &spec, keys[i], NULL, NULL);
        X509 *leaf = leaf_of(f, root, keys[i]);
        X509 *const list[] = {leaf, NULL};
        X509 *const anchors[] = {root, f->root, NULL};
        struct crl_spec both[2] = {crl_of(f->root, f->root_key), crl_of(root, keys[i])};
        both[0].key_identifier = both[1].key_identifier = false;
        struct credentials *credentials = with_crls(f, anchors, CRL_CHECK_LEAF, both, 2);
        expect(verify_under(f, credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure),
               REASON_NONE, &failure);
        credentials_unref(credentials);
        crl_revoke(&both[1], leaf, 1);
        credentials = with_crls(f, anchors, CRL_CHECK_LEAF, both, 2);
        expect(verify_under(f, credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure),
               REASON_SVID_REVOKED, &failure);
        credentials_unref(credentials);
        X509_free(root);
        X509_free(leaf);
        EVP_PKEY_free(keys[i]);
    }
}

/* RSA-PSS with SHA-256 is accepted, with SHA-1 it is not. */
static void test_rsa_pss(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *key = cert_rsa_key(f->crypto, 2048);
    struct cert_spec spec = cert_ca("prod root");
    X509 *root = cert_build(f->crypto, &spec, key, NULL, NULL);
    X509 *leaf = leaf_of(f, root, key);
    X509 *const list[] = {leaf, NULL};
    X509 *const anchors[] = {root, NULL};
    struct crl_spec from = crl_of(root, key);
    for (int weak = 0; weak < 2; weak++) {
        struct errbuf err;
        struct svid_failure failure;
        X509_CRL *crl = crl_build(&from);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        EVP_PKEY_CTX *how = NULL;
        CERT_MUST(EVP_DigestSignInit(ctx, &how, weak ? EVP_sha1() : EVP_sha256(), NULL, key) == 1 &&
                  EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1 &&
                  X509_CRL_sign_ctx(crl, ctx) > 0);
        EVP_MD_CTX_free(ctx);
        unsigned char *der = NULL;
        int len = i2d_X509_CRL(crl, &der);
        X509_CRL_free(crl);
        struct crl_set *set = crl_set_from_bytes(f->crypto, (const char *)der, (size_t)len, &err);
        OPENSSL_free(der);
        if (weak) {
            assert_null(set);
            assert_non_null(strstr(err.text, "too weak"));
            break;
        }
        assert_non_null(set);
        struct credentials *plain = with_crls(f, anchors, CRL_CHECK_NONE, NULL, 0);
        struct credentials_domain domain = *credentials_find(plain, strview_from("prod.example"));
        domain.crls = set;
        domain.crl_check = CRL_CHECK_LEAF;
        const struct credentials_parts parts = {.domains = &domain, .domain_count = 1};
        struct credentials *credentials = credentials_build(&parts, &err);
        expect(verify_under(f, credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure),
               REASON_NONE, &failure);
        credentials_unref(credentials);
        credentials_unref(plain);
        crl_set_unref(set);
    }
    X509_free(root);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

/* The CRL of a CA that was rotated out may stay in the file beside its successor's. */
static void test_a_retired_namesakes_crl_is_ignored(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    struct cert_spec spec = cert_ca("prod root");
    X509 *retired = cert_build(f->crypto, &spec, f->spare_key, NULL, NULL);
    struct crl_spec both[2] = {crl_of(retired, f->spare_key), crl_of(f->root, f->root_key)};
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_NONE, "");
    judge(f, chain.list, CRL_CHECK_LEAF, both, 1, REASON_SVID_CRL_BAD_SIGNATURE, "");
    X509_free(retired);
    X509_free(chain.leaf);
}

/* Another intermediate of the same name, whose certificate nobody has shown. */
static void test_a_sibling_intermediates_crl_is_not_ours(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_long(f);
    struct cert_spec spec = cert_ca("intermediate");
    X509 *sibling = cert_build(f->crypto, &spec, f->spare_key, f->root, f->root_key);
    struct crl_spec both[2] = {crl_of(sibling, f->spare_key),
                               crl_of(f->intermediate, f->intermediate_key)};
    judge(f, chain.list, CRL_CHECK_LEAF, both, 1, REASON_SVID_CRL_MISSING, "");
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_NONE, "");
    both[0].key_identifier = false; /* now nothing says that it is another's */
    judge(f, chain.list, CRL_CHECK_LEAF, both, 1, REASON_SVID_CRL_BAD_SIGNATURE, "");
    X509_free(sibling);
    X509_free(chain.leaf);
}

static void test_an_issuer_without_crl_sign(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("no crls");
    spec.key_usage = "critical,keyCertSign";
    X509 *issuer = cert_build(f->crypto, &spec, f->spare_key, f->root, f->root_key);
    X509 *leaf = leaf_of(f, issuer, f->spare_key);
    X509 *const list[] = {leaf, issuer, NULL};
    struct crl_spec crl = crl_of(issuer, f->spare_key);
    judge(f, list, CRL_CHECK_LEAF, &crl, 1, REASON_SVID_CRL_BAD_SIGNATURE, "lacks cRLSign");
    X509_free(issuer);
    X509_free(leaf);
}

static void test_scopes(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_long(f);
    struct crl_spec both[2] = {crl_of(f->root, f->root_key),
                               crl_of(f->intermediate, f->intermediate_key)};
    both[1].idp = "onlyCA:TRUE";
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_SVID_CRL_MISSING, "certificate 0");
    both[1].idp = "onlyuser:TRUE";
    judge(f, chain.list, CRL_CHECK_LEAF, both, 2, REASON_NONE, "");
    both[0].idp = "onlyuser:TRUE";
    judge(f, chain.list, CRL_CHECK_CHAIN, both, 2, REASON_SVID_CRL_MISSING, "certificate 1");
    both[0].idp = "onlyCA:TRUE";
    judge(f, chain.list, CRL_CHECK_CHAIN, both, 2, REASON_NONE, "");
    /* Another scope of the same issuer, newer: it replaces nothing. */
    struct crl_spec three[3] = {both[1], both[1], both[0]};
    crl_revoke(&three[0], chain.leaf, 1);
    three[1].idp = "onlyCA:TRUE";
    three[1].this_update += 50;
    judge(f, chain.list, CRL_CHECK_CHAIN, three, 3, REASON_SVID_REVOKED, "certificate 0");
    X509_free(chain.leaf);
}

static X509 *leaf_with_point(struct fixture *f, const char *point)
{
    struct cert_spec spec = cert_leaf(ID);
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    cert_add_conf(leaf, f->root, NID_crl_distribution_points, point);
    CERT_MUST(X509_sign(leaf, f->root_key, EVP_sha256()) > 0);
    X509 *parsed = cert_reparse(f->crypto, leaf);
    X509_free(leaf);
    return parsed;
}

/* A CRL of one distribution point covers the certificates that name it (RFC 5280 6.3.3). */
static void test_distribution_points(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *point;
        enum reason reason;
    } cases[] = {{"URI:http://prod.example/1", REASON_SVID_REVOKED},
                 {"URI:http://prod.example/0,URI:http://prod.example/1", REASON_SVID_REVOKED},
                 {"URI:http://prod.example/2", REASON_SVID_CRL_MISSING},
                 {"DNS:http://prod.example/1", REASON_SVID_CRL_MISSING}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        X509 *leaf = leaf_with_point(f, cases[i].point);
        X509 *const list[] = {leaf, NULL};
        struct crl_spec spec = crl_of(f->root, f->root_key);
        spec.idp = "fullname:URI:http://prod.example/1";
        crl_revoke(&spec, leaf, 1);
        judge(f, list, CRL_CHECK_LEAF, &spec, 1, cases[i].reason, "");
        /* A newer one of another scope replaces nothing. */
        struct crl_spec both[2] = {spec, crl_of(f->root, f->root_key)};
        both[1].this_update += 50;
        judge(f, list, CRL_CHECK_LEAF, both, 2,
              cases[i].reason == REASON_SVID_REVOKED ? REASON_SVID_REVOKED : REASON_NONE, "");
        spec.idp = NULL; /* covers all */
        judge(f, list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_REVOKED, "");
        X509_free(leaf);
    }
    struct chain chain = chain_short(f);
    struct crl_spec spec = crl_of(f->root, f->root_key);
    spec.idp = "fullname:URI:http://prod.example/1";
    judge(f, chain.list, CRL_CHECK_LEAF, &spec, 1, REASON_SVID_CRL_MISSING, "covers it");
    X509_free(chain.leaf);
}

/* For a session that lives: dates don't end it, the rest does. */
static void test_standing(void **state)
{
    struct fixture *f = *state;
    struct chain chain = chain_short(f);
    X509 *const anchors[] = {f->root, NULL};
    struct crl_spec expired = crl_of(f->root, f->root_key);
    expired.next_update = CERT_NOW - 5;
    struct crl_spec future = crl_of(f->root, f->root_key);
    future.this_update = CERT_NOW + 5;
    struct crl_spec revoking = expired;
    crl_revoke(&revoking, chain.leaf, 1);
    struct crl_spec forged = crl_of(f->root, f->spare_key);
    struct crl_spec foreign = crl_of(f->partner, f->partner_key);
    const struct {
        const struct crl_spec *spec;
        enum reason reason;
    } cases[] = {{&expired, REASON_NONE},
                 {&future, REASON_NONE},
                 {&revoking, REASON_SVID_REVOKED},
                 {&forged, REASON_SVID_CRL_BAD_SIGNATURE},
                 {&foreign, REASON_SVID_CRL_MISSING},
                 {NULL, REASON_SVID_CRL_MISSING}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct svid_verified verified;
        struct svid_failure failure;
        struct credentials *credentials =
            with_crls(f, anchors, CRL_CHECK_LEAF, cases[i].spec, cases[i].spec != NULL);
        expect(svid_verify_standing(f->crypto, credentials, chain.leaf, NULL, SVID_ROLE_CLIENT,
                                    CERT_NOW, &verified, &failure),
               cases[i].reason, &failure);
        if (cases[i].reason == REASON_NONE) {
            assert_true(verified.crl_window.until <= CERT_NOW); /* no admission rests on it */
        }
        svid_verified_fini(&verified);
        credentials_unref(credentials);
    }
    X509_free(chain.leaf);
}

static void test_the_window_is_the_narrowest(void **state)
{
    struct fixture *f = *state;
    struct svid_verified verified;
    struct svid_failure failure;
    struct chain chain = chain_long(f);
    X509 *const anchors[] = {f->root, NULL};
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    CERT_MUST(sk_X509_push(untrusted, f->intermediate) > 0);
    struct crl_spec both[2] = {crl_of(f->root, f->root_key),
                               crl_of(f->intermediate, f->intermediate_key)};
    both[0].next_update = CERT_NOW + 7;
    both[1].this_update = CERT_NOW - 9;
    struct credentials *credentials = with_crls(f, anchors, CRL_CHECK_CHAIN, both, 2);
    assert_int_equal(svid_verify(f->crypto, credentials, chain.leaf, untrusted, SVID_ROLE_CLIENT,
                                 CERT_NOW, &verified, &failure),
                     REASON_NONE);
    assert_true(verified.crl_window.from == CERT_NOW - 9);
    assert_true(verified.crl_window.until == CERT_NOW + 7);
    svid_verified_fini(&verified);
    credentials_unref(credentials);
    sk_X509_free(untrusted);
    X509_free(chain.leaf);
}

static void test_gaps_are_listed(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("second root");
    X509 *second = cert_build(f->crypto, &spec, f->spare_key, NULL, NULL);
    spec = cert_ca("past root");
    spec.not_before = 1000;
    spec.not_after = 2000;
    X509 *past = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    X509 *const anchors[] = {f->root, second, past, NULL};
    struct crl_spec crl = crl_of(f->root, f->root_key);
    struct strview domain = strview_from("prod.example");
    struct svid_failure gap;
    size_t cursor = 0;

    struct credentials *credentials = with_crls(f, anchors, CRL_CHECK_LEAF, &crl, 1);
    assert_int_equal(credentials_generation(credentials), 5);
    assert_int_equal(credentials_identity_epoch(credentials), 3);
    assert_non_null(credentials_find(credentials, domain)->crls);
    assert_null(credentials_find(credentials, strview_from("partner.example")));
    assert_true(credentials_next_crl_gap(credentials, domain, CERT_NOW, &cursor, &gap));
    assert_string_equal(gap.subject, "CN=second root");
    assert_int_equal(gap.reason, REASON_SVID_CRL_MISSING);
    assert_false(credentials_next_crl_gap(credentials, domain, CERT_NOW, &cursor, &gap));
    cursor = 0;
    size_t count = 0;
    while (credentials_next_crl_gap(credentials, domain, CERT_NOW + CERT_DAY, &cursor, &gap)) {
        count++;
        assert_int_equal(gap.reason, strcmp(gap.subject, "CN=prod root") == 0
                                         ? REASON_SVID_CRL_EXPIRED
                                         : REASON_SVID_CRL_MISSING);
    }
    assert_int_equal(count, 2);
    cursor = 0;
    assert_false(
        credentials_next_crl_gap(credentials, strview_from("other"), CERT_NOW, &cursor, &gap));
    credentials_unref(credentials);

    credentials = with_crls(f, anchors, CRL_CHECK_NONE, NULL, 0);
    cursor = 0;
    assert_false(credentials_next_crl_gap(credentials, domain, CERT_NOW, &cursor, &gap));
    credentials_unref(credentials);
    X509_free(second);
    X509_free(past);
}

struct shared {
    struct fixture *f;
    struct credentials *credentials;
    struct chain chain;
};

static void *on_thread(void *arg)
{
    struct shared *shared = arg;
    for (int i = 0; i < 20; i++) {
        struct svid_verified verified;
        struct svid_failure failure;
        STACK_OF(X509) *untrusted = sk_X509_new_null();
        CERT_MUST(sk_X509_push(untrusted, shared->f->intermediate) > 0);
        CERT_MUST(svid_verify(shared->f->crypto, shared->credentials, shared->chain.leaf, untrusted,
                              SVID_ROLE_CLIENT, CERT_NOW, &verified, &failure) == REASON_NONE);
        svid_verified_fini(&verified);
        sk_X509_free(untrusted);
    }
    return NULL;
}

/* All ask for the intermediate's signature at once: the memory of it has no lock. */
static void test_threads_share_a_set(void **state)
{
    enum { THREADS = 4 };
    struct fixture *f = *state;
    struct crl_spec both[2] = {crl_of(f->root, f->root_key),
                               crl_of(f->intermediate, f->intermediate_key)};
    X509 *const anchors[] = {f->root, NULL};
    struct shared shared = {.f = f, .chain = chain_long(f)};
    shared.credentials = with_crls(f, anchors, CRL_CHECK_CHAIN, both, 2);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, on_thread, &shared), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    credentials_unref(shared.credentials);
    X509_free(shared.chain.leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_revoked_leaf_is_refused),
        cmocka_unit_test(test_what_is_taken_back_is_not_revoked),
        cmocka_unit_test(test_an_unusable_set_refuses_all),
        cmocka_unit_test(test_which_issuers_must_have_one),
        cmocka_unit_test(test_issuers_dont_revoke_for_each_other),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_the_newest_counts),
        cmocka_unit_test(test_forged_crls_refuse),
        cmocka_unit_test(test_namesakes_need_their_own),
        cmocka_unit_test(test_kinds_of_keys),
        cmocka_unit_test(test_rsa_pss),
        cmocka_unit_test(test_a_retired_namesakes_crl_is_ignored),
        cmocka_unit_test(test_a_sibling_intermediates_crl_is_not_ours),
        cmocka_unit_test(test_an_issuer_without_crl_sign),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_distribution_points),
        cmocka_unit_test(test_standing),
        cmocka_unit_test(test_the_window_is_the_narrowest),
        cmocka_unit_test(test_gaps_are_listed),
        cmocka_unit_test(test_threads_share_a_set),
    };
    return cmocka_run_group_tests(tests, verify_setup, verify_teardown);
}
