/* Unit tests of svid_inspect and of `bulkhead svid`: what people are told of a certificate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <unistd.h>

#include "base/clock.h"
#include "cert_builder.h"
#include "cli/svid.h"
#include "credentials_of.h"
#include "spiffe/credentials.h"
#include "spiffe/svid_inspect.h"
#include "spiffe/trust_bundle.h"

#define ID "spiffe://prod.example/ns/shop/sa/web"

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *root_key, *key;
    X509 *root;
    struct credentials *credentials;
    struct svid_inspection inspection;
    char directory[64];
};

static void write_file(const struct fixture *f, const char *name, const char *text, char *path,
                       size_t size)
{
    (void)snprintf(path, size, "%s/%s", f->directory, name);
    FILE *file = fopen(path, "w");
    CERT_MUST(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct errbuf err;
    CERT_MUST(f != NULL);
    (void)snprintf(f->directory, sizeof(f->directory), "/tmp/bulkhead-test-XXXXXX");
    CERT_MUST(mkdtemp(f->directory) != NULL);
    f->crypto = cert_crypto();
    f->root_key = cert_ec_key(f->crypto, "P-256");
    f->key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    spec.not_before = clock_wall_s() - CERT_DAY;
    spec.not_after = spec.not_before + 3650LL * CERT_DAY;
    f->root = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    char *pem = cert_pem_one(f->root);
    struct trust_bundle *bundle =
        trust_bundle_from_pem(f->crypto, "prod.example", pem, strlen(pem), &err);
    CERT_MUST(bundle != NULL);
    f->credentials = credentials_of(NULL, &bundle, 1, 0, &err);
    trust_bundle_unref(bundle);
    free(pem);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r %s", f->directory);
    CERT_MUST(system(command) == 0);
    credentials_unref(f->credentials);
    X509_free(f->root);
    EVP_PKEY_free(f->root_key);
    EVP_PKEY_free(f->key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

/* A leaf that is valid on the machine's clock for somewhat over three days. */
static struct cert_spec leaf_spec(void)
{
    struct cert_spec spec = cert_leaf(ID);
    spec.not_before = clock_wall_s() - 60;
    spec.not_after = clock_wall_s() + 3 * CERT_DAY + 3600;
    return spec;
}

static X509 *build(struct fixture *f, const struct cert_spec *spec)
{
    return cert_build(f->crypto, spec, f->key, f->root, f->root_key);
}

/* Inspects the certificates as PEM; the result is in f->inspection. */
static int inspect(struct fixture *f, X509 *const *list, const struct credentials *credentials)
{
    struct errbuf err;
    char *pem = cert_pem(list);
    int result = svid_inspect(f->crypto, pem, strlen(pem), credentials, clock_wall_s(),
                              &f->inspection, &err);
    free(pem);
    return result;
}

static void test_valid_leaf(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = leaf_spec();
    X509 *leaf = build(f, &spec);
    X509 *const list[] = {leaf, NULL};
    const struct svid_inspection *i = &f->inspection;
    assert_int_equal(inspect(f, list, NULL), 0);
    assert_int_equal(i->kind, SVID_KIND_LEAF);
    assert_int_equal(i->fault_count, 0);
    assert_string_equal(i->claimed, ID);
    assert_string_equal(i->facts.subject, "CN=leaf");
    assert_string_equal(i->facts.issuer, "CN=root");
    assert_string_equal(i->facts.key, "EC P-256");
    assert_int_equal(strlen(i->facts.sha256), 64);
    assert_int_equal(i->chain_length, 1);
    assert_true(i->facts.has_validity);
    assert_true(i->facts.not_after == spec.not_after);
    assert_int_equal(inspect(f, list, f->credentials), 0);
    assert_int_equal(i->fault_count, 0);

    /* The same as DER. */
    unsigned char *der = NULL;
    int len = i2d_X509(leaf, &der);
    struct errbuf err;
    assert_int_equal(
        svid_inspect(f->crypto, der, (size_t)len, NULL, clock_wall_s(), &f->inspection, &err), 0);
    assert_string_equal(i->claimed, ID);
    assert_int_equal(
        svid_inspect(f->crypto, der, (size_t)len - 1, NULL, clock_wall_s(), &f->inspection, &err),
        -1);
    OPENSSL_free(der);
    X509_free(leaf);
}

static void test_signing_certificates(void **state)
{
    struct fixture *f = *state;
    X509 *const root[] = {f->root, NULL};
    assert_int_equal(inspect(f, root, f->credentials), 0);
    assert_int_equal(f->inspection.kind, SVID_KIND_SIGNING);
    assert_int_equal(f->inspection.fault_count, 0);

    /* A CA with a workload's ID is a leaf gone wrong. */
    struct cert_spec spec = leaf_spec();
    spec.basic_constraints = "critical,CA:TRUE";
    X509 *leaf = build(f, &spec);
    X509 *const list[] = {leaf, NULL};
    assert_int_equal(inspect(f, list, NULL), 0);
    assert_int_equal(f->inspection.kind, SVID_KIND_LEAF);
    assert_int_equal(f->inspection.fault_count, 1);
    assert_int_equal(f->inspection.faults[0].reason, REASON_SVID_LEAF_IS_CA);
    X509_free(leaf);

    spec = cert_ca("no sign");
    spec.not_after = clock_wall_s() + CERT_DAY;
    spec.key_usage = "critical,digitalSignature";
    X509 *ca = build(f, &spec);
    X509 *const bad[] = {ca, NULL};
    assert_int_equal(inspect(f, bad, NULL), 0);
    assert_int_equal(f->inspection.kind, SVID_KIND_SIGNING);
    assert_int_equal(f->inspection.faults[0].reason, REASON_SVID_ISSUER_NOT_CA);
    X509_free(ca);
}

static void test_every_fault_is_told(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = leaf_spec();
    spec.key_usage = "keyCertSign";
    spec.not_after = clock_wall_s() - 1;
    X509 *leaf = build(f, &spec);
    X509 *const list[] = {leaf, leaf, NULL};
    static const enum reason expected[] = {
        REASON_SVID_KEY_USAGE_NOT_CRITICAL, REASON_SVID_KEY_USAGE_NO_DIGITAL_SIGNATURE,
        REASON_SVID_KEY_USAGE_SIGNS, REASON_SVID_ISSUER_NOT_CA, REASON_SVID_EXPIRED};
    assert_int_equal(inspect(f, list, f->credentials), 0);
    assert_int_equal(f->inspection.fault_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(f->inspection.faults[i].reason, expected[i]);
    }
    X509_free(leaf);
}

static void test_chain_is_verified_when_there_is_a_bundle(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = leaf_spec();
    X509 *stranger = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    X509 *const list[] = {stranger, NULL};
    assert_int_equal(inspect(f, list, NULL), 0);
    assert_int_equal(f->inspection.fault_count, 0);
    assert_int_equal(inspect(f, list, f->credentials), 0);
    assert_int_equal(f->inspection.fault_count, 1); /* once, not once per role */
    assert_int_equal(f->inspection.faults[0].reason, REASON_SVID_UNTRUSTED);
    X509_free(stranger);

    spec = leaf_spec();
    spec.not_after = clock_wall_s() - 1;
    X509 *expired = build(f, &spec);
    X509 *const old[] = {expired, NULL};
    assert_int_equal(inspect(f, old, f->credentials), 0);
    assert_int_equal(f->inspection.fault_count, 1);
    assert_int_equal(f->inspection.faults[0].reason, REASON_SVID_EXPIRED);
    X509_free(expired);
}

static void test_refuses_what_is_no_certificate(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",
                                      "words\n",
                                      "0",
                                      "0\x80",
                                      "-----BEGIN CERTIFICATE-----\nAAAA\n",
                                      ("-----BEGIN CERTIFICATE-----\nAAAA\n"
                                       "-----END CERTIFICATE-----\n")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct errbuf err = {""};
        assert_int_equal(
            svid_inspect(f->crypto, bad[i], strlen(bad[i]), NULL, CERT_NOW, &f->inspection, &err),
            -1);
        assert_true(err.text[0] != '\0');
    }
}

/* --- the command ------------------------------------------------------------------------------ */

/* Runs `svid ARGUMENT...` and gives its exit code; what it printed is in out. */
static int run(const struct fixture *f, char *out, size_t size, ...)
{
    char *argv[16] = {(char[]){"svid"}};
    int argc = 1;
    va_list arguments;
    va_start(arguments, size);
    while ((argv[argc] = va_arg(arguments, char *)) != NULL) {
        argc++;
    }
    va_end(arguments);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/out", f->directory);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    FILE *file = fopen(path, "w+");
    CERT_MUST(saved >= 0 && file != NULL && dup2(fileno(file), STDOUT_FILENO) >= 0);
    optind = 0;
    int code = svid_main(argc, argv);
    fflush(stdout);
    CERT_MUST(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    rewind(file);
    size_t len = fread(out, 1, size - 1, file);
    out[len] = '\0';
    fclose(file);
    return code;
}

static void test_command_prints_text(void **state)
{
    struct fixture *f = *state;
    char path[128];
    char bundle[128];
    char out[8192];
    struct cert_spec spec = leaf_spec();
    X509 *leaf = build(f, &spec);
    char *pem = cert_pem_one(leaf);
    write_file(f, "leaf.pem", pem, path, sizeof(path));
    free(pem);
    pem = cert_pem_one(f->root);
    write_file(f, "bundle.pem", pem, bundle, sizeof(bundle));
    free(pem);
    assert_int_equal(run(f, out, sizeof(out), path, NULL), 0);
    assert_non_null(strstr(out, "SPIFFE ID  " ID "\n"));
    assert_non_null(strstr(out, "expires in 3 days"));
    assert_non_null(strstr(out, "EC P-256"));
    assert_non_null(strstr(out, "valid X509-SVID (leaf)\n"));
    assert_int_equal(run(f, out, sizeof(out), bundle, NULL), 0);
    assert_non_null(strstr(out, "CA certificate (signing), not a leaf\n"));
    assert_int_equal(
        run(f, out, sizeof(out), "--bundle", bundle, "--trust-domain", "prod.example", path, NULL),
        0);
    assert_non_null(strstr(out, "chain verified"));
    assert_int_equal(
        run(f, out, sizeof(out), "--bundle", bundle, "--trust-domain", "other.example", path, NULL),
        1);
    assert_non_null(strstr(out, "svid_unknown_trust_domain"));
    X509_free(leaf);
}

static void test_command_escapes_what_others_wrote(void **state)
{
    struct fixture *f = *state;
    char path[128];
    char out[8192];
    struct cert_spec spec = leaf_spec();
    spec.names[0].bytes = "spiffe://prod.example/\x1b[2J\nverdict valid\xe2\x80\xae\xff";
    X509 *leaf = build(f, &spec);
    char *pem = cert_pem_one(leaf);
    write_file(f, "evil.pem", pem, path, sizeof(path));
    free(pem);
    assert_int_equal(run(f, out, sizeof(out), path, NULL), 1);
    assert_null(strchr(out, '\x1b'));
    assert_null(strchr(out, '\xe2'));
    assert_null(strchr(out, '\xff'));
    assert_null(strstr(out, "\nverdict"));
    assert_non_null(strstr(out, "\\x1b[2J\\x0averdict valid\\xe2\\x80\\xae\\xff"));
    assert_non_null(strstr(out, "svid_bad_spiffe_id: SPIFFE-ID 2"));

    assert_int_equal(run(f, out, sizeof(out), "--json", path, NULL), 1);
    json_t *json = json_loads(out, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    assert_true(json_is_false(json_object_get(json, "valid")));
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(json, "broken"), 0), "reason")),
                        "svid_bad_spiffe_id");
    json_decref(json);
    X509_free(leaf);
}

static void test_command_exit_codes(void **state)
{
    struct fixture *f = *state;
    char good[128];
    char broken[128];
    char garbage[128];
    char out[16384];
    struct cert_spec spec = leaf_spec();
    X509 *leaf = build(f, &spec);
    char *pem = cert_pem_one(leaf);
    write_file(f, "good.pem", pem, good, sizeof(good));
    free(pem);
    X509_free(leaf);
    spec.not_after = clock_wall_s() - 2 * CERT_DAY;
    leaf = build(f, &spec);
    pem = cert_pem_one(leaf);
    write_file(f, "broken.pem", pem, broken, sizeof(broken));
    free(pem);
    X509_free(leaf);
    write_file(f, "garbage.pem", "words\n", garbage, sizeof(garbage));

    assert_int_equal(run(f, out, sizeof(out), good, good, NULL), 0);
    assert_int_equal(run(f, out, sizeof(out), broken, good, NULL), 1);
    assert_non_null(strstr(out, "expired 2 days ago"));
    assert_int_equal(run(f, out, sizeof(out), broken, garbage, good, NULL), 2);
    assert_non_null(strstr(out, "valid X509-SVID")); /* the others are looked at all the same */
    assert_int_equal(run(f, out, sizeof(out), "/nonexistent/file", NULL), 2);
    assert_int_equal(run(f, out, sizeof(out), NULL), 2);
    assert_int_equal(run(f, out, sizeof(out), "--unknown", good, NULL), 2);
    assert_int_equal(run(f, out, sizeof(out), "--bundle", good, good, NULL), 2);
    assert_int_equal(run(f, out, sizeof(out), "--trust-domain", "a", good, NULL), 2);
    assert_int_equal(run(f, out, sizeof(out), "--bundle", good, "--trust-domain", "a", good, NULL),
                     2);
    assert_int_equal(run(f, out, sizeof(out), "--help", NULL), 0);
    assert_non_null(strstr(out, "Examples:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_leaf),
        cmocka_unit_test(test_signing_certificates),
        cmocka_unit_test(test_every_fault_is_told),
        cmocka_unit_test(test_chain_is_verified_when_there_is_a_bundle),
        cmocka_unit_test(test_refuses_what_is_no_certificate),
        cmocka_unit_test(test_command_prints_text),
        cmocka_unit_test(test_command_escapes_what_others_wrote),
        cmocka_unit_test(test_command_exit_codes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
