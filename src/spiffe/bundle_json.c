/*
 *   bounds → jansson → keys, one by one → the numbers → trust_bundle_finish
 *
 * Bounds come before the parser: it recurses once per level, and each empty array of three bytes
 * costs it a hundred. jansson refuses U+0000, names that are there twice (JSON_REJECT_DUPLICATES)
 * and bytes behind the document by itself.
 *
 * What is not understood at all is skipped, as the standard says; what says that it is an anchor
 * and can't be read refuses the document, so that a damaged file never stands as a smaller one.
 */
#include "spiffe/trust_bundle.h"

#include "base/memory.h"
#include "base/strview.h"
#include "pem.h"
#include "trust_bundle_private.h"

#include <jansson.h>
#include <limits.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

/* Objects and arrays within each other, strings left out. Broken JSON counts somehow: it is the
   parser's to refuse, and not deeper than what is counted here. */
static size_t nesting(const char *text, size_t len)
{
    size_t depth = 0;
    size_t deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

static json_t *parse(const char *text, size_t len, struct errbuf *err)
{
    if (len > TRUST_BUNDLE_JSON_MAX) {
        errbuf_set(err, "%zu bytes of JSON; at most %d are accepted", len, TRUST_BUNDLE_JSON_MAX);
        return NULL;
    }
    if (nesting(text, len) > TRUST_BUNDLE_JSON_DEPTH_MAX) {
        errbuf_set(err, "more than %d objects and arrays within each other",
                   TRUST_BUNDLE_JSON_DEPTH_MAX);
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        errbuf_set(err, "line %d, column %d: %s", error.line, error.column, error.text);
        return NULL;
    }
    if (!json_is_object(root)) {
        errbuf_set(err, "no JSON object; a SPIFFE bundle is {\"keys\": [ … ]}");
        json_decref(root);
        return NULL;
    }
    return root;
}

/* SPIFFE bundle 4.2: an entry counts when `use` says so and its `kty` is one that we know. */
static bool is_x509_entry(const json_t *entry)
{
    static const char *const KINDS[] = {"EC", "RSA", "OKP"};
    const char *use = json_string_value(json_object_get(entry, "use"));
    const char *kty = json_string_value(json_object_get(entry, "kty"));
    if (use == NULL || kty == NULL || strcmp(use, "x509-svid") != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++) {
        if (strcmp(kty, KINDS[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_base64(const char *text, size_t len)
{
    static const char ALPHABET[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t body = strspn(text, ALPHABET);
    size_t padding = strspn(text + body, "=");
    return len > 0 && len % 4 == 0 && padding <= 2 && body + padding == len;
}

/* RFC 7517 4.7: standard base64 of DER, "not base64url-encoded". NULL with err. */
static X509 *decode_x5c(const struct crypto *crypto, const json_t *value, struct errbuf *err)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (text == NULL) {
        errbuf_set(err, "must be a list of strings");
        return NULL;
    }
    if (!is_base64(text, len) || len > INT_MAX) {
        errbuf_set(err, "%s",
                   strpbrk(text, "-_") != NULL
                       ? "is base64url; RFC 7517 4.7 wants standard base64 here"
                       : "is no base64 (in one piece, with its padding)");
        return NULL;
    }
    size_t padding = strlen(strchrnul(text, '='));
    unsigned char *der = mem_alloc(len / 4 * 3);
    X509 *certificate = NULL;
    int decoded = EVP_DecodeBlock(der, (const unsigned char *)text, (int)len);
    if (decoded >= (int)padding) {
        certificate = pem_parse_der(crypto, der, (size_t)decoded - padding);
    }
    mem_free(der);
    if (certificate == NULL) {
        errbuf_set(err, "holds no X.509 certificate");
    }
    return certificate;
}

static int add_entry(struct trust_bundle *bundle, const struct crypto *crypto, const json_t *entry,
                     struct errbuf *err)
{
    if (!json_is_object(entry)) {
        errbuf_set(err, "must be an object (RFC 7517 5.1)");
        return -1;
    }
    const json_t *x5c = json_object_get(entry, "x5c");
    if (!is_x509_entry(entry) || x5c == NULL) {
        return 0;
    }
    if (!json_is_array(x5c)) {
        errbuf_set(err, "x5c: must be a list of strings");
        return -1;
    }
    if (json_array_size(x5c) == 0) {
        return 0;
    }
    /* X509-SVID 6.2: what follows the first certificate is nothing that anchors a path. */
    X509 *certificate = decode_x5c(crypto, json_array_get(x5c, 0), err);
    if (certificate == NULL) {
        errbuf_prefix(err, "x5c[0]");
        return -1;
    }
    return trust_bundle_add(bundle, certificate, err);
}

static int add_entries(struct trust_bundle *bundle, const struct crypto *crypto, const json_t *root,
                       struct errbuf *err)
{
    const json_t *keys = json_object_get(root, "keys");
    if (!json_is_array(keys)) {
        errbuf_set(err, "%s",
                   keys == NULL ? "no `keys`; an empty bundle says {\"keys\": []} (SPIFFE bundle "
                                  "4.1.3)"
                                : "`keys` must be a list");
        return -1;
    }
    for (size_t i = 0; i < json_array_size(keys); i++) {
        if (add_entry(bundle, crypto, json_array_get(keys, i), err) < 0) {
            errbuf_prefix(err, "keys[%zu]", i);
            return -1;
        }
    }
    return 0;
}

/* *has tells whether it is there; -1 with err when it is there and no such number. */
static int read_number(const json_t *root, const char *name, bool *has, uint64_t *out,
                       struct errbuf *err)
{
    const json_t *value = json_object_get(root, name);
    *has = value != NULL;
    if (value == NULL) {
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        errbuf_set(err, "`%s` must be an integer of at least 0", name);
        return -1;
    }
    *out = (uint64_t)json_integer_value(value);
    return 0;
}

static int read_document(struct trust_bundle *bundle, const struct crypto *crypto,
                         const json_t *root, struct errbuf *err)
{
    struct bundle_numbers numbers = {0};
    if (add_entries(bundle, crypto, root, err) < 0 ||
        read_number(root, "spiffe_sequence", &numbers.has_sequence, &numbers.sequence, err) < 0 ||
        read_number(root, "spiffe_refresh_hint", &numbers.has_refresh_hint, &numbers.refresh_hint_s,
                    err) < 0) {
        return -1;
    }
    trust_bundle_set_numbers(bundle, &numbers);
    return 0;
}

struct trust_bundle *trust_bundle_from_json(const struct crypto *crypto, const char *domain,
                                            const char *text, size_t len, struct errbuf *err)
{
    struct trust_bundle *bundle = trust_bundle_begin(crypto, domain, err);
    if (bundle == NULL) {
        return NULL;
    }
    json_t *root = parse(text, len, err);
    int status = root != NULL ? read_document(bundle, crypto, root, err) : -1;
    json_decref(root);
    if (status < 0) {
        trust_bundle_discard(bundle);
        return NULL;
    }
    return trust_bundle_finish(bundle, err);
}

const char *trust_bundle_json_build_version(void)
{
    return JANSSON_VERSION;
}

const char *trust_bundle_json_run_version(void)
{
    return jansson_version_str();
}
