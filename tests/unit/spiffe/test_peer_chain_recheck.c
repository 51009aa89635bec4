/* Unit tests of peer_chain_recheck: what a swap of credentials does to chains that have sessions,
   and of CRLs in the memory of verifications. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crl_builder.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "spiffe/trust_bundle.h"

#include <openssl/err.h>

#define ID "spiffe://prod.example/ns/shop/sa/web"

enum { MAX_ENTRIES = 2 };

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *root_key, *intermediate_key, *key;
    X509 *root, *intermediate, *leaf;
    X509 *reissued; /* the root's key and name in another certificate, of a shorter life */
    X509 *stranger; /* the root's name, another key */
    struct credentials *plain; /* the root, no CRL */
    struct peer_chain_table *table;
};

/* Anchors up to NULL; CRLs as demanded by check, none loaded when count is 0. */
static struct credentials *make(struct fixture *f, X509 *const *anchors, enum crl_check check,
                                const struct crl_spec *specs, size_t count)
{
    struct errbuf err;
    char *pem = cert_pem(anchors);
    struct credentials_domain domain = {.crl_check = check};
    domain.bundle = trust_bundle_from_pem(f->crypto, "prod.example", pem, strlen(pem), &err);
    free(pem);
    CERT_MUST(domain.bundle != NULL);
    domain.crls = count > 0 ? crl_set_of(f->crypto, specs, count) : NULL;
    struct credentials_parts parts = {.domains = &domain, .domain_count = 1, .generation = 1};
    struct credentials *credentials = credentials_build(&parts, &err);
    CERT_MUST(credentials != NULL);
    trust_bundle_unref(domain.bundle);
    crl_set_unref(domain.crls);
    return credentials;
}

static struct credentials *with_root(struct fixture *f, X509 *root)
{
    X509 *const anchors[] = {root, NULL};
    return make(f, anchors, CRL_CHECK_NONE, NULL, 0);
}

static struct credentials *with_crl(struct fixture *f, const struct crl_spec *spec)
{
    X509 *const anchors[] = {f->root, NULL};
    return make(f, anchors, CRL_CHECK_LEAF, spec, spec != NULL ? 1 : 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->root_key = cert_ec_key(f->crypto, "P-256");
    f->intermediate_key = cert_ec_key(f->crypto, "P-256");
    f->key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    f->root = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    f->stranger = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    spec.not_after = CERT_NOW + CERT_DAY / 2;
    f->reissued = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    spec = cert_ca("intermediate");
    f->intermediate = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    spec = cert_leaf(ID);
    f->leaf = cert_build(f->crypto, &spec, f->key, f->intermediate, f->intermediate_key);
    f->plain = with_root(f, f->root);
    f->table = peer_chain_table_new(f->crypto, MAX_ENTRIES);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    peer_chain_table_free(f->table);
    credentials_unref(f->plain);
    X509_free(f->root);
    X509_free(f->reissued);
    X509_free(f->stranger);
    X509_free(f->intermediate);
    X509_free(f->leaf);
    EVP_PKEY_free(f->root_key);
    EVP_PKEY_free(f->intermediate_key);
    EVP_PKEY_free(f->key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

/* The leaf and, if wanted, its intermediate. */
static struct peer_chain *admit_as(struct fixture *f, const struct credentials *credentials,
                                   bool intermediate, int64_t now_s, enum reason expected)
{
    struct svid_failure failure = {.reason = REASON_NONE};
    STACK_OF(X509) *sent = sk_X509_new_null();
    CERT_MUST(sk_X509_push(sent, f->leaf) > 0);
    CERT_MUST(!intermediate || sk_X509_push(sent, f->intermediate) > 0);
    struct peer_chain *chain =
        peer_chain_admit(f->table, credentials, f->leaf, sent, SVID_ROLE_CLIENT, now_s, &failure);
    sk_X509_free(sent);
    assert_int_equal(ERR_peek_error(), 0);
    if ((chain == NULL) != (expected != REASON_NONE) ||
        (chain == NULL && failure.reason != expected)) {
        fail_msg("%s (%s), expected %s", reason_label(failure.reason), failure.detail,
                 reason_label(expected));
    }
    return chain;
}

static struct peer_chain *admit(struct fixture *f, const struct credentials *credentials)
{
    return admit_as(f, credentials, true, CERT_NOW, REASON_NONE);
}

static void refuse(struct fixture *f, const struct credentials *credentials, enum reason reason)
{
    assert_null(admit_as(f, credentials, true, CERT_NOW, reason));
}

static void recheck_at(struct fixture *f, const struct credentials *credentials,
                       struct peer_chain *chain, int64_t now_s, enum reason expected)
{
    struct svid_failure failure;
    /* Again and again: each session of the chain asks. */
    for (int i = 0; i < 3; i++) {
        memset(&failure, 0xa5, sizeof(failure));
        enum reason reason = peer_chain_recheck(f->table, credentials, chain, now_s, &failure);
        assert_int_equal(ERR_peek_error(), 0);
        if (reason != expected || failure.reason != expected) {
            fail_msg("%s (%s), expected %s", reason_label(reason), failure.detail,
                     reason_label(expected));
        }
        if (expected != REASON_NONE) {
            assert_string_equal(failure.claimed, ID);
            assert_string_equal(failure.subject, "CN=leaf");
            assert_true(failure.serial[0] != '\0');
        }
    }
}

static void recheck(struct fixture *f, const struct credentials *credentials,
                    struct peer_chain *chain, enum reason expected)
{
    recheck_at(f, credentials, chain, CERT_NOW, expected);
}

static void test_what_is_the_same_stands(void **state)
{
    struct fixture *f = *state;
    struct peer_chain *chain = admit(f, f->plain);
    recheck(f, f->plain, chain, REASON_NONE);
    struct credentials *fresh = with_root(f, f->root); /* another object, the same anchor */
    recheck(f, fresh, chain, REASON_NONE);
    struct peer_chain *again = admit(f, fresh);
    assert_ptr_equal(again, chain);
    assert_int_equal(peer_chain_table_misses(f->table), 1);
    recheck(f, f->plain, chain, REASON_NONE); /* and back */
    peer_chain_unref(again);
    peer_chain_unref(chain);
    credentials_unref(fresh);
}

static void test_withdrawn_trust_ends_it(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    struct peer_chain *chain = admit(f, f->plain);
    struct credentials *other = with_root(f, f->stranger);
    recheck(f, other, chain, REASON_SVID_UNTRUSTED);
    const struct credentials_parts parts = {.domain_count = 0};
    struct credentials *nobody = credentials_build(&parts, &err);
    recheck(f, nobody, chain, REASON_SVID_UNKNOWN_TRUST_DOMAIN);
    static const char empty[] = "{\"keys\": []}"; /* SPIFFE bundle 4.1.3: all revoked */
    struct credentials_domain domain = {
        .bundle = trust_bundle_from_bytes(f->crypto, "prod.example", empty, strlen(empty), &err)};
    const struct credentials_parts revoked = {.domains = &domain, .domain_count = 1};
    struct credentials *none = credentials_build(&revoked, &err);
    recheck(f, none, chain, REASON_SVID_UNTRUSTED);
    /* A verdict against it is not for ever: what it rested on is there again. */
    recheck(f, f->plain, chain, REASON_NONE);
    recheck(f, other, chain, REASON_SVID_UNTRUSTED);
    refuse(f, other, REASON_SVID_UNTRUSTED);
    peer_chain_unref(chain);
    trust_bundle_unref(domain.bundle);
    credentials_unref(other);
    credentials_unref(nobody);
    credentials_unref(none);
}

/* The anchor's certificate is gone, but another one vouches for the same path. */
static void test_another_anchor_can_take_over(void **state)
{
    struct fixture *f = *state;
    uint8_t sha256[32];
    struct peer_chain *chain = admit(f, f->plain);
    assert_true(peer_chain_not_after(chain) == CERT_NOW + CERT_DAY);
    struct credentials *next = with_root(f, f->reissued);
    recheck(f, next, chain, REASON_NONE);
    CERT_MUST(X509_digest(f->reissued, EVP_sha256(), sha256, NULL) == 1);
    assert_memory_equal(peer_chain_anchor(chain), sha256, 32);
    assert_true(peer_chain_not_after(chain) == CERT_NOW + CERT_DAY / 2);
    struct peer_chain *again = admit(f, next);
    assert_ptr_equal(again, chain);
    struct peer_chain_link link;
    assert_true(peer_chain_link(chain, 1, &link));
    assert_false(peer_chain_link(chain, 2, &link));
    peer_chain_unref(again);
    peer_chain_unref(chain);
    credentials_unref(next);
}

/* Verified again in the role that it had: this intermediate is good for clients only. */
static void test_the_role_is_kept(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("intermediate");
    spec.extended_key_usage = "clientAuth";
    X509 *old_intermediate = f->intermediate;
    X509 *old_leaf = f->leaf;
    f->intermediate = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    spec = cert_leaf(ID);
    f->leaf = cert_build(f->crypto, &spec, f->key, f->intermediate, f->intermediate_key);
    struct peer_chain *chain = admit(f, f->plain);
    struct credentials *next = with_root(f, f->reissued);
    recheck(f, next, chain, REASON_NONE);
    peer_chain_unref(chain);
    credentials_unref(next);
    X509_free(old_intermediate);
    X509_free(old_leaf);
}

static void test_revocation_ends_it(void **state)
{
    struct fixture *f = *state;
    struct peer_chain *chain = admit(f, f->plain);
    struct crl_spec spec = crl_of(f->intermediate, f->intermediate_key);
    struct credentials *empty = with_crl(f, &spec);
    recheck(f, empty, chain, REASON_NONE);
    crl_revoke(&spec, f->leaf, 1);
    struct credentials *revoking = with_crl(f, &spec);
    recheck(f, revoking, chain, REASON_SVID_REVOKED);
    refuse(f, revoking, REASON_SVID_REVOKED);
    recheck(f, revoking, chain, REASON_SVID_REVOKED); /* now out of the table */
    recheck(f, empty, chain, REASON_NONE);
    peer_chain_unref(chain);

    /* An intermediate, by the root's CRL: the kept path is asked as a whole. */
    chain = admit(f, empty);
    struct crl_spec both[2] = {crl_of(f->intermediate, f->intermediate_key),
                               crl_of(f->root, f->root_key)};
    crl_revoke(&both[1], f->intermediate, 2);
    X509 *const anchors[] = {f->root, NULL};
    struct credentials *deep = make(f, anchors, CRL_CHECK_LEAF, both, 2);
    recheck(f, deep, chain, REASON_SVID_REVOKED);
    refuse(f, deep, REASON_SVID_REVOKED);
    peer_chain_unref(chain);
    credentials_unref(empty);
    credentials_unref(revoking);
    credentials_unref(deep);
}

static void test_missing_and_forged_crls_end_it(void **state)
{
    struct fixture *f = *state;
    struct peer_chain *chain = admit(f, f->plain);
    struct crl_spec spec = crl_of(f->root, f->root_key);
    struct credentials *lacking = with_crl(f, &spec);
    recheck(f, lacking, chain, REASON_SVID_CRL_MISSING);
    struct credentials *unusable = with_crl(f, NULL);
    recheck(f, unusable, chain, REASON_SVID_CRL_MISSING);
    spec = crl_of(f->intermediate, f->key);
    struct credentials *forged = with_crl(f, &spec);
    recheck(f, forged, chain, REASON_SVID_CRL_BAD_SIGNATURE);
    refuse(f, forged, REASON_SVID_CRL_BAD_SIGNATURE);
    recheck(f, f->plain, chain, REASON_NONE);
    peer_chain_unref(chain);
    credentials_unref(lacking);
    credentials_unref(unusable);
    credentials_unref(forged);
}

/* The same CRLs, but now every issuer needs one. */
static void test_a_stricter_check_counts_at_once(void **state)
{
    struct fixture *f = *state;
    X509 *const anchors[] = {f->root, NULL};
    struct crl_spec spec = crl_of(f->intermediate, f->intermediate_key);
    struct credentials *leaf = make(f, anchors, CRL_CHECK_LEAF, &spec, 1);
    const struct credentials_domain *from = credentials_find(leaf, strview_from("prod.example"));
    struct credentials_domain domain = *from;
    domain.crl_check = CRL_CHECK_CHAIN;
    struct errbuf err;
    const struct credentials_parts parts = {.domains = &domain, .domain_count = 1};
    struct credentials *strict = credentials_build(&parts, &err);
    struct peer_chain *chain = admit(f, leaf);
    recheck(f, strict, chain, REASON_SVID_CRL_MISSING);
    refuse(f, strict, REASON_SVID_CRL_MISSING);
    peer_chain_unref(chain);
    credentials_unref(leaf);
    credentials_unref(strict);
}

/* Past its nextUpdate: no new peer, but those that live stay. */
static void test_an_expired_crl_refuses_new_ones_only(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->intermediate, f->intermediate_key);
    spec.next_update = CERT_NOW + 10;
    struct credentials *credentials = with_crl(f, &spec);
    struct peer_chain *chain = admit(f, credentials);
    struct peer_chain *again = admit(f, credentials);
    assert_ptr_equal(again, chain);
    peer_chain_unref(again);
    /* The memory of the chain is no way round. */
    assert_null(admit_as(f, credentials, true, CERT_NOW + 10, REASON_SVID_CRL_EXPIRED));
    recheck_at(f, credentials, chain, CERT_NOW + 10, REASON_NONE);
    assert_int_equal(peer_chain_table_count(f->table), 0);

    /* A reload that brings an expired one. */
    spec.next_update = CERT_NOW;
    struct credentials *expired = with_crl(f, &spec);
    recheck(f, expired, chain, REASON_NONE);
    peer_chain_unref(chain);
    chain = admit(f, f->plain);
    recheck(f, expired, chain, REASON_NONE);
    refuse(f, expired, REASON_SVID_CRL_EXPIRED);
    /* And one that has not begun. */
    spec.this_update = CERT_NOW + 5;
    spec.next_update = CERT_NOW + 10;
    struct credentials *future = with_crl(f, &spec);
    recheck(f, future, chain, REASON_NONE);
    refuse(f, future, REASON_SVID_CRL_NOT_YET_VALID);
    peer_chain_unref(chain);
    chain = admit_as(f, future, true, CERT_NOW + 5, REASON_NONE);
    assert_null(admit_as(f, future, true, CERT_NOW + 4, REASON_SVID_CRL_NOT_YET_VALID));
    peer_chain_unref(chain);
    credentials_unref(credentials);
    credentials_unref(expired);
    credentials_unref(future);
}

/* Its own end is the session's business, not a swap's. */
static void test_time_is_not_judged(void **state)
{
    struct fixture *f = *state;
    struct peer_chain *chain = admit(f, f->plain);
    struct credentials *fresh = with_root(f, f->root);
    struct credentials *next = with_root(f, f->reissued);
    struct credentials *other = with_root(f, f->stranger);
    recheck_at(f, fresh, chain, CERT_NOW + 2 * CERT_DAY, REASON_NONE);
    recheck_at(f, other, chain, CERT_NOW + 2 * CERT_DAY, REASON_SVID_UNTRUSTED);
    recheck_at(f, fresh, chain, CERT_NOW - 3 * CERT_DAY, REASON_NONE);
    recheck_at(f, next, chain, CERT_NOW - 3 * CERT_DAY, REASON_NONE);
    peer_chain_unref(chain);
    credentials_unref(fresh);
    credentials_unref(next);
    credentials_unref(other);
}

/* Out of the table for whatever reason: judged like the others. */
static void test_detached_chains_are_judged_too(void **state)
{
    struct fixture *f = *state;
    struct peer_chain *chain = admit(f, f->plain);
    assert_null(admit_as(f, f->plain, true, CERT_NOW + CERT_DAY, REASON_SVID_EXPIRED));
    assert_int_equal(peer_chain_table_count(f->table), 0);
    struct peer_chain *second = admit(f, f->plain);
    assert_ptr_not_equal(second, chain);

    struct crl_spec spec = crl_of(f->intermediate, f->intermediate_key);
    struct credentials *empty = with_crl(f, &spec);
    crl_revoke(&spec, f->leaf, 1);
    struct credentials *revoking = with_crl(f, &spec);
    struct credentials *next = with_root(f, f->reissued);
    struct credentials *other = with_root(f, f->stranger);
    recheck(f, empty, chain, REASON_NONE);
    recheck(f, revoking, chain, REASON_SVID_REVOKED);
    recheck(f, other, chain, REASON_SVID_UNTRUSTED);
    recheck(f, next, chain, REASON_NONE);
    recheck(f, revoking, chain, REASON_SVID_REVOKED);
    assert_int_equal(peer_chain_table_count(f->table), 1); /* the second, untouched */
    recheck(f, revoking, second, REASON_SVID_REVOKED);
    peer_chain_unref(chain);
    peer_chain_unref(second);
    credentials_unref(empty);
    credentials_unref(revoking);
    credentials_unref(next);
    credentials_unref(other);
}

/* The peer sends its leaf alone and the bundle has the intermediate. */
static void test_a_lent_intermediate_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    X509 *const both[] = {f->root, f->intermediate, NULL};
    struct credentials *lending = make(f, both, CRL_CHECK_NONE, NULL, 0);
    struct peer_chain *chain = admit_as(f, lending, false, CERT_NOW, REASON_NONE);
    struct peer_chain *again = admit_as(f, lending, false, CERT_NOW, REASON_NONE);
    assert_ptr_equal(again, chain);
    peer_chain_unref(again);
    /* The session's path holds under the root alone; a new handshake's would not. */
    recheck(f, f->plain, chain, REASON_NONE);
    assert_null(admit_as(f, f->plain, false, CERT_NOW, REASON_SVID_UNTRUSTED));
    recheck(f, f->plain, chain, REASON_NONE);
    peer_chain_unref(chain);

    chain = admit_as(f, lending, false, CERT_NOW, REASON_NONE);
    peer_chain_unref(chain);
    assert_null(admit_as(f, f->plain, false, CERT_NOW, REASON_SVID_UNTRUSTED));
    credentials_unref(lending);
}

/* A table without room: chains that it never held. */
static void test_unremembered_chains_are_judged_too(void **state)
{
    struct fixture *f = *state;
    struct peer_chain_table *full = f->table;
    f->table = peer_chain_table_new(f->crypto, 0);
    struct peer_chain *chain = admit(f, f->plain);
    struct credentials *fresh = with_root(f, f->root);
    struct credentials *other = with_root(f, f->stranger);
    recheck(f, fresh, chain, REASON_NONE);
    recheck(f, other, chain, REASON_SVID_UNTRUSTED);
    peer_chain_unref(chain);
    peer_chain_table_free(f->table);
    f->table = full;
    credentials_unref(fresh);
    credentials_unref(other);
}

static void forget_stale(struct fixture *f, const struct credentials *credentials)
{
    size_t left = SIZE_MAX;
    while (left > 0) {
        peer_chain_table_forget_stale(f->table, credentials, &left);
    }
}

/* A set that was replaced goes when the last session that rests on it does. */
static void test_stale_entries_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->intermediate, f->intermediate_key);
    struct credentials *first = with_crl(f, &spec);
    struct credentials *second = with_crl(f, &spec);
    struct peer_chain *chain = admit(f, first);
    forget_stale(f, second);
    assert_int_equal(peer_chain_table_count(f->table), 1); /* it has a session */
    peer_chain_unref(chain);
    forget_stale(f, first);
    assert_int_equal(peer_chain_table_count(f->table), 1);
    forget_stale(f, second);
    assert_int_equal(peer_chain_table_count(f->table), 0);
    credentials_unref(first);
    credentials_unref(second);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_what_is_the_same_stands),
        CASE(test_withdrawn_trust_ends_it),
        CASE(test_another_anchor_can_take_over),
        CASE(test_the_role_is_kept),
        CASE(test_revocation_ends_it),
        CASE(test_missing_and_forged_crls_end_it),
        CASE(test_a_stricter_check_counts_at_once),
        CASE(test_an_expired_crl_refuses_new_ones_only),
        CASE(test_time_is_not_judged),
        CASE(test_detached_chains_are_judged_too),
        CASE(test_a_lent_intermediate_is_asked_for_again),
        CASE(test_unremembered_chains_are_judged_too),
        CASE(test_stale_entries_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
