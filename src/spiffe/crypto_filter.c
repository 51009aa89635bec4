/*
 *   our library context ─ fetch ─▶ the filter ─ rows of the list ─▶ default provider, in a library
 *                                     │                             context of its own
 *                                     └ all else: not found
 *
 * Why: what can't be fetched can't be negotiated, be named in a certificate or be reached by a
 * defect in it; and libcrypto 3.0 looks through every decoder and every kind of key of a context
 * for each public key that it reads, which is a large part of what a handshake costs with the
 * default provider (bench/README.md).
 *
 * How: a provider is asked for its algorithms by operation, and answers with an array. Ours answers
 * with copies of the rows of the default provider's arrays. The functions behind them are the
 * default provider's own, and so is the provider context that they are called with; what they need
 * in turn (the digest inside an HMAC, a signature's random numbers) they fetch from the inner
 * library context, where nothing is left out.
 *
 * The rows are copied once for the process, because a provider function is told nothing but that
 * provider context, which belongs to the default provider. They are the same for every library
 * context: the default provider's arrays are constants of libcrypto, which is never unloaded.
 */
#include "crypto_filter.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include "base/assert.h"
#include "base/memory.h"

#define DER_PUBLIC   "input=der,structure=SubjectPublicKeyInfo"
#define DER_PRIVATE  "input=der,structure=PrivateKeyInfo"
#define DER_OLD      "input=der,structure=type-specific"
#define PEM          "input=pem"
#define WRITE_PUBLIC "output=der,structure=SubjectPublicKeyInfo"

/* clang-format off */
static const struct crypto_filter_row LIST[] = {
    {OSSL_OP_DIGEST, "SHA1", NULL, false, "libcrypto's own print of each certificate that it reads"},
    {OSSL_OP_DIGEST, "SHA2-256", NULL, false, "transcripts, signatures, fingerprints"},
    {OSSL_OP_DIGEST, "SHA2-384", NULL, false, "transcripts of the AES-256 suites, signatures"},
    {OSSL_OP_DIGEST, "SHA2-512", NULL, false, "signatures of certificates, CRLs and handshakes"},

    {OSSL_OP_CIPHER, "AES-128-GCM", NULL, false, "records"},
    {OSSL_OP_CIPHER, "AES-256-GCM", NULL, false, "records"},
    {OSSL_OP_CIPHER, "ChaCha20-Poly1305", NULL, false, "records"},

    {OSSL_OP_MAC, "HMAC", NULL, false, "Finished messages"},
    {OSSL_OP_KDF, "TLS13-KDF", NULL, false, "key schedule of TLS 1.3"},
    {OSSL_OP_KDF, "TLS1-PRF", NULL, false, "key schedule of TLS 1.2"},
    {OSSL_OP_RAND, "CTR-DRBG", NULL, false, "the generator of random numbers"},
    {OSSL_OP_RAND, "SEED-SRC", NULL, false, "its seed"},

    {OSSL_OP_KEYMGMT, "EC", NULL, false, "keys of SVIDs and CAs, key exchange"},
    {OSSL_OP_KEYMGMT, "RSA", NULL, false, "keys of SVIDs and CAs"},
    {OSSL_OP_KEYMGMT, "RSA-PSS", NULL, false, "without it libssl offers no PSS with RSA keys either"},
    {OSSL_OP_KEYMGMT, "ED25519", NULL, false, "keys of SVIDs and CAs"},
    {OSSL_OP_KEYMGMT, "X25519", NULL, false, "key exchange"},
    {OSSL_OP_KEYMGMT, "HMAC", NULL, false, "the key of a Finished message"},
    {OSSL_OP_KEYMGMT, "X25519MLKEM768", NULL, true, "hybrid key exchange"},
    {OSSL_OP_KEYEXCH, "ECDH", NULL, false, "key exchange"},
    {OSSL_OP_KEYEXCH, "X25519", NULL, false, "key exchange"},
    {OSSL_OP_KEM, "X25519MLKEM768", NULL, true, "hybrid key exchange"},
    {OSSL_OP_SIGNATURE, "ECDSA", NULL, false, "handshakes, certificates, CRLs"},
    {OSSL_OP_SIGNATURE, "RSA", NULL, false, "handshakes, certificates, CRLs; PSS and PKCS #1"},
    {OSSL_OP_SIGNATURE, "ED25519", NULL, false, "handshakes, certificates, CRLs"},
    {OSSL_OP_SIGNATURE, "HMAC", NULL, false, "Finished messages"},

    {OSSL_OP_DECODER, "EC", DER_PUBLIC, false, "the key in a certificate"},
    {OSSL_OP_DECODER, "RSA", DER_PUBLIC, false, "the key in a certificate"},
    {OSSL_OP_DECODER, "ED25519", DER_PUBLIC, false, "the key in a certificate"},
    {OSSL_OP_DECODER, "EC", DER_PRIVATE, false, "our private key, PKCS #8"},
    {OSSL_OP_DECODER, "RSA", DER_PRIVATE, false, "our private key, PKCS #8"},
    {OSSL_OP_DECODER, "ED25519", DER_PRIVATE, false, "our private key, PKCS #8"},
    {OSSL_OP_DECODER, "EC", DER_OLD, false, "our private key, as \"EC PRIVATE KEY\""},
    {OSSL_OP_DECODER, "RSA", DER_OLD, false, "our private key, as \"RSA PRIVATE KEY\""},
    {OSSL_OP_DECODER, "DER", PEM, false, "our private key, from a file"},
    {OSSL_OP_ENCODER, "EC", WRITE_PUBLIC, false, "an anchor's key, to tell two CAs apart"},
    {OSSL_OP_ENCODER, "RSA", WRITE_PUBLIC, false, "an anchor's key, to tell two CAs apart"},
    {OSSL_OP_ENCODER, "ED25519", WRITE_PUBLIC, false, "an anchor's key, to tell two CAs apart"},
};

/* The groups of a key exchange that libssl is told of, by IANA's names and OpenSSL's. */
static const char *const GROUPS[] = {
    "x25519", "secp256r1", "P-256", "secp384r1", "P-384", "secp521r1", "P-521", "X25519MLKEM768",
};
/* clang-format on */

enum {
    LIST_LENGTH = sizeof(LIST) / sizeof(LIST[0]),
    OPERATIONS = OSSL_OP__HIGHEST + 1,
    /* The default provider has a row for each OID that a decoder goes by at most; arrays of each
       operation end with an empty row. */
    ROWS_MAX = 2 * LIST_LENGTH + OPERATIONS
};

struct crypto_filter {
    OSSL_LIB_CTX *inner;
    OSSL_PROVIDER *source; /* the default provider, in it */
};

/* Written once, under the lock, before the first library context is filled. */
static struct {
    pthread_mutex_t lock;
    bool made;
    OSSL_ALGORITHM rows[ROWS_MAX];
    size_t used;
    const OSSL_ALGORITHM *first[OPERATIONS];
    OSSL_FUNC_provider_get_capabilities_fn *capabilities;
} copied = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Which filter on_init is to serve: OSSL_PROVIDER_load calls it, in the same thread, with nothing
   that says for whom. */
static _Thread_local struct crypto_filter *loading;

bool crypto_filter_row(size_t index, struct crypto_filter_row *row)
{
    if (index >= LIST_LENGTH) {
        return false;
    }
    *row = LIST[index];
    return true;
}

/* Whether one of the texts between separators is this one. Case is no matter in names. */
static bool holds(const char *texts, char separator, const char *text, size_t len)
{
    while (texts != NULL) {
        const char *end = strchr(texts, separator);
        size_t here = end != NULL ? (size_t)(end - texts) : strlen(texts);
        if (here == len && OPENSSL_strncasecmp(texts, text, len) == 0) {
            return true;
        }
        texts = end != NULL ? end + 1 : NULL;
    }
    return false;
}

/* Whether all of them stand in the row's definition. */
static bool has_properties(const char *definition, const char *wanted)
{
    while (wanted != NULL) {
        const char *end = strchr(wanted, ',');
        size_t len = end != NULL ? (size_t)(end - wanted) : strlen(wanted);
        if (!holds(definition, ',', wanted, len)) {
            return false;
        }
        wanted = end != NULL ? end + 1 : NULL;
    }
    return true;
}

static bool is_listed(int operation, const OSSL_ALGORITHM *row, bool found[LIST_LENGTH])
{
    for (size_t i = 0; i < LIST_LENGTH; i++) {
        if (LIST[i].operation == operation &&
            holds(row->algorithm_names, ':', LIST[i].name, strlen(LIST[i].name)) &&
            has_properties(row->property_definition, LIST[i].properties)) {
            found[i] = true;
            return true;
        }
    }
    return false;
}

static bool copy_operation(OSSL_PROVIDER *source, int operation, bool found[LIST_LENGTH])
{
    int no_cache = 0;
    const OSSL_ALGORITHM *rows = OSSL_PROVIDER_query_operation(source, operation, &no_cache);
    copied.first[operation] = &copied.rows[copied.used];
    for (; rows != NULL && rows->algorithm_names != NULL; rows++) {
        if (is_listed(operation, rows, found)) {
            if (copied.used + 1 >= ROWS_MAX) {
                return false;
            }
            copied.rows[copied.used++] = *rows;
        }
    }
    return copied.used < ROWS_MAX && ++copied.used != 0; /* the empty row at the end */
}

static int copy_rows(OSSL_PROVIDER *source, struct errbuf *err)
{
    bool found[LIST_LENGTH] = {false};
    memset(copied.rows, 0, sizeof(copied.rows));
    copied.used = 0;
    for (int operation = 1; operation < OPERATIONS; operation++) {
        if (!copy_operation(source, operation, found)) {
            errbuf_set(err, "the default provider has more variants than there is room for");
            return -1;
        }
    }
    for (size_t i = 0; i < LIST_LENGTH; i++) {
        if (!found[i] && !LIST[i].newer) {
            errbuf_set(err, "the default provider lacks %s (%s)", LIST[i].name, LIST[i].reason);
            return -1;
        }
    }
    const OSSL_DISPATCH *function = OSSL_PROVIDER_get0_dispatch(source);
    for (; function != NULL && function->function_id != 0; function++) {
        if (function->function_id == OSSL_FUNC_PROVIDER_GET_CAPABILITIES) {
            copied.capabilities = OSSL_FUNC_provider_get_capabilities(function);
        }
    }
    return 0;
}

static int copy_rows_once(OSSL_PROVIDER *source, struct errbuf *err)
{
    int locked = pthread_mutex_lock(&copied.lock);
    ASSERT(locked == 0);
    int status = copied.made ? 0 : copy_rows(source, err);
    copied.made = status == 0;
    locked = pthread_mutex_unlock(&copied.lock);
    ASSERT(locked == 0);
    return status;
}

/* --- the provider's functions ---------------------------------------------------------------- */

static const OSSL_ALGORITHM *on_query(void *context, int operation, int *no_cache)
{
    (void)context;
    *no_cache = 0;
    if (operation < 0 || operation >= OPERATIONS) {
        return NULL; /* of an OpenSSL to come */
    }
    return copied.first[operation];
}

struct capability_filter {
    OSSL_CALLBACK *callback;
    void *arg;
};

static int on_group(const OSSL_PARAM params[], void *arg)
{
    const struct capability_filter *filter = arg;
    const OSSL_PARAM *param = OSSL_PARAM_locate_const(params, OSSL_CAPABILITY_TLS_GROUP_NAME);
    const char *name =
        param != NULL && param->data_type == OSSL_PARAM_UTF8_STRING ? param->data : NULL;
    for (size_t i = 0; name != NULL && i < sizeof(GROUPS) / sizeof(GROUPS[0]); i++) {
        if (OPENSSL_strcasecmp(name, GROUPS[i]) == 0) {
            return filter->callback(params, filter->arg);
        }
    }
    return 1; /* go on with the next */
}

/* Groups alone: signature algorithms that a provider adds to libssl's own (ML-DSA) are not ours. */
static int on_capabilities(void *context, const char *capability, OSSL_CALLBACK *callback,
                           void *arg)
{
    if (copied.capabilities == NULL || strcmp(capability, "TLS-GROUP") != 0) {
        return 0;
    }
    struct capability_filter filter = {callback, arg};
    return copied.capabilities(context, capability, on_group, &filter);
}

/* No teardown: the inner provider outlives the library context, see crypto_filter_free. */
static const OSSL_DISPATCH functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))on_query},
    {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))on_capabilities},
    {0, NULL},
};

static int on_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                   const OSSL_DISPATCH **out, void **context)
{
    (void)handle;
    (void)in;
    if (loading == NULL) {
        return 0;
    }
    *out = functions;
    *context = OSSL_PROVIDER_get0_provider_ctx(loading->source);
    return 1;
}

/* --- the object ------------------------------------------------------------------------------ */

static struct crypto_filter *fail(struct crypto_filter *filter, const char *what,
                                  struct errbuf *err)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    errbuf_set(err, "%s: %s", what, why != NULL ? why : "unknown error");
    crypto_filter_free(filter);
    return NULL;
}

struct crypto_filter *crypto_filter_new(OSSL_LIB_CTX *libctx, OSSL_PROVIDER **provider,
                                        struct errbuf *err)
{
    static const char NAME[] = "bulkhead";
    struct crypto_filter *filter = mem_alloc(sizeof(*filter));
    filter->inner = OSSL_LIB_CTX_new();
    if (filter->inner == NULL) {
        return fail(filter, "inner library context", err);
    }
    filter->source = OSSL_PROVIDER_load(filter->inner, "default");
    if (filter->source == NULL) {
        return fail(filter, "default provider", err);
    }
    if (copy_rows_once(filter->source, err) != 0) {
        crypto_filter_free(filter);
        return NULL;
    }
    if (OSSL_PROVIDER_add_builtin(libctx, NAME, on_init) != 1) {
        return fail(filter, "filtering provider", err);
    }
    loading = filter;
    *provider = OSSL_PROVIDER_load(libctx, NAME);
    loading = NULL;
    if (*provider == NULL) {
        return fail(filter, "filtering provider", err);
    }
    return filter;
}

void crypto_filter_free(struct crypto_filter *filter)
{
    if (filter == NULL) {
        return;
    }
    if (filter->source != NULL) {
        (void)OSSL_PROVIDER_unload(filter->source); /* fails only for a NULL provider */
    }
    OSSL_LIB_CTX_free(filter->inner);
    mem_free(filter);
}
