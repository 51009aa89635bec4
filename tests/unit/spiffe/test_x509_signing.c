/* Unit tests of x509_svid_check_signing: intermediates and anchors, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cert_builder.h"
#include "spiffe/x509_svid.h"

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *ca_key;
    EVP_PKEY *key;
    X509 *ca;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->ca_key = cert_ec_key(f->crypto, "P-256");
    f->key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    f->ca = cert_build(f->crypto, &spec, f->ca_key, NULL, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    X509_free(f->ca);
    EVP_PKEY_free(f->key);
    EVP_PKEY_free(f->ca_key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

static void one_uri(struct cert_spec *spec, const char *uri)
{
    spec->names[0] = (struct cert_name){GEN_URI, uri, 0};
    spec->name_count = 1;
}

static void no_basic_constraints(struct cert_spec *spec)
{
    spec->basic_constraints = NULL;
}

static void no_key_usage(struct cert_spec *spec)
{
    spec->key_usage = NULL;
}

static void version_1(struct cert_spec *spec)
{
    spec->version = 0;
    spec->no_extensions = true;
}

static void san_garbage(struct cert_spec *spec)
{
    spec->san_raw = "\x30\x05garbage";
    spec->san_raw_len = 9;
}

static void private_twice(struct cert_spec *spec)
{
    spec->private_extension = "plain";
    spec->private_twice = true;
}
static void ca_as_it_is(struct cert_spec *spec)
{
    (void)spec;
}
static void ca_with_id(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example");
}
static void ca_with_https(struct cert_spec *spec)
{
    one_uri(spec, "https://ca.example/repository/");
}
static void ca_path(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example/ca");
}
static void ca_root_path(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example/");
}
static void ca_other_domain(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://partner.example");
}
static void ca_domain_prefix(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example.evil");
}
static void ca_upper(struct cert_spec *spec)
{
    one_uri(spec, "SPIFFE://prod.example");
}
static void ca_second_other(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example");
    cert_add_name(spec, GEN_URI, "spiffe://partner.example", 0);
}
static void ca_san_twice(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example");
    spec->san_twice = true;
}
static void ca_no_sign(struct cert_spec *spec)
{
    spec->key_usage = "critical,digitalSignature,cRLSign";
}
static void ca_false(struct cert_spec *spec)
{
    spec->basic_constraints = "critical,CA:FALSE";
}

static void test_signing_table(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name;
        void (*change)(struct cert_spec *spec);
        enum reason intermediate, anchor;
    } cases[] = {
        {"plain", ca_as_it_is, REASON_NONE, REASON_NONE},
        {"with its ID", ca_with_id, REASON_NONE, REASON_NONE},
        {"with an https URI", ca_with_https, REASON_NONE, REASON_NONE},
        {"path", ca_path, REASON_SVID_ISSUER_ID, REASON_SVID_ISSUER_ID},
        {"root path", ca_root_path, REASON_SVID_ISSUER_ID, REASON_SVID_ISSUER_ID},
        {"other domain", ca_other_domain, REASON_SVID_ISSUER_ID, REASON_SVID_ISSUER_ID},
        {"domain as prefix", ca_domain_prefix, REASON_SVID_ISSUER_ID, REASON_SVID_ISSUER_ID},
        {"upper case", ca_upper, REASON_SVID_ISSUER_ID, REASON_SVID_ISSUER_ID},
        {"a second ID", ca_second_other, REASON_SVID_ISSUER_ID, REASON_SVID_ISSUER_ID},
        {"no keyCertSign", ca_no_sign, REASON_SVID_ISSUER_NOT_CA, REASON_SVID_ISSUER_NOT_CA},
        {"cA false", ca_false, REASON_SVID_ISSUER_NOT_CA, REASON_SVID_ISSUER_NOT_CA},
        {"no basicConstraints", no_basic_constraints, REASON_SVID_ISSUER_NOT_CA,
         REASON_SVID_ISSUER_NOT_CA},
        /* A root made by hand often has no keyUsage; an intermediate must. */
        {"no keyUsage", no_key_usage, REASON_SVID_ISSUER_NOT_CA, REASON_NONE},
        {"version 1", version_1, REASON_SVID_VERSION, REASON_SVID_VERSION},
        {"SAN twice", ca_san_twice, REASON_SVID_MALFORMED, REASON_SVID_MALFORMED},
        {"bytes behind the SAN", san_garbage, REASON_SVID_MALFORMED, REASON_SVID_MALFORMED},
        {"private extension twice", private_twice, REASON_SVID_MALFORMED, REASON_SVID_MALFORMED},
    };
    struct strview domain = strview_from("prod.example");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cert_spec spec = cert_ca("signing");
        struct svid_failure failure;
        cases[i].change(&spec);
        X509 *anchor = cert_build(f->crypto, &spec, f->key, NULL, NULL);
        X509 *intermediate = cert_build(f->crypto, &spec, f->key, f->ca, f->ca_key);
        enum reason reason = x509_svid_check_signing(intermediate, domain, &failure);
        if (reason != cases[i].intermediate) {
            fail_msg("intermediate %s: %s", cases[i].name, reason_label(reason));
        }
        reason = x509_svid_check_signing(anchor, domain, &failure);
        if (reason != cases[i].anchor) {
            fail_msg("anchor %s: %s", cases[i].name, reason_label(reason));
        }
        X509_free(intermediate);
        X509_free(anchor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_signing_table)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
