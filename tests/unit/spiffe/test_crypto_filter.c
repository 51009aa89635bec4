/*
 * Unit tests of crypto_filter: what is on the list is there and works, what is not is not,
 * whichever way it is asked for; and a filter that can't be made whole is not made.
 *
 * crypto_memory's functions are defined here, so that libcrypto asks these for memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../../src/spiffe/crypto_filter.h"
#include "../../../src/spiffe/pem.h"
#include "cert_builder.h"
#include "spiffe/crypto_memory.h"
#include "spiffe/signer.h"

#include <openssl/core_dispatch.h>
#include <openssl/decoder.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>
#include <openssl/store.h>

#define ID "spiffe://prod.example/ns/shop/sa/web"

static struct {
    bool armed;
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

static int make_filtered(void **state)
{
    struct errbuf err;
    *state = crypto_new(CRYPTO_FILTERED, &err);
    return *state == NULL;
}

static int free_filtered(void **state)
{
    crypto_free(*state);
    return 0;
}

/* Whether a fetch by this name and these properties gives anything. */
static bool fetches(OSSL_LIB_CTX *libctx, int operation, const char *name, const char *properties)
{
#define FETCH(kind, call)           \
    {                               \
        kind *it = (call);          \
        bool is_there = it != NULL; \
        kind##_free(it);            \
        ERR_clear_error();          \
        return is_there;            \
    }
    switch (operation) {
    case OSSL_OP_DIGEST:
        FETCH(EVP_MD, EVP_MD_fetch(libctx, name, properties))
    case OSSL_OP_CIPHER:
        FETCH(EVP_CIPHER, EVP_CIPHER_fetch(libctx, name, properties))
    case OSSL_OP_MAC:
        FETCH(EVP_MAC, EVP_MAC_fetch(libctx, name, properties))
    case OSSL_OP_KDF:
        FETCH(EVP_KDF, EVP_KDF_fetch(libctx, name, properties))
    case OSSL_OP_RAND:
        FETCH(EVP_RAND, EVP_RAND_fetch(libctx, name, properties))
    case OSSL_OP_KEYMGMT:
        FETCH(EVP_KEYMGMT, EVP_KEYMGMT_fetch(libctx, name, properties))
    case OSSL_OP_KEYEXCH:
        FETCH(EVP_KEYEXCH, EVP_KEYEXCH_fetch(libctx, name, properties))
    case OSSL_OP_SIGNATURE:
        FETCH(EVP_SIGNATURE, EVP_SIGNATURE_fetch(libctx, name, properties))
    case OSSL_OP_ASYM_CIPHER:
        FETCH(EVP_ASYM_CIPHER, EVP_ASYM_CIPHER_fetch(libctx, name, properties))
    case OSSL_OP_KEM:
        FETCH(EVP_KEM, EVP_KEM_fetch(libctx, name, properties))
    case OSSL_OP_DECODER:
        FETCH(OSSL_DECODER, OSSL_DECODER_fetch(libctx, name, properties))
    case OSSL_OP_ENCODER:
        FETCH(OSSL_ENCODER, OSSL_ENCODER_fetch(libctx, name, properties))
    case OSSL_OP_STORE:
        FETCH(OSSL_STORE_LOADER, OSSL_STORE_LOADER_fetch(libctx, name, properties))
    default:
        fail_msg("operation %d", operation);
        return false;
    }
#undef FETCH
}

static void test_what_is_listed_is_there(void **state)
{
    struct crypto_filter_row row;
    size_t count = 0;
    OSSL_LIB_CTX *all = OSSL_LIB_CTX_new();
    while (crypto_filter_row(count++, &row)) {
        if (row.newer && !fetches(all, row.operation, row.name, row.properties)) {
            continue;
        }
        if (!fetches(crypto_libctx(*state), row.operation, row.name, row.properties)) {
            fail_msg("%s (%s) can't be fetched", row.name, row.reason);
        }
        assert_true(strlen(row.reason) > 0);
    }
    assert_true(count > 30);
    OSSL_LIB_CTX_free(all);
}

/* All of these are in the default provider: the test would be empty if they weren't. */
static void test_what_is_not_listed_is_not(void **state)
{
    static const struct {
        int operation;
        const char *name;
        const char *properties;
    } ROWS[] = {
        {OSSL_OP_DIGEST, "MD5", NULL},
        {OSSL_OP_DIGEST, "MD5-SHA1", NULL},
        {OSSL_OP_DIGEST, "SHA2-224", NULL},
        {OSSL_OP_DIGEST, "SHA3-256", NULL},
        {OSSL_OP_DIGEST, "SM3", NULL},
        {OSSL_OP_DIGEST, "BLAKE2B-512", NULL},
        {OSSL_OP_CIPHER, "AES-128-CBC", NULL},
        {OSSL_OP_CIPHER, "AES-256-CBC", NULL},
        {OSSL_OP_CIPHER, "AES-256-CTR", NULL},
        {OSSL_OP_CIPHER, "AES-128-CCM", NULL},
        {OSSL_OP_CIPHER, "AES-128-CBC-HMAC-SHA256", NULL},
        {OSSL_OP_CIPHER, "DES-EDE3-CBC", NULL},
        {OSSL_OP_CIPHER, "CAMELLIA-128-CBC", NULL},
        {OSSL_OP_CIPHER, "NULL", NULL},
        {OSSL_OP_MAC, "CMAC", NULL},
        {OSSL_OP_MAC, "POLY1305", NULL},
        {OSSL_OP_MAC, "SIPHASH", NULL},
        {OSSL_OP_KDF, "HKDF", NULL},
        {OSSL_OP_KDF, "PBKDF2", NULL},
        {OSSL_OP_KDF, "SCRYPT", NULL},
        {OSSL_OP_KDF, "SSHKDF", NULL},
        {OSSL_OP_RAND, "HASH-DRBG", NULL},
        {OSSL_OP_RAND, "HMAC-DRBG", NULL},
        {OSSL_OP_RAND, "TEST-RAND", NULL},
        {OSSL_OP_KEYMGMT, "DH", NULL},
        {OSSL_OP_KEYMGMT, "DHX", NULL},
        {OSSL_OP_KEYMGMT, "DSA", NULL},
        {OSSL_OP_KEYMGMT, "ED448", NULL},
        {OSSL_OP_KEYMGMT, "X448", NULL},
        {OSSL_OP_KEYMGMT, "SM2", NULL},
        {OSSL_OP_KEYEXCH, "DH", NULL},
        {OSSL_OP_KEYEXCH, "X448", NULL},
        {OSSL_OP_KEYEXCH, "HKDF", NULL},
        {OSSL_OP_SIGNATURE, "DSA", NULL},
        {OSSL_OP_SIGNATURE, "ED448", NULL},
        {OSSL_OP_SIGNATURE, "SM2", NULL},
        {OSSL_OP_ASYM_CIPHER, "RSA", NULL},
        {OSSL_OP_KEM, "RSA", NULL},
        {OSSL_OP_DECODER, "DSA", "input=der,structure=SubjectPublicKeyInfo"},
        {OSSL_OP_DECODER, "DH", "input=der,structure=SubjectPublicKeyInfo"},
        {OSSL_OP_DECODER, "RSA-PSS", "input=der,structure=SubjectPublicKeyInfo"},
        {OSSL_OP_DECODER, "ED448", "input=der,structure=SubjectPublicKeyInfo"},
        {OSSL_OP_DECODER, "X25519", "input=der,structure=SubjectPublicKeyInfo"},
        {OSSL_OP_DECODER, "DER", "input=der,structure=EncryptedPrivateKeyInfo"},
        {OSSL_OP_DECODER, "RSA", "input=msblob"},
        {OSSL_OP_DECODER, "RSA", "input=pvk"},
        {OSSL_OP_ENCODER, "RSA", "output=der,structure=PrivateKeyInfo"},
        {OSSL_OP_ENCODER, "EC", "output=pem,structure=PrivateKeyInfo"},
        {OSSL_OP_ENCODER, "EC", "output=text"},
        {OSSL_OP_STORE, "file", NULL},
    };
    OSSL_LIB_CTX *all = OSSL_LIB_CTX_new();
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        if (!fetches(all, ROWS[i].operation, ROWS[i].name, ROWS[i].properties)) {
            fail_msg("%s is no name of the default provider's", ROWS[i].name);
        }
        if (fetches(crypto_libctx(*state), ROWS[i].operation, ROWS[i].name, ROWS[i].properties)) {
            fail_msg("%s can be fetched", ROWS[i].name);
        }
    }
    OSSL_LIB_CTX_free(all);
}

/* RC4 and the like are in a provider of their own. */
static void test_no_other_provider_can_be_had(void **state)
{
    OSSL_LIB_CTX *libctx = crypto_libctx(*state);
    assert_false(fetches(libctx, OSSL_OP_CIPHER, "RC4", NULL));
    assert_int_equal(OSSL_PROVIDER_available(libctx, "default"), 0);
    assert_int_equal(OSSL_PROVIDER_available(libctx, "base"), 0);
    assert_int_equal(OSSL_PROVIDER_available(libctx, "legacy"), 0);
    assert_int_equal(OSSL_PROVIDER_available(libctx, "bulkhead"), 1);
}

static bool is_listed(int operation, const char *name)
{
    struct crypto_filter_row row;
    for (size_t i = 0; crypto_filter_row(i, &row); i++) {
        if (row.operation == operation && strcasecmp(row.name, name) == 0) {
            return true;
        }
    }
    return false;
}

struct names {
    int operation;
    bool listed;
};

static void on_name(const char *name, void *arg)
{
    struct names *names = arg;
    names->listed = names->listed || is_listed(names->operation, name);
}

#define ON_METHOD(function, kind, operation_id)             \
    static void function(kind *method, void *arg)           \
    {                                                       \
        struct names names = {.operation = (operation_id)}; \
        size_t *count = arg;                                \
        (void)kind##_names_do_all(method, on_name, &names); \
        assert_true(names.listed);                          \
        ++*count;                                           \
    }
ON_METHOD(on_digest, EVP_MD, OSSL_OP_DIGEST)
ON_METHOD(on_cipher, EVP_CIPHER, OSSL_OP_CIPHER)
ON_METHOD(on_mac, EVP_MAC, OSSL_OP_MAC)
ON_METHOD(on_kdf, EVP_KDF, OSSL_OP_KDF)
ON_METHOD(on_rand, EVP_RAND, OSSL_OP_RAND)
ON_METHOD(on_keymgmt, EVP_KEYMGMT, OSSL_OP_KEYMGMT)
ON_METHOD(on_keyexch, EVP_KEYEXCH, OSSL_OP_KEYEXCH)
ON_METHOD(on_signature, EVP_SIGNATURE, OSSL_OP_SIGNATURE)
ON_METHOD(on_asym_cipher, EVP_ASYM_CIPHER, OSSL_OP_ASYM_CIPHER)
ON_METHOD(on_kem, EVP_KEM, OSSL_OP_KEM)
ON_METHOD(on_decoder, OSSL_DECODER, OSSL_OP_DECODER)
ON_METHOD(on_encoder, OSSL_ENCODER, OSSL_OP_ENCODER)
ON_METHOD(on_loader, OSSL_STORE_LOADER, OSSL_OP_STORE)
#undef ON_METHOD

/* Everything that there is, and not only what the test above could think of. */
static void test_there_is_nothing_else(void **state)
{
    OSSL_LIB_CTX *libctx = crypto_libctx(*state);
    struct crypto_filter_row row;
    size_t listed = 0;
    size_t count = 0;
    EVP_MD_do_all_provided(libctx, on_digest, &count);
    EVP_CIPHER_do_all_provided(libctx, on_cipher, &count);
    EVP_MAC_do_all_provided(libctx, on_mac, &count);
    EVP_KDF_do_all_provided(libctx, on_kdf, &count);
    EVP_RAND_do_all_provided(libctx, on_rand, &count);
    EVP_KEYMGMT_do_all_provided(libctx, on_keymgmt, &count);
    EVP_KEYEXCH_do_all_provided(libctx, on_keyexch, &count);
    EVP_SIGNATURE_do_all_provided(libctx, on_signature, &count);
    EVP_ASYM_CIPHER_do_all_provided(libctx, on_asym_cipher, &count);
    EVP_KEM_do_all_provided(libctx, on_kem, &count);
    OSSL_DECODER_do_all_provided(libctx, on_decoder, &count);
    OSSL_ENCODER_do_all_provided(libctx, on_encoder, &count);
    OSSL_STORE_LOADER_do_all_provided(libctx, on_loader, &count);
    while (crypto_filter_row(listed, &row)) {
        listed++;
    }
    assert_true(count > listed / 2);
    assert_true(count <= listed);
}

static void test_reads_svids_of_each_kind_of_key(void **state)
{
    struct crypto *crypto = *state;
    const struct {
        EVP_PKEY *key;
        bool known;
    } rows[] = {
        {cert_ec_key(crypto, "P-256"), true},
        {cert_ec_key(crypto, "P-384"), true},
        {cert_ec_key(crypto, "P-521"), true},
        {cert_rsa_key(crypto, 2048), true},
        {cert_ed25519_key(crypto), true},
        {EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), false},
        {EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), false},
    };
    EVP_PKEY *ca_key = cert_ec_key(crypto, "P-256");
    struct cert_spec ca = cert_ca("root");
    X509 *root = cert_build(crypto, &ca, ca_key, NULL, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_non_null(rows[i].key);
        struct cert_spec spec = cert_leaf(ID);
        X509 *leaf = cert_build(crypto, &spec, rows[i].key, root, ca_key);
        unsigned char *der = NULL;
        int len = i2d_X509(leaf, &der);
        assert_true(len > 0);
        X509 *parsed = pem_parse_der(crypto, der, (size_t)len);
        assert_non_null(parsed);
        assert_true((X509_get0_pubkey(parsed) != NULL) == rows[i].known);
        assert_int_equal(X509_verify(parsed, X509_get0_pubkey(root)), 1);
        ERR_clear_error();
        X509_free(parsed);
        OPENSSL_free(der);
        X509_free(leaf);
        EVP_PKEY_free(rows[i].key);
    }
    X509_free(root);
    EVP_PKEY_free(ca_key);
}

/* The forms of a private key's PEM: PKCS #8, the older ones, and what is behind a passphrase. */
static void test_reads_private_keys(void **state)
{
    struct crypto *crypto = *state;
    EVP_PKEY *keys[] = {cert_ec_key(crypto, "P-256"), cert_rsa_key(crypto, 2048),
                        cert_ed25519_key(crypto)};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct errbuf err;
        char *pem = cert_key_pem(keys[i], NULL);
        struct signer *signer = signer_from_pem(crypto, pem, strlen(pem), &err);
        assert_non_null(signer);
        assert_int_equal(EVP_PKEY_eq(signer_key(signer), keys[i]), 1);
        signer_unref(signer);
        free(pem);

        pem = cert_key_pem(keys[i], "secret");
        assert_null(signer_from_pem(crypto, pem, strlen(pem), &err));
        assert_non_null(strstr(err.text, "is encrypted"));
        free(pem);

        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(
            PEM_write_bio_PrivateKey_traditional(bio, keys[i], NULL, NULL, 0, NULL, NULL) == 1,
            i < 2);
        char *old = NULL;
        long len = BIO_get_mem_data(bio, &old);
        if (i < 2) {
            signer = signer_from_pem(crypto, old, (size_t)len, &err);
            assert_non_null(signer);
            assert_int_equal(EVP_PKEY_eq(signer_key(signer), keys[i]), 1);
            signer_unref(signer);
        }
        BIO_free(bio);
        ERR_clear_error();
        EVP_PKEY_free(keys[i]);
    }
}

/* libcrypto 3.0 loses parts of a library context that it could not finish, or free, for want of
   memory; one of the default provider alone, too. Our process ends there. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
void __lsan_disable(void);
void __lsan_enable(void);
#define LEAKS_ARE_ITS_OWN(on) ((on) ? __lsan_disable() : __lsan_enable())
#endif
#endif
#ifndef LEAKS_ARE_ITS_OWN
#define LEAKS_ARE_ITS_OWN(on) ((void)(on))
#endif

/* Memory is out from each allocation of the set-up on: there is no context then, or a whole one. */
static void test_fails_closed_without_memory(void **state)
{
    (void)state;
    size_t refusals = 0;
    for (size_t until = 0;; until++) {
        struct errbuf err = {""};
        LEAKS_ARE_ITS_OWN(true);
        memory.armed = true;
        memory.until = until;
        memory.failed = 0;
        struct crypto *crypto = crypto_new(CRYPTO_FILTERED, &err);
        memory.armed = false;
        LEAKS_ARE_ITS_OWN(false);
        if (crypto != NULL) {
            assert_false(fetches(crypto_libctx(crypto), OSSL_OP_DIGEST, "MD5", NULL));
            assert_true(fetches(crypto_libctx(crypto), OSSL_OP_DIGEST, "SHA2-512", NULL));
        } else {
            refusals++;
            assert_true(strlen(err.text) > strlen("libcrypto: "));
        }
        crypto_free(crypto);
        ERR_clear_error();
        if (memory.failed == 0) {
            break;
        }
    }
    assert_true(refusals > 10);
}

/* Contexts come and go while another stays in use. */
static void test_contexts_are_apart(void **state)
{
    struct errbuf err;
    struct crypto *other = crypto_new(CRYPTO_FILTERED, &err);
    struct crypto *stock = crypto_new(CRYPTO_STOCK, &err);
    assert_non_null(other);
    assert_non_null(stock);
    assert_true(fetches(crypto_libctx(stock), OSSL_OP_DIGEST, "MD5", NULL));
    assert_false(fetches(crypto_libctx(other), OSSL_OP_DIGEST, "MD5", NULL));
    crypto_free(other);
    crypto_free(stock);
    EVP_PKEY *key = EVP_PKEY_Q_keygen(crypto_libctx(*state), NULL, "EC", "P-256");
    assert_non_null(key);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_listed_is_there, make_filtered, free_filtered),
        cmocka_unit_test_setup_teardown(test_what_is_not_listed_is_not, make_filtered,
                                        free_filtered),
        cmocka_unit_test_setup_teardown(test_no_other_provider_can_be_had, make_filtered,
                                        free_filtered),
        cmocka_unit_test_setup_teardown(test_there_is_nothing_else, make_filtered, free_filtered),
        cmocka_unit_test_setup_teardown(test_reads_svids_of_each_kind_of_key, make_filtered,
                                        free_filtered),
        cmocka_unit_test_setup_teardown(test_reads_private_keys, make_filtered, free_filtered),
        cmocka_unit_test_setup_teardown(test_contexts_are_apart, make_filtered, free_filtered),
        cmocka_unit_test(test_fails_closed_without_memory),
    };
    return cmocka_run_group_tests_name("crypto_filter", tests, NULL, NULL);
}
