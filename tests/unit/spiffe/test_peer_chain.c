/* Unit tests of peer_chain: what is remembered, for how long, and what makes it forget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "cert_builder.h"
#include "credentials_of.h"
#include "spiffe/credentials.h"
#include "spiffe/peer_chain.h"
#include "spiffe/trust_bundle.h"

#define ID "spiffe://prod.example/ns/shop/sa/web"

enum { LEAVES = 6, MAX_ENTRIES = 4 };

struct fixture {
    struct crypto *crypto;
    EVP_PKEY *root_key, *intermediate_key, *key;
    X509 *root, *intermediate;
    X509 *leaves[LEAVES]; /* all by the intermediate, each with a serial of its own */
    struct credentials *credentials;
    struct peer_chain_table *table;
};

/* New objects, the same anchors: what a reload makes. */
static struct credentials *make_credentials(struct fixture *f, X509 *root)
{
    struct errbuf err;
    char *pem = cert_pem_one(root);
    struct trust_bundle *bundle =
        trust_bundle_from_pem(f->crypto, "prod.example", pem, strlen(pem), &err);
    free(pem);
    CERT_MUST(bundle != NULL);
    struct credentials *credentials = credentials_of(NULL, &bundle, 1, 1, &err);
    CERT_MUST(credentials != NULL);
    trust_bundle_unref(bundle);
    return credentials;
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
    spec = cert_ca("intermediate");
    f->intermediate = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    for (size_t i = 0; i < LEAVES; i++) {
        spec = cert_leaf(ID);
        f->leaves[i] = cert_build(f->crypto, &spec, f->key, f->intermediate, f->intermediate_key);
    }
    f->credentials = make_credentials(f, f->root);
    f->table = peer_chain_table_new(f->crypto, MAX_ENTRIES);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    peer_chain_table_free(f->table);
    credentials_unref(f->credentials);
    for (size_t i = 0; i < LEAVES; i++) {
        X509_free(f->leaves[i]);
    }
    X509_free(f->root);
    X509_free(f->intermediate);
    EVP_PKEY_free(f->root_key);
    EVP_PKEY_free(f->intermediate_key);
    EVP_PKEY_free(f->key);
    crypto_free(f->crypto);
    free(f);
    return 0;
}

static struct peer_chain *admit_full(struct fixture *f, const struct credentials *credentials,
                                     X509 *const *list, enum svid_role role, int64_t now_s,
                                     struct svid_failure *failure)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    for (size_t i = 0; list[i] != NULL; i++) {
        CERT_MUST(sk_X509_push(chain, list[i]) > 0);
    }
    struct peer_chain *admitted =
        peer_chain_admit(f->table, credentials, list[0], chain, role, now_s, failure);
    sk_X509_free(chain);
    return admitted;
}

static struct peer_chain *admit(struct fixture *f, size_t leaf)
{
    struct svid_failure failure;
    X509 *const list[] = {f->leaves[leaf], f->intermediate, NULL};
    return admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
}

static void assert_counts(struct fixture *f, uint64_t hits, uint64_t misses, size_t entries)
{
    assert_int_equal(peer_chain_table_hits(f->table), hits);
    assert_int_equal(peer_chain_table_misses(f->table), misses);
    assert_int_equal(peer_chain_table_count(f->table), entries);
}

static void test_second_admission_is_remembered(void **state)
{
    struct fixture *f = *state;
    uint8_t sha256[32];
    struct peer_chain *first = admit(f, 0);
    assert_non_null(first);
    assert_counts(f, 0, 1, 1);
    struct peer_chain *second = admit(f, 0);
    assert_ptr_equal(first, second);
    assert_counts(f, 1, 1, 1);

    assert_true(strview_equal_text(peer_chain_id(first)->text, ID));
    assert_true(strview_equal_text(peer_chain_id(first)->trust_domain, "prod.example"));
    assert_true(peer_chain_not_after(first) == CERT_NOW + CERT_DAY);
    CERT_MUST(X509_digest(f->root, EVP_sha256(), sha256, NULL) == 1);
    assert_memory_equal(peer_chain_anchor(first), sha256, 32);
    CERT_MUST(X509_digest(f->leaves[0], EVP_sha256(), sha256, NULL) == 1);
    assert_memory_equal(peer_chain_leaf_sha256(first), sha256, 32);

    peer_chain_unref(first);
    peer_chain_unref(second);
    /* Idle, and still remembered. */
    struct peer_chain *third = admit(f, 0);
    assert_ptr_equal(third, first);
    assert_counts(f, 2, 1, 1);
    peer_chain_unref(third);
    peer_chain_unref(NULL);
}

/* As libssl parses them for each handshake: objects of its own. */
static STACK_OF(X509) * parsed_anew(struct fixture *f, size_t leaf, bool with_intermediate)
{
    STACK_OF(X509) *sent = sk_X509_new_null();
    CERT_MUST(sk_X509_push(sent, X509_dup(f->leaves[leaf])) > 0);
    if (with_intermediate) {
        CERT_MUST(sk_X509_push(sent, X509_dup(f->intermediate)) > 0);
    }
    return sent;
}

static void assert_sent(STACK_OF(X509) * sent, X509 *leaf, X509 *intermediate)
{
    assert_int_equal(sk_X509_num(sent), 2);
    assert_ptr_equal(sk_X509_value(sent, 0), leaf);
    assert_ptr_equal(sk_X509_value(sent, 1), intermediate);
}

static void test_sessions_share_their_certificates(void **state)
{
    struct fixture *f = *state;
    STACK_OF(X509) *first = parsed_anew(f, 0, true);
    STACK_OF(X509) *second = parsed_anew(f, 0, true);
    X509 *leaf = sk_X509_value(first, 0);
    X509 *intermediate = sk_X509_value(first, 1);
    struct peer_chain *one = admit(f, 0);
    struct peer_chain *two = admit(f, 0);
    peer_chain_share(one, first);
    assert_sent(first, leaf, intermediate); /* the first keeps its own */
    peer_chain_share(two, second);
    assert_sent(second, leaf, intermediate);
    peer_chain_share(two, second); /* again: nothing to do */
    assert_sent(second, leaf, intermediate);
    /* Each has a reference of its own. */
    sk_X509_pop_free(first, X509_free);
    assert_int_equal(X509_cmp(sk_X509_value(second, 0), f->leaves[0]), 0);
    sk_X509_pop_free(second, X509_free);
    peer_chain_unref(one);
    peer_chain_unref(two);
}

static void test_what_is_not_the_same_is_not_shared(void **state)
{
    struct fixture *f = *state;
    STACK_OF(X509) *first = parsed_anew(f, 0, true);
    STACK_OF(X509) *shorter = parsed_anew(f, 0, false);
    STACK_OF(X509) *other = parsed_anew(f, 1, true);
    X509 *its_leaf = sk_X509_value(shorter, 0);
    X509 *other_leaf = sk_X509_value(other, 0);
    X509 *other_intermediate = sk_X509_value(other, 1);
    struct peer_chain *chain = admit(f, 0);
    struct peer_chain *another = admit(f, 1);
    peer_chain_share(chain, first);
    peer_chain_share(chain, shorter);
    assert_ptr_equal(sk_X509_value(shorter, 0), its_leaf);
    peer_chain_share(another, other);
    assert_sent(other, other_leaf, other_intermediate);
    peer_chain_unref(chain);
    peer_chain_unref(another);
    sk_X509_pop_free(first, X509_free);
    sk_X509_pop_free(shorter, X509_free);
    sk_X509_pop_free(other, X509_free);
}

/* What is remembered without a session costs no parsed certificates. */
static void test_an_idle_chain_keeps_no_certificates(void **state)
{
    struct fixture *f = *state;
    STACK_OF(X509) *first = parsed_anew(f, 0, true);
    STACK_OF(X509) *second = parsed_anew(f, 0, true);
    X509 *leaf = sk_X509_value(second, 0);
    X509 *intermediate = sk_X509_value(second, 1);
    struct peer_chain *chain = admit(f, 0);
    peer_chain_share(chain, first);
    peer_chain_unref(chain);
    assert_ptr_equal(admit(f, 0), chain);
    peer_chain_share(chain, second);
    assert_sent(second, leaf, intermediate);
    peer_chain_unref(chain);
    sk_X509_pop_free(first, X509_free);
    sk_X509_pop_free(second, X509_free);
}

static void assert_der(struct strview view, int len, unsigned char *der)
{
    assert_int_equal(view.len, len);
    assert_memory_equal(view.ptr, der, view.len);
    OPENSSL_free(der);
}

static void test_keeps_the_path_without_anchor_and_junk(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *const list[] = {f->leaves[0], f->leaves[1], f->intermediate, f->root, NULL};
    X509 *const path[] = {f->leaves[0], f->intermediate};
    struct peer_chain *chain =
        admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    assert_non_null(chain);
    struct peer_chain_link link;
    for (size_t i = 0; i < 2; i++) {
        unsigned char *der = NULL;
        assert_true(peer_chain_link(chain, i, &link));
        int len = i2d_X509(path[i], &der);
        assert_der(link.der, len, der);
        der = NULL;
        len = i2d_X509_NAME(X509_get_issuer_name(path[i]), &der);
        assert_der(link.issuer, len, der);
        const ASN1_INTEGER *serial = X509_get0_serialNumber(path[i]);
        /* The octets of DER: a leading zero where the first bit is set. */
        size_t len_of_serial = (size_t)ASN1_STRING_length(serial);
        assert_true(link.serial.len >= len_of_serial);
        assert_memory_equal(link.serial.ptr + (link.serial.len - len_of_serial),
                            ASN1_STRING_get0_data(serial), len_of_serial);
    }
    assert_false(peer_chain_link(chain, 2, &link));
    peer_chain_unref(chain);
}

/* The role and every byte that was sent are part of the key. */
static void test_what_differs_is_another_entry(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *const plain[] = {f->leaves[0], f->intermediate, NULL};
    X509 *const more[] = {f->leaves[0], f->intermediate, f->root, NULL};
    X509 *const other_order[] = {f->leaves[0], f->root, f->intermediate, NULL};
    struct peer_chain *a =
        admit_full(f, f->credentials, plain, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    struct peer_chain *b =
        admit_full(f, f->credentials, plain, SVID_ROLE_SERVER, CERT_NOW, &failure);
    struct peer_chain *c =
        admit_full(f, f->credentials, more, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    struct peer_chain *d =
        admit_full(f, f->credentials, other_order, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_non_null(d);
    assert_counts(f, 0, 4, 4);
    peer_chain_unref(a);
    peer_chain_unref(b);
    peer_chain_unref(c);
    peer_chain_unref(d);

    /* The leaf in the list or not is the same chain. */
    STACK_OF(X509) *untrusted = sk_X509_new_null();
    CERT_MUST(sk_X509_push(untrusted, f->intermediate) > 0);
    struct peer_chain *same = peer_chain_admit(f->table, f->credentials, f->leaves[0], untrusted,
                                               SVID_ROLE_CLIENT, CERT_NOW, &failure);
    assert_ptr_equal(same, a);
    peer_chain_unref(same);
    sk_X509_free(untrusted);
}

static void test_a_swapped_signature_is_no_hit(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    struct peer_chain *good = admit(f, 0);
    X509 *broken = cert_break_signature(f->crypto, f->leaves[0]);
    X509 *const list[] = {broken, f->intermediate, NULL};
    assert_null(admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure));
    assert_int_equal(failure.reason, REASON_SVID_BAD_SIGNATURE);
    assert_counts(f, 0, 2, 1);
    peer_chain_unref(good);
    X509_free(broken);
}

static void test_refusals_are_not_remembered(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *const list[] = {f->leaves[0], NULL}; /* without its intermediate */
    for (uint64_t i = 1; i <= 3; i++) {
        assert_null(admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure));
        assert_int_equal(failure.reason, REASON_SVID_UNTRUSTED);
        assert_string_equal(failure.claimed, ID);
        assert_counts(f, 0, i, 0);
    }
}

static void test_time_is_checked_at_every_hit(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *const list[] = {f->leaves[0], f->intermediate, NULL};
    struct peer_chain *held = admit(f, 0);
    assert_null(
        admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW + CERT_DAY, &failure));
    assert_int_equal(failure.reason, REASON_SVID_EXPIRED);
    assert_counts(f, 0, 2, 0);
    /* A session keeps what it has: it is judged by its own deadline. */
    assert_true(strview_equal_text(peer_chain_id(held)->text, ID));
    peer_chain_unref(held);

    held = admit(f, 0);
    assert_null(
        admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW - CERT_DAY - 1, &failure));
    assert_int_equal(failure.reason, REASON_SVID_NOT_YET_VALID);
    peer_chain_unref(held);
}

/* A reload makes a new object of the same anchors: what was verified against them still holds. */
static void test_the_same_anchor_in_another_bundle_stands(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *const list[] = {f->leaves[0], f->intermediate, NULL};
    struct peer_chain *old = admit(f, 0);
    struct credentials *fresh = make_credentials(f, f->root);
    struct peer_chain *again = admit_full(f, fresh, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    assert_ptr_equal(again, old);
    assert_counts(f, 1, 1, 1);
    peer_chain_unref(old);
    peer_chain_unref(again);
    credentials_unref(fresh);
}

/* CVE-2022-21654 and its kin: a verdict must not outlive the trust that it came from. */
static void test_another_anchor_means_another_verification(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *const list[] = {f->leaves[0], f->intermediate, NULL};
    struct peer_chain *old = admit(f, 0);
    struct cert_spec spec = cert_ca("root");
    X509 *reissued = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
    X509 *stranger = cert_build(f->crypto, &spec, f->key, NULL, NULL);
    struct credentials *fresh = make_credentials(f, reissued);
    struct peer_chain *again = admit_full(f, fresh, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    assert_non_null(again);
    assert_ptr_not_equal(again, old);
    assert_counts(f, 0, 2, 1);
    peer_chain_unref(old);
    peer_chain_unref(again);
    credentials_unref(fresh);
    fresh = make_credentials(f, stranger);
    assert_null(admit_full(f, fresh, list, SVID_ROLE_CLIENT, CERT_NOW, &failure));
    assert_int_equal(failure.reason, REASON_SVID_UNTRUSTED);
    assert_int_equal(peer_chain_table_count(f->table), 0);
    credentials_unref(fresh);
    X509_free(reissued);
    X509_free(stranger);

    struct errbuf err;
    struct credentials *nobody = credentials_of(NULL, NULL, 0, 2, &err);
    assert_null(admit_full(f, nobody, list, SVID_ROLE_CLIENT, CERT_NOW, &failure));
    assert_int_equal(failure.reason, REASON_SVID_UNKNOWN_TRUST_DOMAIN);
    assert_int_equal(peer_chain_table_count(f->table), 0);
    credentials_unref(nobody);
}

/* The entry holds its bundle, so that no new bundle can stand at the old one's address. */
static void test_an_entry_outlives_its_credentials(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    X509 *const list[] = {f->leaves[0], f->intermediate, NULL};
    struct credentials *brief = make_credentials(f, f->root);
    struct peer_chain *chain = admit_full(f, brief, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
    credentials_unref(brief);
    for (int i = 0; i < 8; i++) {
        struct cert_spec spec = cert_ca("root");
        X509 *reissued = cert_build(f->crypto, &spec, f->root_key, NULL, NULL);
        struct credentials *next = make_credentials(f, reissued);
        struct peer_chain *other = admit_full(f, next, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
        assert_ptr_not_equal(other, chain);
        peer_chain_unref(other);
        credentials_unref(next);
        X509_free(reissued);
    }
    assert_int_equal(peer_chain_table_hits(f->table), 0);
    peer_chain_unref(chain);
}

static void test_the_longest_idle_entry_makes_room(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < MAX_ENTRIES; i++) {
        peer_chain_unref(admit(f, i));
    }
    peer_chain_unref(admit(f, 0)); /* used again: now 1 is the oldest */
    assert_counts(f, 1, 4, MAX_ENTRIES);
    peer_chain_unref(admit(f, 4));
    assert_counts(f, 1, 5, MAX_ENTRIES);
    peer_chain_unref(admit(f, 0));
    assert_counts(f, 2, 5, MAX_ENTRIES);
    peer_chain_unref(admit(f, 1));
    assert_counts(f, 2, 6, MAX_ENTRIES);
}

static void test_entries_in_use_are_never_evicted(void **state)
{
    struct fixture *f = *state;
    struct peer_chain *held[LEAVES];
    for (size_t i = 0; i < LEAVES; i++) {
        held[i] = admit(f, i);
        assert_non_null(held[i]);
    }
    /* The last two are verified and not remembered. */
    assert_counts(f, 0, LEAVES, MAX_ENTRIES);
    struct peer_chain *fifth = admit(f, 4);
    assert_non_null(fifth);
    assert_ptr_not_equal(fifth, held[4]);
    assert_counts(f, 0, LEAVES + 1, MAX_ENTRIES);
    peer_chain_unref(fifth);
    for (size_t i = 0; i < LEAVES; i++) {
        assert_true(strview_equal_text(peer_chain_id(held[i])->text, ID));
        struct peer_chain *ref = peer_chain_ref(held[i]);
        peer_chain_unref(held[i]);
        peer_chain_unref(ref);
    }
    assert_int_equal(peer_chain_table_count(f->table), MAX_ENTRIES);
    peer_chain_unref(admit(f, 5));
    assert_int_equal(peer_chain_table_count(f->table), MAX_ENTRIES);
}

static void test_grows_beyond_its_first_buckets(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 200 };
    struct peer_chain_table *small = f->table;
    f->table = peer_chain_table_new(f->crypto, MANY);
    X509 *leaves[MANY];
    struct peer_chain *held[MANY];
    struct svid_failure failure;
    for (size_t i = 0; i < MANY; i++) {
        struct cert_spec spec = cert_leaf(ID);
        leaves[i] = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
        X509 *const list[] = {leaves[i], NULL};
        held[i] = admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
        assert_non_null(held[i]);
    }
    for (size_t i = 0; i < MANY; i++) {
        X509 *const list[] = {leaves[i], NULL};
        struct peer_chain *again =
            admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure);
        assert_ptr_equal(again, held[i]);
        peer_chain_unref(again);
        peer_chain_unref(held[i]);
        X509_free(leaves[i]);
    }
    assert_counts(f, MANY, MANY, MANY);
    peer_chain_table_free(f->table);
    f->table = small;
}

/* Admits that many clients, who leave again. */
static void fill(struct fixture *f, size_t count)
{
    struct svid_failure failure;
    for (size_t i = 0; i < count; i++) {
        struct cert_spec spec = cert_leaf(ID);
        X509 *leaf = cert_build(f->crypto, &spec, f->key, f->root, f->root_key);
        X509 *const list[] = {leaf, NULL};
        peer_chain_unref(admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure));
        X509_free(leaf);
    }
}

static void test_forgetting_takes_a_piece_at_a_time(void **state)
{
    struct fixture *f = *state;
    enum { MORE = 40, ALL = PEER_CHAIN_FORGET_MOST + MORE };
    struct errbuf err;
    struct credentials *none = credentials_of(NULL, NULL, 0, 2, &err);
    assert_non_null(none);
    struct peer_chain_table *small = f->table;
    f->table = peer_chain_table_new(f->crypto, ALL + 1);
    peer_chain_unref(admit(f, 0)); /* the one that has been idle for longest */
    fill(f, ALL);
    size_t left = SIZE_MAX;
    peer_chain_table_forget_stale(f->table, f->credentials, &left);
    assert_int_equal(left, MORE + 1);
    peer_chain_table_forget_stale(f->table, f->credentials, &left);
    assert_int_equal(left, 0); /* all looked at, all kept, in their order */
    assert_int_equal(peer_chain_table_count(f->table), ALL + 1);
    fill(f, 1);
    uint64_t misses = peer_chain_table_misses(f->table);
    struct peer_chain *first = admit(f, 0);
    assert_int_equal(peer_chain_table_misses(f->table), misses + 1);

    left = SIZE_MAX;
    peer_chain_table_forget_stale(f->table, none, &left);
    assert_int_equal(left, MORE);
    assert_int_equal(peer_chain_table_count(f->table), MORE + 1);
    peer_chain_table_forget_stale(f->table, none, &left);
    assert_int_equal(left, 0);
    assert_int_equal(peer_chain_table_count(f->table), 1); /* it has a session */
    peer_chain_unref(first);
    peer_chain_table_free(f->table);
    f->table = small;
    credentials_unref(none);
}

static void test_too_many_bytes_are_refused(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    static char text[20000];
    memset(text, 'a', sizeof(text) - 1);
    struct cert_spec spec = cert_ca("large");
    cert_add_name(&spec, GEN_DNS, text, 0);
    X509 *large = cert_build(f->crypto, &spec, f->intermediate_key, f->root, f->root_key);
    X509 *const list[] = {f->leaves[0], large, large, NULL};
    assert_null(admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure));
    assert_int_equal(failure.reason, REASON_SVID_CHAIN_TOO_LONG);
    assert_string_equal(failure.subject, "CN=leaf");
    X509_free(large);
}

/* One SEQUENCE around the parts; der holds everything. */
static size_t put_sequence(unsigned char *der, const unsigned char *body, size_t len)
{
    unsigned char *cursor = der;
    ASN1_put_object(&cursor, 1, (int)len, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    memcpy(cursor, body, len);
    return (size_t)(cursor - der) + len;
}

/*
 * A trusted CA signs a TBSCertificate of indefinite length: no DER (RFC 5280 4.1), yet libcrypto
 * parses it and the signature holds. It must be refused in order, not by an assertion.
 */
static void test_a_signed_ber_certificate_is_refused(void **state)
{
    struct fixture *f = *state;
    struct svid_failure failure;
    unsigned char tbs[4096] = {0x30, 0x80};
    unsigned char body[4096];
    unsigned char whole[8192];
    unsigned char *old = NULL;
    int old_len = i2d_re_X509_tbs(f->leaves[0], &old);
    CERT_MUST(old_len > 132 && old[1] == 0x82); /* two octets of length */
    size_t tbs_len = 2 + (size_t)old_len - 4 + 2;
    memcpy(tbs + 2, old + 4, (size_t)old_len - 4);
    OPENSSL_free(old);

    unsigned char signature[128];
    size_t signature_len = sizeof(signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CERT_MUST(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", crypto_libctx(f->crypto), NULL,
                                    f->intermediate_key, NULL) == 1 &&
              EVP_DigestSign(ctx, signature, &signature_len, tbs, tbs_len) == 1);
    EVP_MD_CTX_free(ctx);

    /* tbsCertificate, signatureAlgorithm ecdsa-with-SHA256, BIT STRING */
    static const unsigned char algorithm[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                              0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
    size_t len = tbs_len;
    memcpy(body, tbs, tbs_len);
    memcpy(body + len, algorithm, sizeof(algorithm));
    len += sizeof(algorithm);
    body[len++] = 0x03;
    body[len++] = (unsigned char)(signature_len + 1);
    body[len++] = 0;
    memcpy(body + len, signature, signature_len);
    len = put_sequence(whole, body, len + signature_len);

    const unsigned char *cursor = whole;
    X509 *leaf = X509_new_ex(crypto_libctx(f->crypto), NULL);
    CERT_MUST(d2i_X509(&leaf, &cursor, (long)len) != NULL);
    CERT_MUST(X509_verify(leaf, f->intermediate_key) == 1);
    X509 *const list[] = {leaf, f->intermediate, NULL};
    assert_null(admit_full(f, f->credentials, list, SVID_ROLE_CLIENT, CERT_NOW, &failure));
    assert_int_equal(failure.reason, REASON_SVID_MALFORMED);
    X509_free(leaf);
}

/* Workers share credentials and bundles, each with a table of its own. */
static void *on_thread(void *arg)
{
    struct fixture own = *(struct fixture *)arg;
    own.table = peer_chain_table_new(own.crypto, MAX_ENTRIES);
    for (size_t i = 0; i < 5 * LEAVES; i++) {
        struct credentials *held = credentials_ref(own.credentials);
        struct peer_chain *chain = admit(&own, i % LEAVES);
        CERT_MUST(chain != NULL);
        peer_chain_unref(chain);
        credentials_unref(held);
    }
    peer_chain_table_free(own.table);
    return NULL;
}

static void test_threads_share_credentials(void **state)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, on_thread, *state), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_sessions_share_their_certificates),
        CASE(test_what_is_not_the_same_is_not_shared),
        CASE(test_an_idle_chain_keeps_no_certificates),
        CASE(test_second_admission_is_remembered),
        CASE(test_keeps_the_path_without_anchor_and_junk),
        CASE(test_what_differs_is_another_entry),
        CASE(test_a_swapped_signature_is_no_hit),
        CASE(test_refusals_are_not_remembered),
        CASE(test_time_is_checked_at_every_hit),
        CASE(test_the_same_anchor_in_another_bundle_stands),
        CASE(test_another_anchor_means_another_verification),
        CASE(test_an_entry_outlives_its_credentials),
        CASE(test_the_longest_idle_entry_makes_room),
        CASE(test_entries_in_use_are_never_evicted),
        CASE(test_grows_beyond_its_first_buckets),
        CASE(test_forgetting_takes_a_piece_at_a_time),
        CASE(test_too_many_bytes_are_refused),
        CASE(test_a_signed_ber_certificate_is_refused),
        CASE(test_threads_share_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
