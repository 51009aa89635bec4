/* workload_material: what the Workload API gives beside what the file says, and who wins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/spiffe/crl_builder.h"
#include "unit/spiffe/der_of.h"
#include "unit/spiffe/verify_fixture.h"

#include "base/clock.h"
#include "control/material.h"
#include "control/workload_material.h"
#include "identity/workload_update.h"
#include "spiffe/x509_svid.h"

enum { DOMAINS_MAX = 3 };

struct scene {
    struct diag_list diags;
    struct config *config;
    struct material material;
    struct material former;
    struct workload_update update;
    struct workload_domain domains[DOMAINS_MAX];
};

static void begin(struct scene *s, const char *identity, const char *trust)
{
    char text[1024];
    *s = (struct scene){.config = NULL};
    s->update.domains = s->domains;
    diag_list_init(&s->diags);
    int len = snprintf(text, sizeof(text),
                       "version: 1\nidentity: {workload_api: 'unix:///a'%s}\ntrust: {%s}\n"
                       "listeners: [{name: in, accept: 'mtls://127.0.0.1:0', "
                       "forward: 'tcp://127.0.0.1:9'}]\n",
                       identity, trust);
    s->config = config_parse("f", text, (size_t)len, NULL, &s->diags);
    assert_true(s->config->valid);
    diag_list_fini(&s->diags); /* that no rule allows anything */
    diag_list_init(&s->diags);
}

static void drop_domains(struct material *material)
{
    for (size_t i = 0; i < material->domain_count; i++) {
        trust_bundle_unref(material->domains[i].bundle);
        crl_set_unref(material->domains[i].crls);
        free(material->domains[i].name);
    }
    free(material->domains);
}

static void end(struct scene *s)
{
    drop_domains(&s->material);
    drop_domains(&s->former);
    for (size_t i = 0; i < s->update.domain_count; i++) {
        trust_bundle_unref(s->domains[i].bundle);
        crl_set_unref(s->domains[i].crls);
        free(s->domains[i].name);
    }
    x509_svid_unref(s->material.own);
    x509_svid_unref(s->former.own);
    x509_svid_unref(s->update.own);
    config_free(s->config);
    diag_list_fini(&s->diags);
}

static struct trust_bundle *bundle(struct fixture *f, const char *domain, X509 *anchor)
{
    struct errbuf err;
    X509 *const list[] = {anchor, NULL};
    struct der_text der = der_of(list);
    struct trust_bundle *made =
        trust_bundle_from_der(f->crypto, domain, der.data, anchor == NULL ? 0 : der.len, &err);
    CERT_MUST(made != NULL);
    free(der.data);
    return made;
}

static void gives(struct fixture *f, struct scene *s, const char *domain, X509 *anchor,
                  struct crl_set *crls)
{
    CERT_MUST(s->update.domain_count < DOMAINS_MAX);
    s->domains[s->update.domain_count++] = (struct workload_domain){
        .name = strdup(domain), .bundle = bundle(f, domain, anchor), .crls = crls};
}

/* As load_domains leaves it for a domain of the file. */
static struct material_domain *has(struct material *material, const char *domain)
{
    material->domains =
        realloc(material->domains, (material->domain_count + 1) * sizeof(struct material_domain));
    CERT_MUST(material->domains != NULL);
    struct material_domain *made = &material->domains[material->domain_count++];
    *made = (struct material_domain){.name = strdup(domain)};
    return made;
}

static struct x509_svid *svid(struct fixture *f, const char *id, int64_t from, int64_t until)
{
    struct errbuf err;
    struct cert_spec spec = cert_leaf(id);
    spec.not_before = clock_wall_s() + from;
    spec.not_after = clock_wall_s() + until;
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    X509 *const chain[] = {leaf, NULL};
    struct der_text der = der_of(chain);
    struct der_text key = pkcs8_of(f->key);
    struct x509_svid *made =
        x509_svid_from_der(f->crypto, der.data, der.len, key.data, key.len, &err);
    CERT_MUST(made != NULL);
    free(der.data);
    free(key.data);
    X509_free(leaf);
    return made;
}

static void bring(struct scene *s, bool has_update, bool is_start)
{
    const struct workload_load load = {.config = s->config,
                                       .update = has_update ? &s->update : NULL,
                                       .former = is_start ? NULL : &s->former,
                                       .material = &s->material,
                                       .diags = &s->diags};
    workload_material_own(&load);
    workload_material_domains(&load);
}

static const struct material_domain *domain_of(const struct scene *s, const char *name)
{
    return material_find_domain(&s->material, name);
}

static void assert_told(const struct scene *s, enum diag_severity severity, const char *text)
{
    assert_int_equal(s->diags.count, 1);
    assert_int_equal(s->diags.items[0].severity, severity);
    if (strstr(s->diags.items[0].message, text) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", text, s->diags.items[0].message);
    }
}

/* --- our own SVID ---------------------------------------------------------------------------- */

static void test_own_comes_goes_and_changes(void **state)
{
    struct fixture *f = *state;
    struct scene s;
    begin(&s, "", "");
    bring(&s, false, true);
    assert_null(s.material.own);
    assert_int_equal(s.material.identity_epoch, 0);
    s.update.own = svid(f, ID, -60, 3600);
    bring(&s, true, true);
    assert_ptr_equal(s.material.own, s.update.own);
    uint64_t first = s.material.identity_epoch;
    bring(&s, false, true); /* nothing new */
    assert_ptr_equal(s.material.own, s.update.own);
    x509_svid_unref(s.update.own);
    s.update.own = svid(f, ID, -60, 3600); /* a rotation ends nothing */
    bring(&s, true, true);
    assert_ptr_equal(s.material.own, s.update.own);
    assert_int_equal(s.material.identity_epoch, first);
    x509_svid_unref(s.update.own);
    s.update.own = svid(f, ID "2", -60, 3600);
    bring(&s, true, true);
    assert_true(s.material.identity_epoch > first);
    uint64_t second = s.material.identity_epoch;
    x509_svid_unref(s.update.own);
    s.update.own = NULL;
    bring(&s, true, true);
    assert_null(s.material.own);
    assert_true(s.material.identity_epoch > second);
    assert_int_equal(s.diags.count, 0);
    end(&s);
}

static void test_a_pin_that_does_not_fit_takes_it_away(void **state)
{
    struct fixture *f = *state;
    struct scene s;
    begin(&s, ", spiffe_id: '" ID "2'", "");
    s.material.own = svid(f, ID, -60, 3600);
    bring(&s, false, true);
    assert_null(s.material.own);
    assert_told(&s, DIAG_WARNING, "identity.spiffe_id: our SVID is \"" ID "\"");
    end(&s);
}

static void test_an_expired_one_replaces_no_valid_one(void **state)
{
    struct fixture *f = *state;
    struct scene s;
    begin(&s, "", "");
    struct x509_svid *valid = svid(f, ID, -60, 3600);
    s.material.own = valid;
    s.update.own = svid(f, ID, -7200, -3600);
    bring(&s, true, true);
    assert_ptr_equal(s.material.own, valid);
    assert_told(&s, DIAG_ERROR, "has expired and the one in force has not");
    end(&s);
}

/* --- trust domains --------------------------------------------------------------------------- */

static void test_domains_of_both_stand_beside_each_other(void **state)
{
    struct fixture *f = *state;
    struct scene s;
    begin(&s, "", "file.example: {bundle: b}, api.example: {crl_check: chain}, none.example: {}");
    has(&s.material, "file.example")->bundle = bundle(f, "file.example", f->root);
    (void)has(&s.material, "api.example");
    (void)has(&s.material, "none.example");
    gives(f, &s, "api.example", f->partner, NULL);
    gives(f, &s, "more.example", f->root, NULL);
    bring(&s, true, true);
    assert_int_equal(s.material.domain_count, 4);
    assert_int_equal(trust_bundle_count(domain_of(&s, "file.example")->bundle), 1);
    assert_ptr_equal(domain_of(&s, "api.example")->bundle, s.domains[0].bundle);
    assert_int_equal(domain_of(&s, "api.example")->crl_check, CRL_CHECK_CHAIN);
    assert_null(domain_of(&s, "api.example")->crls); /* demanded, and not there: refused */
    assert_ptr_equal(domain_of(&s, "more.example")->bundle, s.domains[1].bundle);
    assert_int_equal(domain_of(&s, "more.example")->crl_check, CRL_CHECK_NONE);
    assert_null(domain_of(&s, "none.example")->bundle);
    assert_told(&s, DIAG_WARNING, "trust.none.example: no `bundle` here, and the Workload API");
    end(&s);
}

static void test_of_two_bundles_what_both_trust(void **state)
{
    struct fixture *f = *state;
    for (int same = 0; same <= 1; same++) {
        struct scene s;
        begin(&s, "", "prod.example: {bundle: b}");
        has(&s.material, "prod.example")->bundle = bundle(f, "prod.example", f->root);
        gives(f, &s, "prod.example", same ? f->root : f->partner, NULL);
        bring(&s, true, true);
        assert_int_equal(s.material.domain_count, 1);
        assert_int_equal(trust_bundle_count(s.material.domains[0].bundle), same ? 1 : 0);
        if (same) {
            assert_int_equal(s.diags.count, 0);
        } else {
            assert_told(&s, DIAG_ERROR, "trust.prod.example.bundle: the Workload API has another");
            assert_int_equal(s.diags.items[0].pos.line, 3);
        }
        end(&s);
    }
}

static void test_crls_of_both_count(void **state)
{
    struct fixture *f = *state;
    struct crl_spec spec = crl_of(f->root, f->root_key);
    struct scene s;
    begin(&s, "", "prod.example: {crl: c}");
    struct material_domain *domain = has(&s.material, "prod.example");
    domain->crls = crl_set_of(f->crypto, &spec, 1);
    domain->crl_check = CRL_CHECK_LEAF;
    gives(f, &s, "prod.example", f->root, crl_set_of(f->crypto, &spec, 1));
    gives(f, &s, "more.example", f->partner, crl_set_of(f->crypto, &spec, 1));
    bring(&s, true, true);
    assert_int_equal(crl_set_count(domain_of(&s, "prod.example")->crls), 2);
    assert_int_equal(domain_of(&s, "prod.example")->crl_check, CRL_CHECK_LEAF);
    assert_int_equal(domain_of(&s, "more.example")->crl_check, CRL_CHECK_PRESENT);
    end(&s);
    /* Those of the file could not be read: the API's are no replacement. */
    begin(&s, "", "prod.example: {crl: c}");
    has(&s.material, "prod.example")->crl_check = CRL_CHECK_LEAF;
    gives(f, &s, "prod.example", f->root, crl_set_of(f->crypto, &spec, 1));
    bring(&s, true, true);
    assert_null(s.material.domains[0].crls);
    assert_int_equal(s.material.domains[0].crl_check, CRL_CHECK_LEAF);
    end(&s);
}

/* From files to the API: what serves, serves on until the API has spoken. */
static void test_before_the_first_update_the_former_ones_stay(void **state)
{
    struct fixture *f = *state;
    for (int serves = 0; serves <= 1; serves++) {
        struct scene s;
        begin(&s, "", "prod.example: {}");
        (void)has(&s.material, "prod.example");
        has(&s.former, "prod.example")->bundle = bundle(f, "prod.example", f->root);
        has(&s.former, "gone.example")->bundle = bundle(f, "gone.example", f->partner);
        s.former.own = serves ? svid(f, ID, -60, 3600) : NULL;
        bring(&s, false, false);
        assert_int_equal(s.material.domain_count, serves ? 2 : 1);
        assert_int_equal(domain_of(&s, "prod.example")->bundle != NULL, serves);
        gives(f, &s, "prod.example", f->root, NULL);
        drop_domains(&s.material);
        s.material = (struct material){.own = s.material.own};
        bring(&s, true, false);
        assert_int_equal(s.material.domain_count, 1);
        end(&s);
    }
}

static void test_where_to_ask(void **state)
{
    (void)state;
    struct scene s;
    assert_return_code(unsetenv("SPIFFE_ENDPOINT_SOCKET"), 0);
    begin(&s, "", "");
    assert_string_equal(workload_material_address(s.config), "unix:///a");
    char *written = s.config->identity.workload_api.text;
    s.config->identity.workload_api.text = NULL;
    assert_null(workload_material_address(s.config));
    workload_material_check(s.config, &s.diags);
    assert_told(&s, DIAG_ERROR, "nothing says where our SVID comes from");
    assert_return_code(setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///b", 1), 0);
    assert_string_equal(workload_material_address(s.config), "unix:///b");
    char file[] = "cert.pem";
    s.config->identity.certificate.text = file;
    assert_null(workload_material_address(s.config));
    s.config->identity.certificate.text = NULL;
    s.config->identity.workload_api.text = written;
    assert_string_equal(workload_material_address(s.config), "unix:///a");
    assert_return_code(unsetenv("SPIFFE_ENDPOINT_SOCKET"), 0);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_comes_goes_and_changes),
        cmocka_unit_test(test_a_pin_that_does_not_fit_takes_it_away),
        cmocka_unit_test(test_an_expired_one_replaces_no_valid_one),
        cmocka_unit_test(test_domains_of_both_stand_beside_each_other),
        cmocka_unit_test(test_of_two_bundles_what_both_trust),
        cmocka_unit_test(test_crls_of_both_count),
        cmocka_unit_test(test_before_the_first_update_the_former_ones_stay),
        cmocka_unit_test(test_where_to_ask),
    };
    return cmocka_run_group_tests(tests, verify_setup, verify_teardown);
}
