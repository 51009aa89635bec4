/*
 * Unit tests of spiffe without memory: libcrypto's allocations fail one after the other, and none
 * of the failures may let anybody in, crash or leak. A good chain may be refused, with a reason.
 *
 * crypto_memory's functions are defined here, so that libcrypto asks these for memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../../src/spiffe/pem.h"
#include "crl_builder.h"
#include "spiffe/credentials.h"
#include "spiffe/crypto_memory.h"
#include "spiffe/peer_chain.h"
#include "spiffe/trust_bundle.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#define ID      "spiffe://prod.example/ns/shop/sa/web"
#define FOREIGN "spiffe://partner.example"

static struct {
    bool armed;
    bool lasting; /* all from then on fail, not only that one */
    size_t until; /* allocations that still succeed */
    size_t failed;
} memory;

static bool is_refused(void)
{
    if (!memory.armed) {
        return false;
    }
    if (memory.until > 0) {
        memory.until--;
        return false;
    }
    if (memory.failed > 0 && !memory.lasting) {
        return false;
    }
    memory.failed++;
    return true;
}

static void *memory_alloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return is_refused() ? NULL : malloc(size);
}

static void *memory_realloc(void *block, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return is_refused() ? NULL : realloc(block, size);
}

static void memory_release(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    free(block);
}

bool crypto_memory_install(void)
{
    static bool installed;
    installed =
        installed || CRYPTO_set_mem_functions(memory_alloc, memory_realloc, memory_release) == 1;
    return installed;
}

void crypto_memory_wipe_begin(void)
{
}

void crypto_memory_wipe_end(void)
{
}

/* Without any memory from some point on: each point costs a whole attempt and tells little. */
enum { CERTIFICATES_MAX = 3, LASTING_STEP = 13 };

/* A chain as it is sent: parsed anew each time, because memory may be out then already. */
struct wire {
    unsigned char *der[CERTIFICATES_MAX];
    int len[CERTIFICATES_MAX];
    size_t count;
};

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *root_key, *other_key, *intermediate_key, *key;
    X509 *root, *other, *intermediate;
    struct credentials *plain, *other_root, *revoking;
    struct wire good, wire;
    bool good_later; /* with memory again, under the same CRLs */
    char *text;
    size_t text_len;
};

/* One attempt, with memory or without. True: let in. */
typedef bool attempt_fn(struct fixture *f);

/* How far apart the points are at which memory fails. The build with ASan, which sees what goes
   wrong there, tries each; the others one in seven, and fewer under valgrind, where an attempt
   takes a hundred times as long. */
static size_t step_of(bool lasting)
{
    enum { SLOW_STEP = 37, SLOW_SCALE = 10 };
#ifdef __SANITIZE_ADDRESS__
    enum { STEP = 1 };
#else
    enum { STEP = 7 };
#endif
    const char *scale = getenv("BULKHEAD_TEST_SCALE");
    size_t step = lasting ? LASTING_STEP : STEP;
    return scale != NULL && strtol(scale, NULL, 10) >= SLOW_SCALE ? step * SLOW_STEP : step;
}

static void attempt_without_memory(struct fixture *f, attempt_fn *attempt, bool good, bool lasting)
{
    size_t n = 0;
    bool complete = false;
    while (!complete) {
        memory.until = n;
        memory.failed = 0;
        memory.lasting = lasting;
        bool in = attempt(f);
        memory.armed = false;
        complete = memory.failed == 0;
        if (in && !good) {
            fail_msg("let in when allocation %zu %s", n, lasting ? "and all later fail" : "fails");
        }
        if (complete && in != good) {
            fail_msg("with memory: %s", in ? "let in" : "refused");
        }
        n += step_of(lasting);
    }
    assert_true(n > 1);
}

static void without_memory(struct fixture *f, attempt_fn *attempt, bool good)
{
    memory.until = SIZE_MAX;
    assert_int_equal(attempt(f), good); /* what libcrypto makes once is made now */
    memory.armed = false;
    attempt_without_memory(f, attempt, good, false);
    attempt_without_memory(f, attempt, good, true);
}

static void wire_clear(struct wire *wire)
{
    for (size_t i = 0; i < wire->count; i++) {
        OPENSSL_free(wire->der[i]);
    }
    memset(wire, 0, sizeof(*wire));
}

static void wire_add(struct wire *wire, X509 *certificate)
{
    CERT_MUST(wire->count < CERTIFICATES_MAX);
    wire->len[wire->count] = i2d_X509(certificate, &wire->der[wire->count]);
    CERT_MUST(wire->len[wire->count] > 0);
    wire->count++;
}

/* NULL when memory is out, as libssl would end the handshake then. */
static STACK_OF(X509) * receive(struct fixture *f, const struct wire *wire)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    for (size_t i = 0; chain != NULL && i < wire->count; i++) {
        X509 *certificate = pem_parse_der(f->crypto, wire->der[i], (size_t)wire->len[i]);
        if (certificate == NULL || sk_X509_push(chain, certificate) <= 0) {
            X509_free(certificate);
            sk_X509_pop_free(chain, X509_free);
            return NULL;
        }
    }
    return chain;
}

static struct credentials *make(struct fixture *f, X509 *anchor, const struct crl_spec *specs,
                                size_t count)
{
    struct errbuf err;
    X509 *const list[] = {anchor, NULL};
    char *pem = cert_pem(list);
    struct credentials_domain domain = {
        .bundle = trust_bundle_from_pem(f->crypto, "prod.example", pem, strlen(pem), &err)};
    free(pem);
    CERT_MUST(domain.bundle != NULL);
    if (count > 0) {
        domain.crls = crl_set_of(f->crypto, specs, count);
        domain.crl_check = CRL_CHECK_LEAF;
    }
    struct credentials_parts parts = {.domains = &domain, .domain_count = 1, .generation = 1};
    struct credentials *credentials = credentials_build(&parts, &err);
    CERT_MUST(credentials != NULL);
    trust_bundle_unref(domain.bundle);
    crl_set_unref(domain.crls);
    return credentials;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    CERT_MUST(f != NULL);
    f->crypto = cert_crypto();
    f->root_key = cert_ec_key(f->crypto, "P-256");
    f->other_key = cert_ec_key(f->crypto, "P-256");
    f->intermediate_key = cert_ec_key(f->crypto, "P-256");
    f->key = cert_ec_key(f->crypto, "P-256");
    struct cert_spec spec = cert_ca("root");
    f->root = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    f->other = cert_build(f->crypto, &spec, f->other_key, NULL, NULL);
    spec = cert_ca("intermediate");
    cert_add_name(&spec, GEN_URI, "spiffe://prod.example", 0);
    f->intermediate = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    spec = cert_leaf(ID);
    X509 *leaf = cert_build(f->crypto, &spec, f->key, f->intermediate, f->intermediate_key);
    wire_add(&f->good, leaf);
    wire_add(&f->good, f->intermediate);
    f->plain = make(f, f->root, NULL, 0);
    f->other_root = make(f, f->other, NULL, 0);
    struct crl_spec crl = crl_of(f->intermediate, f->intermediate_key);
    crl_revoke(&crl, leaf, CRL_NO_CODE);
    f->revoking = make(f, f->root, &crl, 1);
    X509_free(leaf);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    wire_clear(&f->good);
    wire_clear(&f->wire);
    credentials_unref(f->plain);
    credentials_unref(f->other_root);
    credentials_unref(f->revoking);
    X509_free(f->root);
    X509_free(f->other);
    X509_free(f->intermediate);
    EVP_PKEY_free(f->root_key);
    EVP_PKEY_free(f->other_key);
    EVP_PKEY_free(f->intermediate_key);
    EVP_PKEY_free(f->key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

static bool check_leaf(struct fixture *f)
{
    char text[SPIFFE_ID_MAX];
    struct spiffe_id id;
    struct svid_failure failure;
    memory.armed = true;
    STACK_OF(X509) *chain = receive(f, &f->wire);
    bool in = chain != NULL &&
              x509_svid_check_leaf(sk_X509_value(chain, 0), text, &id, &failure) == REASON_NONE;
    sk_X509_pop_free(chain, X509_free);
    return in;
}

static bool verify_now(struct fixture *f, const struct wire *wire,
                       const struct credentials *credentials)
{
    struct svid_verified verified;
    struct svid_failure failure;
    STACK_OF(X509) *chain = receive(f, wire);
    bool in = false;
    if (chain != NULL) {
        enum reason reason = svid_verify(f->crypto, credentials, sk_X509_value(chain, 0), chain,
                                         SVID_ROLE_CLIENT, CERT_NOW, &verified, &failure);
        assert_int_equal(failure.reason, reason);
        in = reason == REASON_NONE;
        svid_verified_fini(&verified);
    }
    sk_X509_pop_free(chain, X509_free);
    return in;
}

static bool verify_under(struct fixture *f, const struct wire *wire,
                         const struct credentials *credentials)
{
    memory.armed = true;
    return verify_now(f, wire, credentials);
}

static bool verify(struct fixture *f)
{
    return verify_under(f, &f->wire, f->plain);
}

static bool verify_good(struct fixture *f)
{
    return verify_under(f, &f->good, f->plain);
}

static bool verify_revoked(struct fixture *f)
{
    return verify_under(f, &f->good, f->revoking);
}

static void test_leaf(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *basic_constraints, *key_usage, *extended_key_usage, *second, *private_extension;
        bool good;
    } cases[] = {
        {"critical,CA:FALSE", "critical,digitalSignature", "serverAuth,clientAuth", NULL, NULL,
         true},
        {"critical,CA:FALSE", "critical,digitalSignature", "serverAuth,clientAuth", ID, NULL,
         false},
        {"critical,CA:TRUE", "critical,digitalSignature", NULL, NULL, NULL, false},
        {"critical,CA:FALSE", "critical,keyAgreement", NULL, NULL, NULL, false},
        {"critical,CA:FALSE", "critical,digitalSignature,keyCertSign", NULL, NULL, NULL, false},
        {"critical,CA:FALSE", "critical,digitalSignature", "serverAuth", NULL, NULL, false},
        {"critical,CA:FALSE", "critical,digitalSignature", NULL, NULL, "critical", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cert_spec spec = cert_leaf(ID);
        spec.basic_constraints = cases[i].basic_constraints;
        spec.key_usage = cases[i].key_usage;
        spec.extended_key_usage = cases[i].extended_key_usage;
        spec.private_extension = cases[i].private_extension;
        if (cases[i].second != NULL) {
            cert_add_name(&spec, GEN_URI, cases[i].second, 0);
        }
        X509 *leaf = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
        wire_clear(&f->wire);
        wire_add(&f->wire, leaf);
        without_memory(f, check_leaf, cases[i].good);
        X509_free(leaf);
    }
}

/* X509-SVID 3.2 above all: "no SAN" and "no memory for it" must not look alike. */
static void test_signing_certificates(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *uri, *key_usage, *extended_key_usage, *name_constraints, *policy_constraints;
    } cases[] = {
        {FOREIGN, "critical,keyCertSign", NULL, NULL, NULL},
        {"spiffe://prod.example/ca", "critical,keyCertSign", NULL, NULL, NULL},
        {NULL, "critical,cRLSign", NULL, NULL, NULL},
        {NULL, "critical,keyCertSign", "serverAuth", NULL, NULL},
        {NULL, "critical,keyCertSign", NULL, "critical,excluded;URI:prod.example", NULL},
        {NULL, "critical,keyCertSign", NULL, NULL, "critical,requireExplicitPolicy:0"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cert_spec ca = cert_ca("case");
        ca.key_usage = cases[i].key_usage;
        ca.extended_key_usage = cases[i].extended_key_usage;
        ca.name_constraints = cases[i].name_constraints;
        ca.policy_constraints = cases[i].policy_constraints;
        if (cases[i].uri != NULL) {
            cert_add_name(&ca, GEN_URI, cases[i].uri, 0);
        }
        struct cert_spec spec = cert_leaf(ID);
        X509 *issuer = cert_build(f->crypto, &ca, f->intermediate_key, f->root, f->root_key);
        X509 *leaf = cert_build(f->crypto, &spec, f->key, issuer, f->intermediate_key);
        wire_clear(&f->wire);
        wire_add(&f->wire, leaf);
        wire_add(&f->wire, issuer);
        without_memory(f, verify, false);
        X509_free(leaf);
        X509_free(issuer);
    }
}

static void test_verification(void **state)
{
    struct fixture *f = *state;
    without_memory(f, verify_good, true);
    without_memory(f, verify_revoked, false);
    wire_clear(&f->wire);
    struct cert_spec spec = cert_leaf(ID);
    X509 *forged = cert_build(f->crypto, &spec, f->key, f->other, f->other_key);
    wire_add(&f->wire, forged);
    wire_add(&f->wire, f->other);
    without_memory(f, verify, false);
    X509_free(forged);
    wire_clear(&f->wire);
    spec.not_after = CERT_NOW;
    X509 *expired = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
    wire_add(&f->wire, expired);
    without_memory(f, verify, false);
    X509_free(expired);
}

/* Each time with CRLs that have not been used: the first use checks their signatures. */
static bool verify_with_fresh_crls(struct fixture *f)
{
    struct errbuf err;
    const struct credentials_domain *from =
        credentials_find(f->plain, strview_from("prod.example"));
    struct credentials_domain domain = {.bundle = from->bundle, .crl_check = CRL_CHECK_LEAF};
    memory.armed = false;
    domain.crls = crl_set_from_bytes(f->crypto, f->text, f->text_len, &err);
    assert_non_null(domain.crls);
    struct credentials_parts parts = {.domains = &domain, .domain_count = 1, .generation = 1};
    memory.armed = true;
    struct credentials *credentials = credentials_build(&parts, &err);
    assert_non_null(credentials);
    bool in = verify_under(f, &f->wire, credentials);
    memory.armed = false;
    bool later = verify_now(f, &f->wire, credentials);
    assert_true(later == f->good_later || (!later && memory.lasting));
    credentials_unref(credentials);
    crl_set_unref(domain.crls);
    return in;
}

/*
 * The one that revokes stands beside one that doesn't and must not get lost; one for another
 * distribution point must not be taken for the one that is demanded.
 */
static void check_revocation(struct fixture *f, EVP_PKEY *root_key, size_t pairs)
{
    static const char *const POINTS[][2] = {
        {NULL, NULL},
        {NULL, "critical,fullname:URI:http://crl.example/1"},
        {"critical,fullname:URI:http://crl.example/2", "critical,onlyCA:TRUE"},
    };
    struct cert_spec spec = cert_ca("revoking root");
    X509 *root = cert_build(f->crypto, &spec, root_key, NULL, NULL);
    spec = cert_leaf(ID);
    spec.crl_distribution_points = "URI:http://crl.example/1";
    X509 *leaf = cert_build(f->crypto, &spec, f->key, root, root_key);
    struct credentials *plain = f->plain;
    f->plain = make(f, root, NULL, 0);
    wire_clear(&f->wire);
    wire_add(&f->wire, leaf);
    struct crl_spec crls[2] = {crl_of(root, root_key), crl_of(root, root_key)};
    crls[0].this_update -= 60;
    crl_revoke(&crls[1], leaf, CRL_NO_CODE);
    for (size_t i = 0; i < pairs; i++) {
        crls[0].idp = POINTS[i][0];
        crls[1].idp = POINTS[i][1];
        f->text = crl_pem(crls, 2);
        f->text_len = strlen(f->text);
        without_memory(f, verify_with_fresh_crls, false);
        free(f->text);
    }
    crls[1].revoked_count = 0;
    crls[1].idp = NULL;
    f->text = crl_pem(&crls[1], 1);
    f->text_len = strlen(f->text);
    f->good_later = true;
    without_memory(f, verify_with_fresh_crls, true);
    f->good_later = false;
    free(f->text);
    credentials_unref(f->plain);
    f->plain = plain;
    X509_free(leaf);
    X509_free(root);
}

static void test_revocation(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *rsa = cert_rsa_key(f->crypto, 2048);
    EVP_PKEY *ed25519 = cert_ed25519_key(f->crypto);
    check_revocation(f, f->root_key, 3);
    check_revocation(f, rsa, 1);
    check_revocation(f, ed25519, 1);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ed25519);
}

static bool read_bundle(struct fixture *f)
{
    struct errbuf err;
    memory.armed = true;
    struct trust_bundle *bundle =
        trust_bundle_from_bytes(f->crypto, "prod.example", f->text, f->text_len, &err);
    trust_bundle_unref(bundle);
    return bundle != NULL;
}

static void test_bundles(void **state)
{
    struct fixture *f = *state;
    struct cert_spec spec = cert_ca("foreign");
    cert_add_name(&spec, GEN_URI, FOREIGN, 0);
    X509 *foreign = cert_build(f->crypto, &spec, f->other_key, NULL, NULL);
    spec = cert_leaf(ID);
    X509 *leaf = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    X509 *const lists[][3] = {{f->root, f->intermediate}, {f->root, foreign}, {f->root, leaf}};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        f->text = cert_pem(lists[i]);
        f->text_len = strlen(f->text);
        without_memory(f, read_bundle, i == 0);
        free(f->text);
    }
    X509_free(foreign);
    X509_free(leaf);
}

static bool read_crls(struct fixture *f)
{
    struct errbuf err;
    memory.armed = true;
    struct crl_set *set = crl_set_from_bytes(f->crypto, f->text, f->text_len, &err);
    crl_set_unref(set);
    return set != NULL;
}

static void test_crls(void **state)
{
    struct fixture *f = *state;
    struct crl_spec specs[4];
    for (size_t i = 0; i < 4; i++) {
        specs[i] = crl_of(f->root, f->root_key);
        crl_revoke(&specs[i], f->intermediate, 1);
    }
    specs[1].delta = true;
    specs[2].idp = "critical,indirectCRL:TRUE";
    specs[3].private_extension = "critical";
    for (size_t i = 0; i < 4; i++) {
        f->text = crl_pem(&specs[i], 1);
        f->text_len = strlen(f->text);
        without_memory(f, read_crls, i == 0);
        free(f->text);
    }
}

static bool admit_under(struct fixture *f, struct wire *wire, const struct credentials *first,
                        const struct credentials *then)
{
    struct svid_failure failure;
    memory.armed = false;
    struct peer_chain_table *table = peer_chain_table_new(f->crypto, 4);
    memory.armed = then == NULL;
    STACK_OF(X509) *chain = receive(f, wire);
    struct peer_chain *peer = NULL;
    if (chain != NULL) {
        peer = peer_chain_admit(table, first, sk_X509_value(chain, 0), chain, SVID_ROLE_CLIENT,
                                CERT_NOW, &failure);
    }
    bool in = peer != NULL;
    if (then != NULL) {
        assert_true(in);
        memory.armed = true;
        in = peer_chain_recheck(table, then, peer, CERT_NOW, &failure) == REASON_NONE;
    }
    memory.armed = false;
    peer_chain_unref(peer);
    peer_chain_table_free(table);
    sk_X509_pop_free(chain, X509_free);
    return in;
}

static bool admit_good(struct fixture *f)
{
    return admit_under(f, &f->good, f->plain, NULL);
}

static bool admit_revoked(struct fixture *f)
{
    return admit_under(f, &f->good, f->revoking, NULL);
}

static bool admit_untrusted(struct fixture *f)
{
    return admit_under(f, &f->good, f->other_root, NULL);
}

static bool recheck_revoked(struct fixture *f)
{
    return admit_under(f, &f->good, f->plain, f->revoking);
}

static bool recheck_untrusted(struct fixture *f)
{
    return admit_under(f, &f->good, f->plain, f->other_root);
}

static void test_peer_chains(void **state)
{
    struct fixture *f = *state;
    without_memory(f, admit_good, true);
    without_memory(f, admit_revoked, false);
    without_memory(f, admit_untrusted, false);
    without_memory(f, recheck_revoked, false);
    without_memory(f, recheck_untrusted, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaf),         cmocka_unit_test(test_signing_certificates),
        cmocka_unit_test(test_verification), cmocka_unit_test(test_revocation),
        cmocka_unit_test(test_bundles),      cmocka_unit_test(test_crls),
        cmocka_unit_test(test_peer_chains),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
