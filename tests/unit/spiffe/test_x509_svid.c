/* Unit tests of x509_svid: a table of defects, each with the one reason that it must have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cert_builder.h"
#include "spiffe/x509_svid.h"

#define ID "spiffe://prod.example/ns/shop/sa/web"

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

/* What the leaf's check says of a certificate with this spec and key. */
static enum reason check_with_key(struct fixture *f, const struct cert_spec *spec, EVP_PKEY *key,
                                  struct svid_failure *failure)
{
    char text[SPIFFE_ID_MAX];
    struct spiffe_id id;
    X509 *leaf = cert_build(f->crypto, spec, key, f->ca, f->ca_key);
    enum reason reason = x509_svid_check_leaf(leaf, text, &id, failure);
    struct svid_failure faults[4];
    size_t count = x509_svid_leaf_faults(leaf, faults, 4);
    /* The list for people and the verdict never disagree. */
    assert_int_equal(count > 0, reason != REASON_NONE);
    if (count > 0) {
        assert_int_equal(faults[0].reason, reason);
    }
    X509_free(leaf);
    return reason;
}

static enum reason check(struct fixture *f, const struct cert_spec *spec,
                         struct svid_failure *failure)
{
    return check_with_key(f, spec, f->key, failure);
}

static void one_uri(struct cert_spec *spec, const char *uri)
{
    spec->names[0] = (struct cert_name){GEN_URI, uri, 0};
    spec->name_count = 1;
}

/* --- shapes of real issuers that are accepted ------------------------------------------------ */

static void shape_spire(struct cert_spec *spec)
{
    spec->key_usage = "critical,digitalSignature,keyEncipherment,keyAgreement";
}
static void shape_istio(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://cluster.local/ns/shop/sa/orders");
    spec->cn = NULL;
    spec->san_critical = true;
    spec->key_usage = "critical,digitalSignature,keyEncipherment";
}
static void shape_consul(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web");
    cert_add_name(spec, GEN_DNS, "web.svc.default.11111111.consul", 0);
    spec->key_usage = "critical,digitalSignature,keyEncipherment,dataEncipherment,keyAgreement";
    spec->extended_key_usage = "clientAuth,serverAuth";
}
static void shape_cert_manager(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://foo.bar/ns/sandbox/sa/default");
    spec->cn = NULL;
    spec->san_critical = true;
    spec->key_usage = "critical,digitalSignature,keyEncipherment";
    spec->extended_key_usage = "serverAuth,clientAuth";
}
static void shape_vault(struct cert_spec *spec)
{
    spec->cn = "web.prod.example";
    cert_add_name(spec, GEN_DNS, "web.prod.example", 0);
    spec->basic_constraints = NULL;
    spec->key_usage = "critical,digitalSignature,keyEncipherment,keyAgreement";
}
static void no_eku(struct cert_spec *spec)
{
    spec->extended_key_usage = NULL;
}
static void eku_and_more(struct cert_spec *spec)
{
    spec->extended_key_usage = "serverAuth,clientAuth,emailProtection";
}
static void no_basic_constraints(struct cert_spec *spec)
{
    spec->basic_constraints = NULL;
}
static void other_names(struct cert_spec *spec)
{
    cert_add_name(spec, GEN_DNS, "web", 0);
    cert_add_name(spec, GEN_EMAIL, "web@prod.example", 0);
}
/* CVE-2021-44532: printed, this DNS name looks like a second URI. */
static void dns_with_uri_text(struct cert_spec *spec)
{
    cert_add_name(spec, GEN_DNS, "x, URI:spiffe://prod.example/admin", 0);
}
static void plain_private_extension(struct cert_spec *spec)
{
    spec->private_extension = "plain";
}
static void id_2048(struct cert_spec *spec)
{
    static char text[2048 + 1];
    memset(text, 'a', 2048);
    memcpy(text, "spiffe://td/", 12);
    one_uri(spec, text);
}
static void names_128(struct cert_spec *spec)
{
    while (spec->name_count < 128) {
        cert_add_name(spec, GEN_DNS, "x", 0);
    }
}

/* --- defects --------------------------------------------------------------------------------- */

static void no_san(struct cert_spec *spec)
{
    spec->name_count = 0;
}
/* Linkerd's default identity. */
static void shape_linkerd(struct cert_spec *spec)
{
    spec->name_count = 0;
    cert_add_name(spec, GEN_DNS, "web.shop.serviceaccount.identity.linkerd.cluster.local", 0);
}
/* Kuma's built-in CA. */
static void shape_kuma(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://default/web");
    cert_add_name(spec, GEN_URI, "kuma://version/v1", 0);
}
static void only_dns_with_uri_text(struct cert_spec *spec)
{
    spec->name_count = 0;
    cert_add_name(spec, GEN_DNS, "x, URI:" ID, 0);
}
static void only_email(struct cert_spec *spec)
{
    spec->name_count = 0;
    cert_add_name(spec, GEN_EMAIL, ID, 0);
}
static void id_in_cn_only(struct cert_spec *spec)
{
    spec->cn = ID;
    spec->name_count = 0;
}
static void two_identical(struct cert_spec *spec)
{
    cert_add_name(spec, GEN_URI, ID, 0);
}
static void two_different(struct cert_spec *spec)
{
    cert_add_name(spec, GEN_URI, "spiffe://prod.example/admin", 0);
}
static void second_http(struct cert_spec *spec)
{
    cert_add_name(spec, GEN_URI, "https://prod.example/", 0);
}
static void three(struct cert_spec *spec)
{
    two_identical(spec);
    two_different(spec);
}
static void uri_nul_end(struct cert_spec *spec)
{
    spec->names[0] = (struct cert_name){GEN_URI, ID "\0", sizeof(ID)};
}
static void uri_nul_middle(struct cert_spec *spec)
{
    spec->names[0] = (struct cert_name){GEN_URI, ID "\0.evil", sizeof(ID) + 5};
}
static void uri_upper_scheme(struct cert_spec *spec)
{
    one_uri(spec, "SPIFFE://prod.example/web");
}
static void uri_upper_domain(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://Prod.example/web");
}
static void uri_query(struct cert_spec *spec)
{
    one_uri(spec, ID "?x=1");
}
static void uri_fragment(struct cert_spec *spec)
{
    one_uri(spec, ID "#x");
}
static void uri_percent(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example/ns/shop%2Fsa/web");
}
static void uri_dotdot(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example/ns/../web");
}
static void uri_port(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example:443/web");
}
static void uri_https(struct cert_spec *spec)
{
    one_uri(spec, "https://prod.example/web");
}
static void uri_root_path(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example/");
}
static void uri_trailing_slash(struct cert_spec *spec)
{
    one_uri(spec, ID "/");
}
static void uri_non_ascii(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example/w\xc3\xa9"
                  "b");
}
static void id_2049(struct cert_spec *spec)
{
    static char text[2049 + 1];
    memset(text, 'a', 2049);
    memcpy(text, "spiffe://td/", 12);
    one_uri(spec, text);
}
static void id_60000(struct cert_spec *spec)
{
    static char text[60000 + 1];
    memset(text, 'a', 60000);
    memcpy(text, "spiffe://td/", 12);
    one_uri(spec, text);
}
static void no_path(struct cert_spec *spec)
{
    one_uri(spec, "spiffe://prod.example");
}
static void names_129(struct cert_spec *spec)
{
    names_128(spec);
    cert_add_name(spec, GEN_DNS, "x", 0);
}
static void ca_true(struct cert_spec *spec)
{
    spec->basic_constraints = "critical,CA:TRUE";
}
static void ca_true_signs(struct cert_spec *spec)
{
    spec->basic_constraints = "CA:TRUE";
    spec->key_usage = "critical,digitalSignature,keyCertSign";
}
static void no_key_usage(struct cert_spec *spec)
{
    spec->key_usage = NULL;
}
static void key_usage_not_critical(struct cert_spec *spec)
{
    spec->key_usage = "digitalSignature";
}
static void key_usage_no_signature(struct cert_spec *spec)
{
    spec->key_usage = "critical,keyEncipherment,keyAgreement";
}
static void key_cert_sign(struct cert_spec *spec)
{
    spec->key_usage = "critical,digitalSignature,keyCertSign";
}
static void crl_sign(struct cert_spec *spec)
{
    spec->key_usage = "critical,digitalSignature,cRLSign";
}
static void eku_server_only(struct cert_spec *spec)
{
    spec->extended_key_usage = "serverAuth";
}
static void eku_client_only(struct cert_spec *spec)
{
    spec->extended_key_usage = "clientAuth";
}
static void eku_email_only(struct cert_spec *spec)
{
    spec->extended_key_usage = "emailProtection";
}
static void eku_any_only(struct cert_spec *spec)
{
    spec->extended_key_usage = "anyExtendedKeyUsage";
}
static void empty_subject_plain_san(struct cert_spec *spec)
{
    spec->cn = NULL;
}
static void version_1(struct cert_spec *spec)
{
    spec->version = 0;
    spec->no_extensions = true;
}
static void version_1_extensions(struct cert_spec *spec)
{
    spec->version = 0;
}
static void version_2(struct cert_spec *spec)
{
    spec->version = 1;
}
static void san_trailing(struct cert_spec *spec)
{
    spec->san_trailing_bytes = true;
}
static void san_twice(struct cert_spec *spec)
{
    spec->san_twice = true;
}
static void san_garbage(struct cert_spec *spec)
{
    spec->san_raw = "\x30\x05garbage";
    spec->san_raw_len = 9;
}
static void san_empty_octets(struct cert_spec *spec)
{
    spec->san_raw = "";
    spec->san_raw_len = 0;
}
static void san_wrong_type(struct cert_spec *spec)
{
    spec->san_raw = "\x04\x02\x86\x00";
    spec->san_raw_len = 4;
}
static void san_indefinite(struct cert_spec *spec)
{
    static const char raw[] = "\x30\x80\x86\x0fspiffe://td/web\x00\x00";
    spec->san_raw = raw;
    spec->san_raw_len = sizeof(raw) - 1;
}
static void san_empty_sequence(struct cert_spec *spec)
{
    spec->san_raw = "\x30\x00";
    spec->san_raw_len = 2;
}
static void private_twice(struct cert_spec *spec)
{
    spec->private_extension = "plain";
    spec->private_twice = true;
}
static void private_critical(struct cert_spec *spec)
{
    spec->private_extension = "critical";
}
static void negative_path_length(struct cert_spec *spec)
{
    spec->basic_constraints = "critical,CA:TRUE,pathlen:-1";
}

static const struct {
    const char *name;
    void (*change)(struct cert_spec *spec);
    enum reason reason;
} LEAVES[] = {
    {"SPIRE", shape_spire, REASON_NONE},
    {"Istio", shape_istio, REASON_NONE},
    {"Consul", shape_consul, REASON_NONE},
    {"cert-manager csi-driver-spiffe", shape_cert_manager, REASON_NONE},
    {"Vault PKI", shape_vault, REASON_NONE},
    {"no EKU", no_eku, REASON_NONE},
    {"EKU and more", eku_and_more, REASON_NONE},
    {"no basicConstraints", no_basic_constraints, REASON_NONE},
    {"other names", other_names, REASON_NONE},
    {"DNS name with URI text", dns_with_uri_text, REASON_NONE},
    {"private extension", plain_private_extension, REASON_NONE},
    {"ID of 2048 bytes", id_2048, REASON_NONE},
    {"128 names", names_128, REASON_NONE},

    {"no SAN", no_san, REASON_SVID_NO_URI_SAN},
    {"Linkerd", shape_linkerd, REASON_SVID_NO_URI_SAN},
    {"URI text in a DNS name only", only_dns_with_uri_text, REASON_SVID_NO_URI_SAN},
    {"ID as e-mail", only_email, REASON_SVID_NO_URI_SAN},
    {"ID in CN only", id_in_cn_only, REASON_SVID_NO_URI_SAN},
    {"empty SAN", san_empty_sequence, REASON_SVID_NO_URI_SAN},
    {"Kuma", shape_kuma, REASON_SVID_MULTIPLE_URI_SANS},
    {"two identical URIs", two_identical, REASON_SVID_MULTIPLE_URI_SANS},
    {"two URIs", two_different, REASON_SVID_MULTIPLE_URI_SANS},
    {"a second URI of another scheme", second_http, REASON_SVID_MULTIPLE_URI_SANS},
    {"three URIs", three, REASON_SVID_MULTIPLE_URI_SANS},
    {"NUL at the end", uri_nul_end, REASON_SVID_BAD_SPIFFE_ID},
    {"NUL in the middle", uri_nul_middle, REASON_SVID_BAD_SPIFFE_ID},
    {"upper-case scheme", uri_upper_scheme, REASON_SVID_BAD_SPIFFE_ID},
    {"upper-case trust domain", uri_upper_domain, REASON_SVID_BAD_SPIFFE_ID},
    {"query", uri_query, REASON_SVID_BAD_SPIFFE_ID},
    {"fragment", uri_fragment, REASON_SVID_BAD_SPIFFE_ID},
    {"percent", uri_percent, REASON_SVID_BAD_SPIFFE_ID},
    {"dot-dot", uri_dotdot, REASON_SVID_BAD_SPIFFE_ID},
    {"port", uri_port, REASON_SVID_BAD_SPIFFE_ID},
    {"https", uri_https, REASON_SVID_BAD_SPIFFE_ID},
    {"root path", uri_root_path, REASON_SVID_BAD_SPIFFE_ID},
    {"trailing slash", uri_trailing_slash, REASON_SVID_BAD_SPIFFE_ID},
    {"non-ASCII", uri_non_ascii, REASON_SVID_BAD_SPIFFE_ID},
    {"ID of 2049 bytes", id_2049, REASON_SVID_BAD_SPIFFE_ID},
    {"ID of 60000 bytes", id_60000, REASON_SVID_BAD_SPIFFE_ID},
    {"no path", no_path, REASON_SVID_NO_PATH},
    {"129 names", names_129, REASON_SVID_MALFORMED},
    {"cA", ca_true, REASON_SVID_LEAF_IS_CA},
    {"cA and keyCertSign", ca_true_signs, REASON_SVID_LEAF_IS_CA},
    {"no keyUsage", no_key_usage, REASON_SVID_NO_KEY_USAGE},
    {"keyUsage not critical", key_usage_not_critical, REASON_SVID_KEY_USAGE_NOT_CRITICAL},
    {"no digitalSignature", key_usage_no_signature, REASON_SVID_KEY_USAGE_NO_DIGITAL_SIGNATURE},
    {"keyCertSign", key_cert_sign, REASON_SVID_KEY_USAGE_SIGNS},
    {"cRLSign", crl_sign, REASON_SVID_KEY_USAGE_SIGNS},
    {"EKU serverAuth", eku_server_only, REASON_SVID_EXTENDED_KEY_USAGE},
    {"EKU clientAuth", eku_client_only, REASON_SVID_EXTENDED_KEY_USAGE},
    {"EKU e-mail", eku_email_only, REASON_SVID_EXTENDED_KEY_USAGE},
    {"EKU any", eku_any_only, REASON_SVID_EXTENDED_KEY_USAGE},
    {"empty subject", empty_subject_plain_san, REASON_SVID_SAN_NOT_CRITICAL},
    {"version 1", version_1, REASON_SVID_VERSION},
    {"version 1 with extensions", version_1_extensions, REASON_SVID_VERSION},
    {"version 2", version_2, REASON_SVID_VERSION},
    {"bytes behind the SAN", san_trailing, REASON_SVID_MALFORMED},
    {"SAN twice", san_twice, REASON_SVID_MALFORMED},
    {"SAN garbage", san_garbage, REASON_SVID_MALFORMED},
    {"SAN without bytes", san_empty_octets, REASON_SVID_MALFORMED},
    {"SAN of another type", san_wrong_type, REASON_SVID_MALFORMED},
    {"SAN of indefinite length", san_indefinite, REASON_SVID_MALFORMED},
    {"private extension twice", private_twice, REASON_SVID_MALFORMED},
    {"negative path length", negative_path_length, REASON_SVID_MALFORMED},
    {"unknown critical extension", private_critical, REASON_SVID_CRITICAL_EXTENSION},
};

static void test_leaf_table(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(LEAVES) / sizeof(LEAVES[0]); i++) {
        struct cert_spec spec = cert_leaf(ID);
        struct svid_failure failure;
        LEAVES[i].change(&spec);
        enum reason reason = check(f, &spec, &failure);
        if (reason != LEAVES[i].reason) {
            fail_msg("%s: %s (%s), expected %s", LEAVES[i].name, reason_label(reason),
                     failure.detail, reason_label(LEAVES[i].reason));
        }
    }
}

static void test_leaf_keys(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *name;
        EVP_PKEY *key;
        enum reason reason;
    } cases[] = {
        {"P-256", cert_ec_key(f->crypto, "P-256"), REASON_NONE},
        {"P-384", cert_ec_key(f->crypto, "P-384"), REASON_NONE},
        {"P-521", cert_ec_key(f->crypto, "P-521"), REASON_NONE},
        {"Ed25519", cert_ed25519_key(f->crypto), REASON_NONE},
        {"RSA 2048", cert_fake_rsa_key(f->crypto, 2048, 17), REASON_NONE},
        {"RSA 4096", cert_fake_rsa_key(f->crypto, 4096, 64), REASON_NONE},
        {"RSA 1024", cert_fake_rsa_key(f->crypto, 1024, 17), REASON_SVID_WEAK_KEY},
        {"RSA 2047", cert_fake_rsa_key(f->crypto, 2047, 17), REASON_SVID_WEAK_KEY},
        {"RSA 4097", cert_fake_rsa_key(f->crypto, 4097, 17), REASON_SVID_WEAK_KEY},
        {"RSA 16384", cert_fake_rsa_key(f->crypto, 16384, 17), REASON_SVID_WEAK_KEY},
        {"RSA with a large exponent", cert_fake_rsa_key(f->crypto, 2048, 65), REASON_SVID_WEAK_KEY},
        {"RSA with an exponent like a modulus", cert_fake_rsa_key(f->crypto, 2048, 2000),
         REASON_SVID_WEAK_KEY},
        {"P-192", cert_ec_key(f->crypto, "prime192v1"), REASON_SVID_WEAK_KEY},
        {"secp112r1", cert_ec_key(f->crypto, "secp112r1"), REASON_SVID_WEAK_KEY},
        {"P-224", cert_ec_key(f->crypto, "secp224r1"), REASON_SVID_WEAK_KEY},
        {"secp256k1", cert_ec_key(f->crypto, "secp256k1"), REASON_SVID_WEAK_KEY},
        {"brainpool", cert_ec_key(f->crypto, "brainpoolP256r1"), REASON_SVID_WEAK_KEY},
        {"binary curve", cert_ec_key(f->crypto, "sect283r1"), REASON_SVID_WEAK_KEY},
        {"explicit parameters", cert_explicit_key(f->crypto, "P-256"), REASON_SVID_WEAK_KEY},
        {"Ed448", EVP_PKEY_Q_keygen(cert_maker(f->crypto), NULL, "ED448"), REASON_SVID_WEAK_KEY},
        {"X25519", EVP_PKEY_Q_keygen(cert_maker(f->crypto), NULL, "X25519"), REASON_SVID_WEAK_KEY},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cert_spec spec = cert_leaf(ID);
        struct svid_failure failure;
        enum reason reason = check_with_key(f, &spec, cases[i].key, &failure);
        if (reason != cases[i].reason) {
            fail_msg("%s: %s (%s)", cases[i].name, reason_label(reason), failure.detail);
        }
        EVP_PKEY_free(cases[i].key);
    }
}

static void test_accepted_leaf_yields_its_id(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_leaf(ID);
    char text[SPIFFE_ID_MAX];
    struct spiffe_id id;
    struct svid_failure failure;
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->ca, f->ca_key);
    assert_int_equal(x509_svid_check_leaf(leaf, text, &id, &failure), REASON_NONE);
    X509_free(leaf);
    /* The views are into text, not into the certificate that is gone. */
    assert_ptr_equal(id.text.ptr, text);
    assert_true(strview_equal_text(id.text, ID));
    assert_true(strview_equal_text(id.trust_domain, "prod.example"));
    assert_true(strview_equal_text(id.path, "/ns/shop/sa/web"));
}

static void test_failure_says_what_was_found(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct cert_spec spec = cert_leaf(ID);
    key_cert_sign(&spec);
    assert_int_equal(check(f, &spec, &failure), REASON_SVID_KEY_USAGE_SIGNS);
    assert_int_equal(failure.reason, REASON_SVID_KEY_USAGE_SIGNS);
    assert_string_equal(failure.detail, "keyUsage: digitalSignature keyCertSign");
    assert_string_equal(failure.claimed, ID);
    assert_string_equal(failure.subject, "CN=leaf");
    /* Eight random bytes; leading zeros are not printed. */
    assert_in_range(strlen(failure.serial), 2, 16);
    assert_int_equal(strspn(failure.serial, "0123456789ABCDEFabcdef"), strlen(failure.serial));

    /* A NUL must not hide what stands behind it. */
    uri_nul_middle(&spec);
    assert_int_equal(check(f, &spec, &failure), REASON_SVID_BAD_SPIFFE_ID);
    assert_string_equal(failure.claimed, ID "\\x00.evil");

    /* Cut, never overrun. */
    id_60000(&spec);
    assert_int_equal(check(f, &spec, &failure), REASON_SVID_BAD_SPIFFE_ID);
    assert_int_equal(strlen(failure.claimed), sizeof(failure.claimed) - 1);
}

static void test_faults_are_listed_all(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_leaf("spiffe://prod.example");
    struct svid_failure faults[16];
    spec.key_usage = "keyCertSign";
    spec.extended_key_usage = "serverAuth";
    spec.cn = NULL;
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->ca, f->ca_key);
    static const enum reason expected[] = {REASON_SVID_NO_PATH,
                                           REASON_SVID_KEY_USAGE_NOT_CRITICAL,
                                           REASON_SVID_KEY_USAGE_NO_DIGITAL_SIGNATURE,
                                           REASON_SVID_KEY_USAGE_SIGNS,
                                           REASON_SVID_EXTENDED_KEY_USAGE,
                                           REASON_SVID_SAN_NOT_CRITICAL};
    assert_int_equal(x509_svid_leaf_faults(leaf, faults, 16), 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(faults[i].reason, expected[i]);
    }
    assert_int_equal(x509_svid_leaf_faults(leaf, faults, 2), 2);
    X509_free(leaf);
}

static void test_validity(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_leaf(ID);
    int64_t from = 0;
    int64_t until = 0;
    spec.not_before = -86400;      /* 1969-12-31 */
    spec.not_after = 253402300799; /* 9999-12-31T23:59:59Z (RFC 5280 4.1.2.5) */
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->ca, f->ca_key);
    assert_int_equal(x509_svid_validity(leaf, &from, &until), 0);
    assert_true(from == -86400);
    assert_true(until == 253402300799);
    X509_free(leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaf_table),
        cmocka_unit_test(test_leaf_keys),
        cmocka_unit_test(test_accepted_leaf_yields_its_id),
        cmocka_unit_test(test_failure_says_what_was_found),
        cmocka_unit_test(test_faults_are_listed_all),
        cmocka_unit_test(test_validity),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
