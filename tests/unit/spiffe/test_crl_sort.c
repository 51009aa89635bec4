/* crl_sort: of lists that came together, each acts on its own domain's peers and on no other's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crl_builder.h"
#include "verify_fixture.h"

enum { LISTS_MAX = 8, DOMAINS = 2 };

struct sorted {
    struct trust_bundle *bundles[DOMAINS]; /* prod.example, partner.example */
    struct crl_set *sets[DOMAINS];
    size_t loose;
};

static struct trust_bundle *bundle_of(struct fixture *f, const char *domain, X509 *anchor)
{
    struct errbuf err;
    char *pem = cert_pem_one(anchor);
    struct trust_bundle *bundle = trust_bundle_from_pem(f->crypto, domain, pem, strlen(pem), &err);
    CERT_MUST(bundle != NULL);
    free(pem);
    return bundle;
}

static struct crl_set *all_of(struct fixture *f, const struct crl_spec *specs, size_t count)
{
    struct errbuf err;
    struct strview lists[LISTS_MAX];
    for (size_t i = 0; i < count; i++) {
        lists[i].ptr = crl_der(&specs[i], &lists[i].len);
    }
    struct crl_set *all = crl_set_from_der(f->crypto, lists, count, &err);
    CERT_MUST(all != NULL);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)lists[i].ptr);
    }
    return all;
}

static struct sorted sort(struct fixture *f, X509 *prod, X509 *partner,
                          const struct crl_spec *specs, size_t count)
{
    struct sorted sorted = {
        .bundles = {bundle_of(f, "prod.example", prod), bundle_of(f, "partner.example", partner)}};
    struct crl_set *all = all_of(f, specs, count);
    sorted.loose = crl_set_sort(all, sorted.bundles, DOMAINS, sorted.sets);
    crl_set_unref(all);
    return sorted;
}

static void sorted_fini(struct sorted *sorted)
{
    for (size_t i = 0; i < DOMAINS; i++) {
        trust_bundle_unref(sorted->bundles[i]);
        crl_set_unref(sorted->sets[i]);
    }
}

static size_t count_of(const struct crl_set *set)
{
    return set == NULL ? 0 : crl_set_count(set);
}

/* Of a chain under prod.example alone. */
static void judge(struct fixture *f, const struct sorted *sorted, X509 *const *chain,
                  enum crl_check check, enum reason expected)
{
    struct errbuf err;
    struct svid_failure failure;
    const struct credentials_domain domain = {.bundle = sorted->bundles[0],
                                              .crls = sorted->sets[0],
                                              .crl_check =
                                                  sorted->sets[0] == NULL ? CRL_CHECK_NONE : check};
    const struct credentials_parts parts = {.domains = &domain, .domain_count = 1};
    struct credentials *credentials = credentials_build(&parts, &err);
    CERT_MUST(credentials != NULL);
    expect(verify_under(f, credentials, chain, SVID_ROLE_CLIENT, CERT_NOW, &failure), expected,
           &failure);
    credentials_unref(credentials);
}

static void test_each_domain_gets_its_own(void **state)
{
    struct fixture *f = *state;
    X509 *leaf = leaf_of(f, f->root, f->root_key);
    X509 *const chain[] = {leaf, NULL};
    struct crl_spec specs[] = {crl_of(f->partner, f->partner_key), crl_of(f->root, f->root_key)};
    crl_revoke(&specs[0], leaf, CRL_NO_CODE); /* it can't speak of another's */
    struct sorted sorted = sort(f, f->root, f->partner, specs, 2);
    assert_int_equal(sorted.loose, 0);
    assert_int_equal(count_of(sorted.sets[0]), 1);
    assert_int_equal(count_of(sorted.sets[1]), 1);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_NONE);
    judge(f, &sorted, chain, CRL_CHECK_CHAIN, REASON_NONE);
    sorted_fini(&sorted);
    crl_revoke(&specs[1], leaf, CRL_NO_CODE);
    sorted = sort(f, f->root, f->partner, specs, 2);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_SVID_REVOKED);
    sorted_fini(&sorted);
    sorted = sort(f, f->root, f->partner, specs, 1);
    assert_null(sorted.sets[0]);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_NONE);
    sorted_fini(&sorted);
    X509_free(leaf);
}

/* Every CA of SPIRE's may bear one name, and none need have key identifiers. */
static void test_names_that_are_alike_mislead_nobody(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("SPIFFE");
    spec.key_identifiers = false;
    X509 *prod = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    X509 *partner = cert_build(f->crypto, &spec, f->partner_key, NULL, NULL);
    X509 *leaf = leaf_of(f, prod, f->root_key);
    X509 *const chain[] = {leaf, NULL};
    struct crl_spec lists[] = {crl_of(partner, f->partner_key)};
    lists[0].key_identifier = false;
    crl_revoke(&lists[0], leaf, CRL_NO_CODE);
    struct sorted sorted = sort(f, prod, partner, lists, 1);
    assert_null(sorted.sets[0]);
    assert_int_equal(count_of(sorted.sets[1]), 1);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_NONE);
    sorted_fini(&sorted);
    /* By a key that no bundle knows, and under the same name: it is in the set, and means nothing.
     */
    lists[0].key = f->spare_key;
    sorted = sort(f, prod, partner, lists, 1);
    assert_int_equal(sorted.loose, 1);
    assert_int_equal(count_of(sorted.sets[0]), 1);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_NONE);
    judge(f, &sorted, chain, CRL_CHECK_LEAF, REASON_SVID_CRL_MISSING);
    sorted_fini(&sorted);
    X509_free(prod);
    X509_free(partner);
    X509_free(leaf);
}

static void test_an_intermediates_list_counts_below_it(void **state)
{
    struct fixture *f = *state;
    X509 *leaf = leaf_of(f, f->intermediate, f->intermediate_key);
    X509 *const chain[] = {leaf, f->intermediate, NULL};
    X509 *direct = leaf_of(f, f->root, f->root_key);
    X509 *const other[] = {direct, NULL};
    struct crl_spec specs[] = {crl_of(f->intermediate, f->intermediate_key)};
    struct sorted sorted = sort(f, f->root, f->partner, specs, 1);
    assert_int_equal(sorted.loose, 1);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_NONE);
    judge(f, &sorted, chain, CRL_CHECK_LEAF, REASON_NONE);
    judge(f, &sorted, chain, CRL_CHECK_CHAIN, REASON_SVID_CRL_MISSING);
    judge(f, &sorted, other, CRL_CHECK_PRESENT, REASON_NONE);
    judge(f, &sorted, other, CRL_CHECK_LEAF, REASON_SVID_CRL_MISSING);
    sorted_fini(&sorted);
    crl_revoke(&specs[0], leaf, CRL_NO_CODE);
    sorted = sort(f, f->root, f->partner, specs, 1);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_SVID_REVOKED);
    judge(f, &sorted, other, CRL_CHECK_PRESENT, REASON_NONE);
    sorted_fini(&sorted);
    specs[0].next_update = CERT_NOW - 1;
    specs[0].revoked_count = 0;
    sorted = sort(f, f->root, f->partner, specs, 1);
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_SVID_CRL_EXPIRED);
    sorted_fini(&sorted);
    X509_free(leaf);
    X509_free(direct);
}

static void test_joined_with_those_of_a_file(void **state)
{
    struct fixture *f = *state;
    X509 *leaf = leaf_of(f, f->root, f->root_key);
    X509 *const chain[] = {leaf, NULL};
    struct crl_spec from_file = crl_of(f->root, f->root_key);
    crl_revoke(&from_file, leaf, CRL_NO_CODE);
    struct crl_spec specs[] = {crl_of(f->root, f->root_key),
                               crl_of(f->intermediate, f->intermediate_key)};
    specs[0].this_update = from_file.this_update; /* neither replaces the other */
    struct sorted sorted = sort(f, f->root, f->partner, specs, 2);
    struct crl_set *file = crl_set_of(f->crypto, &from_file, 1);
    struct crl_set *joined = crl_set_join(sorted.sets[0], file);
    assert_int_equal(crl_set_count(joined), 3);
    assert_false(crl_set_same(joined, sorted.sets[0]));
    crl_set_unref(sorted.sets[0]);
    crl_set_unref(file);
    sorted.sets[0] = joined;
    judge(f, &sorted, chain, CRL_CHECK_PRESENT, REASON_SVID_REVOKED);
    sorted_fini(&sorted);
    X509_free(leaf);
}

static void test_broken_lists_are_refused_together(void **state)
{
    struct fixture *f = *state;
    struct errbuf err;
    struct crl_spec spec = crl_of(f->root, f->root_key);
    struct strview lists[2];
    char *der = crl_der(&spec, &lists[0].len);
    lists[0].ptr = der;
    lists[1] = (struct strview){.ptr = der, .len = lists[0].len - 1};
    assert_null(crl_set_from_der(f->crypto, lists, 2, &err));
    assert_non_null(strstr(err.text, "CRL 2: "));
    lists[1] = (struct strview){.ptr = "", .len = 0};
    assert_null(crl_set_from_der(f->crypto, lists, 2, &err));
    struct crl_set *one = crl_set_from_der(f->crypto, lists, 1, &err);
    struct crl_set *same = crl_set_from_der(f->crypto, lists, 1, &err);
    assert_true(crl_set_same(one, same));
    crl_set_unref(one);
    crl_set_unref(same);
    struct crl_set *none = crl_set_from_der(f->crypto, lists, 0, &err);
    assert_int_equal(crl_set_count(none), 0);
    crl_set_unref(none);
    free(der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_domain_gets_its_own),
        cmocka_unit_test(test_names_that_are_alike_mislead_nobody),
        cmocka_unit_test(test_an_intermediates_list_counts_below_it),
        cmocka_unit_test(test_joined_with_those_of_a_file),
        cmocka_unit_test(test_broken_lists_are_refused_together),
    };
    return cmocka_run_group_tests(tests, verify_setup, verify_teardown);
}
